"""Which samples a split has: from a list, from numbered files, or from what lies in a folder.

A name may have folders in it (``val/frankfurt/frankfurt_000000_000294``); the functions are given
to a :class:`~taskprism.data.benchmarks.variant.Variant` by :func:`functools.partial`, so that data
sets can be sent to other processes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from taskprism.errors import DataError

Names = Callable[[Path], list[str]]


def listed(root: Path, *, file: str) -> list[str]:
    """Names in a text file, one a line.

    Raises:
        DataError: If there is no such file, or it is empty.
    """
    path = root / file
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: this list of names cannot be read ({error}).") from None
    names = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not names:
        raise DataError(f"{path}: this list of names is empty.")
    return names


def numbered(root: Path, *, folder: str, parts: str, suffix: str = ".npy") -> list[str]:
    """``folder/0``, ``folder/1``, ...: one for each numbered file in ``folder/parts``.

    The numbers are those of the files that exist, in numerical order, so that a gap shows as a
    gap and does not shift what follows.

    Raises:
        DataError: If there are none, or a file's name is no number.
    """
    place = root / folder / parts
    stems = [path.stem for path in place.glob(f"*{suffix}")] if place.is_dir() else []
    strange = [stem for stem in stems if not stem.isdecimal()]
    if strange or not stems:
        what = f"{strange[0]}{suffix} is no number" if strange else f"no {suffix} file is there"
        raise DataError(f"{place}: the files must be named 0{suffix}, 1{suffix}, ..., but {what}.")
    return [f"{folder}/{stem}" for stem in sorted(stems, key=int)]


def found(root: Path, *, base: str, folder: str, ending: str) -> list[str]:
    """Names, relative to ``base``, of all files below ``base/folder`` with that ending, sorted.

    Raises:
        DataError: If there are none.
    """
    files = (root / base / folder).rglob(f"*{ending}")
    names = (path.relative_to(root / base).as_posix() for path in files)
    result = sorted(name.removesuffix(ending) for name in names)
    if not result:
        raise DataError(f"{root / base / folder}: there is no file ...{ending}.")
    return result
