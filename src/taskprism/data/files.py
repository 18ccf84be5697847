"""Find image files, and read one image or array; every error names the file.

Label files are read as :class:`StoredPixels`: the numbers as they are stored, with what the file
says about them. So a palette image gives indices, and a 2-bit image gives 0 to 3.
"""

from __future__ import annotations

import glob
import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import scipy.io
import torch
from PIL import Image
from torchvision import tv_tensors
from torchvision.io import ImageReadMode, decode_image

from taskprism.errors import DataError, InputError, TaskprismError
from taskprism.stores.paths import AnyPath, StorePath, as_path

Orientation = Literal["exif", "stored"]

_PNG_BIT_DEPTH, _PNG_COLOR_TYPE = 24, 25  # byte offsets in the header
_PNG_CHANNELS = {2: "RGB", 4: "LA", 6: "RGBA"}  # color types with more than one channel
_ORIENTATION, _BITS, _PHOTOMETRIC = 0x0112, 258, 262  # EXIF and TIFF tags
_WHITE_IS_ZERO = 0
_ALPHA_MODES = ("LA", "RGBA")
ARRAYS = (".npy", ".npz", ".mat")
# EXIF orientation -> the change that puts the picture upright. Odd turns exchange the sides.
_UPRIGHT = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.rot90(pixels, 2).swapaxes(0, 1),
    8: lambda pixels: np.rot90(pixels, 1),
}
_INVERSE = {6: 8, 8: 6}


@contextmanager
def _naming(path: _Source, what: str) -> Iterator[None]:
    try:
        # Opening a pipe would wait for ever. An object store has none.
        if isinstance(path, Path) and path.exists() and not path.is_file():
            raise DataError(f"{path}: this {what} is not a regular file.")
        yield
    except TaskprismError:
        raise
    except FileNotFoundError:
        raise DataError(f"{path}: no such {what}.") from None
    except Exception as error:  # broken bytes raise nearly anything in the libraries below
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(
            f"{path}: this {what} cannot be read ({reason}). Replace the file, or remove "
            "its name from the split."
        ) from error


@dataclass(frozen=True)
class StoredPixels:
    """The numbers of an image or array file, and what the file says about them.

    Attributes:
        values: ``(H, W)`` or ``(H, W, C)`` as stored: palette indices, 0 and 1 of a 1-bit image,
            0 to 3 of a 2-bit image, and so on.
        form: For messages, such as ``"8-bit palette PNG"``.
        largest: Number that stands for white; None for floats, wide integers and arrays.
        palette: ``(256, 3)`` colors of the indices; None if there is no palette.
        alpha: Whether the last channel is opacity.
        lossy: Whether compression may have changed the numbers.

    Example:
        >>> stored = StoredPixels(np.array([[0, 3]]), "2-bit gray PNG", largest=3)
        >>> stored.gray_levels().tolist()
        [[0, 255]]
    """

    values: np.ndarray
    form: str
    largest: int | None = None
    palette: np.ndarray | None = None
    alpha: bool = False
    lossy: bool = False

    @property
    def description(self) -> str:
        """The form with its article."""
        return f"{'an' if self.form[0] in '8u' else 'a'} {self.form}"

    def colors(self) -> np.ndarray:
        """``(H, W, C)``: the palette's colors for indices, otherwise the values."""
        if self.palette is not None:
            return self.palette[self.values]
        return self.values if self.values.ndim == 3 else self.values[..., None]

    def gray_levels(self) -> np.ndarray | None:
        """What a viewer shows, 0 to 255, ``(H, W)``; None if that is not whole, or has color."""
        if self.values.ndim != 2:
            return None
        if self.palette is not None:
            colors = self.colors()
            return colors[..., 0] if (colors == colors[..., :1]).all() else None
        if self.values.dtype.kind == "f":
            inside = np.isfinite(self.values) & (self.values >= 0) & (self.values <= 1)
            levels = np.where(inside, self.values, 0) * 255
            return levels if inside.all() and (levels == np.round(levels)).all() else None
        if self.largest in (None, 255):
            return self.values if self.largest else None
        levels = self.values.astype(np.int64) * 255
        return None if (levels % self.largest).any() else levels // self.largest

    def oriented(self, tag: int | None) -> StoredPixels:
        """These pixels, put upright according to an EXIF tag."""
        if tag not in _UPRIGHT:
            return self
        return replace(self, values=np.ascontiguousarray(_UPRIGHT[tag](self.values)))


