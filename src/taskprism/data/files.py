"""Find image files, and read one image or array; every error names the file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import scipy.io
import torch
from PIL import Image, ImageOps
from torchvision import tv_tensors
from torchvision.io import ImageReadMode, decode_image

from taskprism.errors import DataError, InputError

_PNG_BIT_DEPTH, _PNG_COLOR_TYPE = 24, 25  # byte offsets in the header
_PNG_MULTI_CHANNEL = (2, 4, 6)


@contextmanager
def _naming(path: Path, what: str) -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"{path}: no such {what}.") from None
    except Exception as error:  # broken bytes raise nearly anything in the libraries below
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(
            f"{path}: this {what} cannot be read ({reason}). Replace the file, or remove "
            "its name from the split."
        ) from error


def read_image(path: Path) -> tv_tensors.Image:
    """Color image as float32 RGB ``(3, H, W)`` in [0, 1], rotated according to its EXIF tag.

    Raises:
        DataError: The file is missing or broken.
    """
    with _naming(path, "image"), Image.open(path) as opened:
        picture = ImageOps.exif_transpose(opened)
        if picture.mode.startswith("I"):  # 16-bit gray, which Pillow would clip at 255
            gray = np.asarray(picture, dtype=np.float32) / 65535
            return tv_tensors.Image(torch.from_numpy(gray).expand(3, -1, -1).contiguous())
        pixels = np.array(picture.convert("RGB"))
    image = torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
    return tv_tensors.Image(image.float().div_(255))


def read_array(path: Path, key: str | None = None) -> np.ndarray:
    """Numbers of a label file as they are stored, ``(H, W)`` or ``(H, W, C)``.

    ``.npy``, ``.npz`` and ``.mat`` (up to v7) are read as arrays, everything else as an image:
    8- and 16-bit, palette images as indices.

    Args:
        path: The file.
        key: Name of the array in an ``.npz`` or ``.mat``; needed if it holds more than one.

    Raises:
        DataError: The file is missing, broken, or ``key`` is not in it.
    """
    with _naming(path, "label file"):
        suffix = path.suffix.lower()
        if suffix == ".npy":
            return np.load(path, allow_pickle=False)
        if suffix == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                return archive[_pick(path, list(archive.files), key)]
        if suffix == ".mat":
            content = scipy.io.loadmat(str(path))
            names = [name for name in content if not name.startswith("__")]
            return np.asarray(content[_pick(path, names, key)])
        return _read_picture(path)


def _pick(path: Path, names: list[str], key: str | None) -> str:
    if key is None and len(names) == 1:
        return names[0]
    if key is None or key not in names:
        hint = "choose one with encoding.key" if key is None else f"encoding.key is {key!r}"
        raise DataError(f"{path} contains the arrays {', '.join(names) or '(none)'}; {hint}.")
    return key


def _read_picture(path: Path) -> np.ndarray:
    with path.open("rb") as file:
        header = file.read(_PNG_COLOR_TYPE + 1)
    if (
        header.startswith(b"\x89PNG")
        and len(header) > _PNG_COLOR_TYPE
        and header[_PNG_BIT_DEPTH] == 16
        and header[_PNG_COLOR_TYPE] in _PNG_MULTI_CHANNEL
    ):  # Pillow would silently keep the upper 8 bits only
        return decode_image(str(path), ImageReadMode.UNCHANGED).permute(1, 2, 0).numpy()
    with Image.open(path) as opened:
        return np.array(ImageOps.exif_transpose(opened))


ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm")


def find_images(paths: Iterable[str | Path]) -> list[Path]:
    """Image files among paths of files and folders; subfolders are not searched.

    Returns:
        Files in the order of ``paths``, those of one folder by name; each once. A file that is
        given itself may have any ending.

    Raises:
        InputError: A path does not exist, a folder contains no image, or there is no path.
    """
    found: dict[Path, None] = {}
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(file for file in path.iterdir() if file.suffix.lower() in ENDINGS)
            if not inside:
                raise InputError(
                    f"{path} contains no image (no file ending in {', '.join(ENDINGS)}). Give a "
                    "folder that contains them directly, or the files."
                )
            found.update(dict.fromkeys(inside))
        elif path.exists():
            found[path] = None
        else:
            raise InputError(f"{path} does not exist. Give image files or folders of them.")
    if not found:
        raise InputError("No image was given. Give image files or folders of them.")
    return list(found)
