"""Names of the results of files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from taskprism.atomic import safe_name


def unique_names(files: Sequence[Any]) -> list[str]:
    """Name of the results of each file: its stem, or more of its name if stems are equal.

    What cannot be in the name of a file on every system, such as a line break, becomes ``_``.
    """
    stems = Counter(file.stem for file in files)
    names: list[str] = []
    taken: set[str] = set()  # without case, which some file systems do not distinguish
    for file in files:
        base = safe_name(file.stem if stems[file.stem] == 1 else file.name)
        name, number = base, 2
        while name.casefold() in taken:
            name, number = f"{base}_{number}", number + 1
        taken.add(name.casefold())
        names.append(name)
    return names