@dataclass(frozen=True)
class FileContent:
    """An image file that is in memory.

    Attributes:
        name: For messages.
        content: The bytes of the file.

    Example:
        >>> FileContent("photo", b"no picture").open_bytes().read(2)
        b'no'
    """

    name: str
    content: bytes

    def __str__(self) -> str:
        return self.name

    def open_bytes(self) -> io.BytesIO:
        """The bytes as a stream."""
        return io.BytesIO(self.content)


_Source = AnyPath | FileContent


def read_image(path: _Source, orientation: Orientation = "exif") -> tv_tensors.Image:
    """Color image as float32 RGB ``(3, H, W)`` in [0, 1].

    All bits are kept: 16-bit numbers are divided by 65535. Gray becomes three equal channels, a
    palette its colors, CMYK is converted. Opacity is dropped, so that transparent pixels keep
    their color.

    Args:
        path: The file.
        orientation: ``"exif"`` rotates according to the EXIF tag, ``"stored"`` does not.

    Raises:
        DataError: The file is missing or broken, or its numbers have no defined brightness.
    """
    with _naming(path, "image"):
        return in_color(_read_picture(path, orientation, for_labels=False), str(path))


def in_color(stored: StoredPixels, source: str) -> tv_tensors.Image:
    """Float32 RGB ``(3, H, W)`` in [0, 1] from the numbers of a photograph.

    Args:
        stored: The numbers.
        source: Names them in errors.

    Raises:
        DataError: They have no defined brightness.

    Example:
        >>> in_color(StoredPixels(np.full((2, 3), 255, np.uint8), "gray", 255), "photo").shape
        torch.Size([3, 2, 3])
    """
    pixels = stored.colors()
    pixels = pixels[..., :-1] if stored.alpha else pixels
    if stored.largest is not None:
        scaled = pixels.astype(np.float32) / np.float32(stored.largest)
    elif pixels.dtype.kind == "f" and bool(((pixels >= 0) & (pixels <= 1)).all()):
        scaled = pixels.astype(np.float32)
    else:
        raise DataError(
            f"{source}: {stored.description} with values from {pixels.min():g} to "
            f"{pixels.max():g}, of which it is not known what is white. Save photographs with "
            "8 or 16 bits, or as floats from 0 to 1."
        )
    image = torch.from_numpy(np.ascontiguousarray(scaled.transpose(2, 0, 1)))
    return tv_tensors.Image(image if len(image) == 3 else image.expand(3, -1, -1).contiguous())


def from_pillow(picture: Image.Image, source: str) -> tv_tensors.Image:
    """As :func:`read_image`, from an image of Pillow.

    Args:
        picture: The image, of any mode. Its EXIF tag, if it has one, rotates it.
        source: Names it in errors.

    Raises:
        DataError: Its file is broken, or its numbers have no defined brightness.

    Example:
        >>> from_pillow(Image.new("L", (3, 2), 255), "photo").mean().item()
        1.0
    """
    try:
        tag = picture.getexif().get(_ORIENTATION)
        common = _in_common_mode(picture)
        palette = _palette(common) if common.mode == "P" else None
        stored = _as_stored(np.asarray(common), common.mode, "image", None, None)
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"{source}: this image cannot be read ({error}).") from error
    return in_color(replace(stored, palette=palette).oriented(tag), source)


def exif_orientation(path: AnyPath) -> int:
    """EXIF tag of an image, 1 to 8; 1 if it has none.

    Raises:
        DataError: The file is missing or broken.
    """
    with _naming(path, "image"), _open(path) as file, Image.open(file) as opened:
        tag = opened.getexif().get(_ORIENTATION)
        return tag if tag in _UPRIGHT else 1


