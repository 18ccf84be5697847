"""Recipes that are rows of a paper's table: ``PAPER/TABLE/ROW``.

Only what a row's recipe says is read here; the tables themselves, with the papers' figures, are
:mod:`taskprism.papers`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taskprism.errors import RecipeError, UnknownNameError
from taskprism.training.recipe_yaml import merge, read_mapping

_CommonAndOwn = tuple[dict[str, Any], dict[str, Any]]


@dataclass(frozen=True)
class RecipeSource:
    """Where a recipe stands: a file of its own, or a row of a table's file."""

    path: Path
    row: str | None = None

    @property
    def name(self) -> str:
        """What a run is called unless the recipe says otherwise."""
        return self.path.stem if self.row is None else self.row

    def __str__(self) -> str:
        return str(self.path) if self.row is None else f"{self.path} (row {self.row!r})"

    def values(self) -> dict[str, Any]:
        """Its own keys, still with ``extends``.

        A row's recipe is laid over the one common to all rows, unless it extends another: then it
        replaces the common one.

        Raises:
            RecipeError: The file is broken, or nothing is trained for that row.
        """
        content = read_mapping(self.path)
        if self.row is None:
            return content
        common, row = _find(content, self.row, self.path)
        if "quoted" in row:
            raise RecipeError(
                f"{self} only quotes its authors ({row['quoted']}); there is nothing to train."
            )
        if "readout" in row:
            of = _mapping(row["readout"], f"{self}: 'readout'").get("of")
            raise RecipeError(f"{self} is read out of the run of row {of!r}; train that one.")
        own = _mapping(row.get("recipe"), f"{self}: 'recipe'")
        return own if "extends" in own else merge(common, own)


def find_row(name: str | Path, folders: Iterable[Path]) -> RecipeSource | None:
    """Row called ``TABLE/ROW``, the table's file being ``TABLE.yaml`` in one of the folders.

    Returns:
        None if there is no such table.

    Raises:
        RecipeError: ``name`` is a whole table, or the table is broken.
        UnknownNameError: The table has no such row.
    """
    for folder in folders:
        whole, table = folder / f"{name}.yaml", Path(f"{(folder / name).parent}.yaml")
        if whole.is_file() and is_table(content := read_mapping(whole)):
            raise RecipeError(
                f"{str(name)!r} is a whole table: run it by `taskprism reproduce {name}`, or name "
                f"one of its rows, {name}/ROW: {', '.join(_rows(content, whole))}."
            )
        if table.is_file() and is_table(content := read_mapping(table)):
            source = RecipeSource(table, Path(name).name)
            _find(content, Path(name).name, table)
            return source
    return None


def is_table(content: Mapping[str, Any]) -> bool:
    """Whether the keys of a file are those of a table, not of a recipe."""
    return "rows" in content or "parts" in content


def _find(content: Mapping[str, Any], row: str, path: Path) -> _CommonAndOwn:
    """The recipe common to a row's part of the table, and the row."""
    rows = _rows(content, path)
    if row not in rows:
        raise UnknownNameError(f"row of table {path}", row, rows)
    return rows[row]


def _rows(content: Mapping[str, Any], path: Path) -> dict[str, _CommonAndOwn]:
    parts = _mapping(content["parts"], f"{path}: 'parts'") if "parts" in content else {"": content}
    found = {}
    for name, part in parts.items():
        where = f"{path}: part {name!r}" if name else str(path)
        part = _mapping(part, where)
        common = _mapping(part.get("recipe"), f"{where}: 'recipe'")
        for row, values in _mapping(part.get("rows"), f"{where}: 'rows'").items():
            found[str(row)] = (common, _mapping(values, f"{where}: row {row!r}"))
    return found


def _mapping(values: Any, where: str) -> dict[str, Any]:
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise RecipeError(f"{where} must hold keys and values, not a {type(values).__name__}.")
    return dict(values)
