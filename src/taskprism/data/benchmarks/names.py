"""Names of the samples of a split: from a list, numbered files, or the files in a folder.

A name may include folders (``val/frankfurt/frankfurt_000000_000294``). A
:class:`~taskprism.data.benchmarks.variant.Variant` takes these functions with
:func:`functools.partial`, so that data sets can be pickled.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from taskprism.data.files import is_hidden
from taskprism.errors import DataError
from taskprism.text_files import read_names

Names = Callable[[Path], list[str]]


def listed(root: Path, *, file: str) -> list[str]:
    """Names in a text file, one per line.

    Raises:
        DataError: There is no such file, or it is empty.
    """
    path = root / file
    names = list(dict.fromkeys(read_names(path)))
    if not names:
        raise DataError(f"{path}: this list of names is empty.")
    return names


def numbered(root: Path, *, folder: str, parts: str, suffix: str = ".npy") -> list[str]:
    """``folder/0``, ``folder/1``, ...: one for each numbered file in ``folder/parts``.

    The numbers are those of the existing files, in numerical order: a missing number does not
    shift the following ones.

    Raises:
        DataError: There are none, or the name of a file is not a number.
    """
    place = root / folder / parts
    files = place.glob(f"*{suffix}") if place.is_dir() else ()
    stems = [path.stem for path in files if not is_hidden(path.name)]
    strange = [stem for stem in stems if not stem.isdecimal()]
    if strange or not stems:
        what = f"{strange[0]}{suffix} is not" if strange else f"there is no {suffix} file"
        raise DataError(f"{place}: the files must be named 0{suffix}, 1{suffix}, ..., but {what}.")
    return [f"{folder}/{stem}" for stem in sorted(stems, key=int)]


def found(root: Path, *, base: str, folder: str, ending: str) -> list[str]:
    """Names, relative to ``base``, of all files below ``base/folder`` with that ending, sorted.

    Raises:
        DataError: There are none.
    """
    files = (root / base / folder).rglob(f"*{ending}")
    names = (path.relative_to(root / base).as_posix() for path in files if not is_hidden(path.name))
    result = sorted(name.removesuffix(ending) for name in names)
    if not result:
        raise DataError(f"{root / base / folder}: no file ends in {ending}.")
    return result