def read_array(path: AnyPath, key: str | None = None) -> np.ndarray:
    """Numbers of a label file as they are stored, ``(H, W)`` or ``(H, W, C)``.

    ``.npy``, ``.npz`` and ``.mat`` (up to v7) are read as arrays, everything else as an image:
    palette images as indices, numbers of 1 to 32 bits unchanged.

    Args:
        path: The file.
        key: Name of the array in an ``.npz`` or ``.mat``; needed if it holds more than one.

    Raises:
        DataError: The file is missing, broken, or ``key`` is not in it.
    """
    return read_stored(path, key).values


def read_stored(
    path: AnyPath, key: str | None = None, orientation: Orientation = "exif"
) -> StoredPixels:
    """As :func:`read_array`, with what the file says about its numbers.

    Args:
        path: The file.
        key: Name of the array in an ``.npz`` or ``.mat``.
        orientation: ``"exif"`` rotates images according to their EXIF tag.
    """
    with _naming(path, "label file"):
        if path.suffix.lower() not in ARRAYS:
            return _read_picture(path, orientation, for_labels=True)
        values = _read_array(path, key)
        if values.dtype.kind in "iuf" and not values.dtype.isnative:
            values = values.astype(values.dtype.newbyteorder("="))
        largest = 1 if values.dtype.kind == "b" else None
        return StoredPixels(values, f"{values.dtype} array", largest)


def _read_array(path: AnyPath, key: str | None) -> np.ndarray:
    suffix = path.suffix.lower()
    if suffix == ".npy":
        if isinstance(path, StorePath):
            return np.load(path.open_bytes(), allow_pickle=False)
        # A map is checked against the file's size before memory is reserved.
        return np.array(np.load(path, allow_pickle=False, mmap_mode="r"))
    place: Any = path.open_bytes() if isinstance(path, StorePath) else path
    if suffix == ".npz":
        with np.load(place, allow_pickle=False) as archive:
            return archive[_pick(path, list(archive.files), key)]
    content = scipy.io.loadmat(place if isinstance(path, StorePath) else str(path))
    names = [name for name in content if not name.startswith("__")]
    return np.asarray(content[_pick(path, names, key)])


def _pick(path: AnyPath, names: list[str], key: str | None) -> str:
    if key is None and len(names) == 1:
        return names[0]
    if key is None or key not in names:
        hint = "choose one with encoding.key" if key is None else f"encoding.key is {key!r}"
        raise DataError(f"{path} contains the arrays {', '.join(names) or '(none)'}; {hint}.")
    return key


def _read_picture(path: _Source, orientation: Orientation, for_labels: bool) -> StoredPixels:
    # Pillow maps a file that is opened by its path, and then reads rotated TIFFs wrongly.
    with _open(path) as file, Image.open(file) as opened:
        file.seek(0)
        start = file.read(4096)
        header = start[: _PNG_COLOR_TYPE + 1]
        tag = opened.getexif().get(_ORIENTATION)
        bits, maxval = _bits(opened, header), _maxval(opened)
        kind = opened.format or "image"
        if for_labels:
            _check_label_picture(path, opened, bits, maxval)
        deep = kind == "PNG" and bits == 16 and header[_PNG_COLOR_TYPE] in _PNG_CHANNELS
        if deep:  # Pillow would silently keep the upper 8 bits only
            mode = _PNG_CHANNELS[header[_PNG_COLOR_TYPE]]
            values = _decode_deep(path, file).permute(1, 2, 0).numpy()
        else:
            opened.load()
            if kind == "TIFF" and _ORIENTATION not in opened.getexif():
                tag = _INVERSE.get(tag or 1, tag) if orientation == "stored" else None
                orientation = "exif"  # Pillow has applied the tag already
            picture = _in_common_mode(opened)
            mode, values = picture.mode, np.asarray(picture)
        palette = _palette(opened) if mode == "P" else None
        lossy = kind in ("JPEG", "MPO", "AVIF") or (kind == "WEBP" and b"VP8L" not in start)
    stored = _as_stored(values, mode, kind, bits, maxval)
    stored = replace(stored, palette=palette, lossy=lossy)
    return stored.oriented(tag if orientation == "exif" else None)


