"""Any photograph as a network wants it: upright RGB in [0, 1], whatever the file holds."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from taskprism.errors import DataError, InputError

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm")


def read_photograph(path: str | Path) -> Tensor:
    """Read an image of any common kind.

    Grey becomes RGB, transparency is put on white, 16 bits keep their precision, the orientation
    that a camera noted (EXIF) is applied, of an animation the first frame is taken.

    Returns:
        ``(3, H, W)`` float32 RGB in [0, 1].

    Raises:
        DataError: The file is missing or cannot be read as an image; the message names it.
    """
    file = Path(path)
    if not file.is_file():
        raise DataError(f"{file} does not exist.")
    try:
        with Image.open(file) as opened:
            picture = _deep(opened) if opened.mode[0] in "IF" else _plain(opened)
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError) as error:
        # Pillow reports broken files by any of these.
        raise DataError(
            f"{file} cannot be read as an image ({error}); make sure that it is complete and of "
            f"a common kind ({', '.join(ENDINGS)})."
        ) from error
    except Image.DecompressionBombError as error:
        raise DataError(f"{file} is too large to be read safely: {error}") from error
    return torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1).contiguous()


def find_photographs(paths: Iterable[str | Path]) -> list[Path]:
    """Image files, given as files or as folders of them (not of folders in them).

    Returns:
        Files in the order of ``paths``, those of one folder by name; each once. A file that was
        named itself may have any ending.

    Raises:
        InputError: A path does not exist, or a folder holds no image.
    """
    found: dict[Path, None] = {}
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(f for f in path.iterdir() if f.suffix.lower() in ENDINGS)
            if not inside:
                raise InputError(
                    f"{path} holds no image (no file ending in {', '.join(ENDINGS)}); name a "
                    "folder that holds them directly, or the files."
                )
            found.update(dict.fromkeys(inside))
        elif path.exists():
            found[path] = None
        else:
            raise InputError(f"{path} does not exist; name image files or folders of them.")
    return list(found)


def _plain(opened: Image.Image) -> np.ndarray:
    """Eight-bit image of any mode -> ``(H, W, 3)`` float32."""
    upright = ImageOps.exif_transpose(opened)
    if upright.mode in {"RGBA", "LA", "PA"} or "transparency" in upright.info:
        coloured = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", coloured.size, "white"), coloured)
    return np.asarray(upright.convert("RGB"), dtype=np.float32) / 255


def _deep(opened: Image.Image) -> np.ndarray:
    """Grey image of 16 or 32 bits -> ``(H, W, 3)`` float32; ``convert("RGB")`` would clip it."""
    values = np.asarray(ImageOps.exif_transpose(opened)).astype(np.float32)
    if not np.isfinite(values).all():
        raise ValueError("it holds values that are not finite")
    highest = float(values.max(initial=0.0))
    # The mode does not say how many of its bits are used, the values do.
    depth = next((top for top in (1.0, 255.0, 65535.0) if highest <= top), highest)
    if opened.mode.startswith("I"):
        depth = max(depth, 255.0) if opened.mode == "I" else 65535.0
    return np.repeat((values / depth).clip(0, 1)[..., None], 3, axis=2)
