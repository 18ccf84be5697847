"""Which files a user means who names images and folders of them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from taskprism.errors import InputError

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm")


def find_images(paths: Iterable[str | Path]) -> list[Path]:
    """Image files, given as files or as folders of them (not of folders in them).

    Returns:
        Files in the order of ``paths``, those of one folder by name; each once. A file that was
        named itself may have any ending.

    Raises:
        InputError: A path does not exist, a folder holds no image, or there is no path.
    """
    found: dict[Path, None] = {}
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(file for file in path.iterdir() if file.suffix.lower() in ENDINGS)
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
    if not found:
        raise InputError("No image was named; name image files or folders of them.")
    return list(found)