def _open(path: _Source) -> BinaryIO:
    return path.open("rb") if isinstance(path, Path) else path.open_bytes()


def _decode_deep(path: _Source, file: BinaryIO) -> torch.Tensor:
    """PNG with 16 bits in each of several channels."""
    if isinstance(path, Path):
        return decode_image(str(path), ImageReadMode.UNCHANGED)
    file.seek(0)
    content = torch.frombuffer(bytearray(file.read()), dtype=torch.uint8)
    return decode_image(content, ImageReadMode.UNCHANGED)


def _bits(opened: Image.Image, header: bytes) -> int | None:
    """Bits of one stored number; None if the mode says it."""
    if opened.format == "PNG":
        return header[_PNG_BIT_DEPTH]
    if opened.format == "TIFF":
        stored: Any = getattr(opened, "tag_v2", {}).get(_BITS, 1)
        return max(stored) if isinstance(stored, tuple) else int(stored)
    return None


def _check_label_picture(
    path: _Source, opened: Image.Image, bits: int | None, maxval: int | None
) -> None:
    """Refuse files whose numbers Pillow would change."""
    kind = opened.format
    if getattr(opened, "n_frames", 1) > 1 and kind != "MPO":
        raise DataError(
            f"{path}: a label file with {getattr(opened, 'n_frames', 1)} pictures ({kind}). Save "
            "one picture per file."
        )
    if opened.mode in ("CMYK", "YCbCr", "LAB", "HSV", "La", "RGBa"):
        raise DataError(
            f"{path}: a {kind} with {opened.mode} pixels, whose numbers would be converted. Save "
            "it as gray, palette or RGB PNG, or as .npy."
        )
    wide = (bits or 0) > 8 or (maxval or 0) > 255
    if kind in ("TIFF", "PPM") and wide and opened.mode in ("RGB", "RGBA", "RGBX", "LA"):
        raise DataError(
            f"{path}: a {kind} with several channels of 16 bits, of which only 8 can be read. "
            "Save it as 16-bit PNG or .npy."
        )
    if kind != "TIFF" or bits is None:
        return
    photometric = getattr(opened, "tag_v2", {}).get(_PHOTOMETRIC)
    if photometric == _WHITE_IS_ZERO and bits > 1:
        raise DataError(
            f"{path}: a TIFF in which 0 is white (PhotometricInterpretation 0), so its numbers "
            "would be inverted. Save it as PNG, or with 0 as black."
        )


def _in_common_mode(picture: Image.Image) -> Image.Image:
    """The picture in a mode whose numbers are gray, indices, RGB, or these with opacity."""
    if picture.mode == "PA":
        return picture.convert("RGBA")
    if picture.mode in ("CMYK", "YCbCr", "LAB", "HSV", "RGBX"):
        return picture.convert("RGB")
    if picture.mode == "La":
        return picture.convert("LA")
    return picture.convert("RGBA") if picture.mode == "RGBa" else picture


def _palette(opened: Image.Image) -> np.ndarray:
    colors = np.zeros((256, 3), dtype=np.uint8)
    stored = np.array(opened.getpalette("RGB") or [], dtype=np.uint8).reshape(-1, 3)
    colors[: len(stored)] = stored[:256]
    return colors


def _maxval(opened: Image.Image) -> int | None:
    """White of a PGM or PPM file, whose numbers Pillow scales to 255 or 65535."""
    tiles: Any = getattr(opened, "tile", None)
    if opened.format != "PPM" or not tiles or opened.mode == "1":
        return None
    arguments = tiles[0].args
    last = arguments[-1] if isinstance(arguments, tuple) else None
    return last if isinstance(last, int) and last > 0 else None


def _as_stored(
    values: np.ndarray, mode: str, kind: str, bits: int | None, maxval: int | None
) -> StoredPixels:
    """Undo the scaling of small numbers, and name the form."""
    words = {"1": "gray", "L": "gray", "P": "palette", "LA": "gray with opacity"}
    largest: int | None = None
    if mode == "1":
        values, largest = values.astype(np.uint8), 1
    elif mode == "P":
        largest = 255
    elif values.dtype == np.uint8:
        largest = 255
        if mode == "L" and bits in (2, 4):  # Pillow has multiplied them by 85 or 17
            largest = 2**bits - 1
            values = values // np.uint8(255 // largest)
    elif mode.startswith("I;16") or values.dtype == np.uint16 or (mode == "I" and kind != "TIFF"):
        values, largest = values.astype(np.uint16), 65535 if bits is None else 2**bits - 1
    if maxval is not None and largest is not None and maxval < largest:
        values = np.rint(values.astype(np.float64) * maxval / largest).astype(values.dtype)
        largest = maxval
    size = f"{values.dtype.itemsize * 8}-bit"
    if largest is not None:
        size = f"{largest.bit_length()}-bit"
    name = words.get(mode, "float gray" if values.dtype.kind == "f" else "gray")
    name = mode if mode in ("RGB", "RGBA") else name
    return StoredPixels(values, f"{size} {name} {kind}", largest, alpha=mode in _ALPHA_MODES)


ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm")


_HIDDEN = ("thumbs.db", "desktop.ini", "__macosx")


def is_hidden(name: str) -> bool:
    """Whether a file or folder belongs to the system: ``._a.jpg``, ``.DS_Store``, ``Thumbs.db``."""
    return name.startswith(".") or name.lower() in _HIDDEN


def find_images(paths: Iterable[str | AnyPath], recursive: bool = False) -> list[AnyPath]:
    """Image files among paths of files and folders, patterns and URLs.

    Args:
        paths: Files, folders, patterns such as ``photos/**/*.jpg``, or URLs of images.
        recursive: Whether subfolders of folders are searched too.

    Returns:
        Files in the order of ``paths``, those of one folder by name; each once. A file that is
        given itself may have any ending.

    Raises:
        InputError: A path does not exist, a folder or pattern has no image, or there is no path.

    Example:
        >>> find_images(["photos/*.jpg"])  # doctest: +SKIP
        [PosixPath('photos/kitchen.jpg')]
    """
    found: dict[AnyPath, None] = {}
    for given in paths:
        path = as_path(given)
        if isinstance(path, StorePath):
            found[path] = None  # reading it says whether it exists
        elif path.is_dir():
            inside = _images_in(path, recursive)
            if not inside:
                deeper = "" if recursive else " directly"
                raise InputError(
                    f"{path} contains no image{deeper} (no file ending in {', '.join(ENDINGS)}). "
                    "Give a folder that contains them directly, --recursive, or the files."
                )
            found |= dict.fromkeys(inside)
        elif path.exists():
            found[path] = None
        elif glob.has_magic(str(given)):
            matching = (Path(name) for name in sorted(glob.glob(str(given), recursive=True)))  # noqa: PTH207 (absolute patterns)
            images = [file for file in matching if _is_image(file)]
            if not images:
                raise InputError(f"No image matches {str(given)!r}. Check the pattern.")
            found |= dict.fromkeys(images)
        else:
            raise InputError(f"{path} does not exist. Give image files or folders of them.")
    if not found:
        raise InputError("No image was given. Give image files or folders of them.")
    return list(found)


def _images_in(folder: Path, recursive: bool) -> list[Path]:
    paths = folder.rglob("*") if recursive else folder.iterdir()
    return sorted(
        path
        for path in paths
        if _is_image(path) and not any(map(is_hidden, path.relative_to(folder).parts))
    )


def _is_image(path: Path) -> bool:
    return not is_hidden(path.name) and path.suffix.lower() in ENDINGS and path.is_file()
