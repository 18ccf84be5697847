"""Recipes that are rows of a paper's table: ``PAPER/TABLE/ROW``.

This module reads only the recipe of a row; :mod:`taskprism.papers.table` reads whole tables with
the printed numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taskprism.errors import RecipeError, UnknownNameError
from taskprism.recipes.files import RecipeFile, RecipeSource, is_recipe, merge, read_mapping

#: One folder per paper, one file per table.
TABLES = Path(__file__).parent / "recipes"
_CommonAndOwn = tuple[dict[str, Any], dict[str, Any]]


@dataclass(frozen=True)
class RowRecipe(RecipeFile):
    """The recipe of a row.

    Attributes:
        path: File of the table.
        row: Key of the row.

    Example:
        >>> RowRecipe(TABLES / "mti_net" / "2a.yaml", "pad_net").values()["model"]["name"]
        'pad_net'
    """

    row: str

    @property
    def name(self) -> str:
        """Name of the run unless the recipe gives one."""
        return self.row

    def __str__(self) -> str:
        return f"{self.path} (row {self.row!r})"

    def values(self) -> dict[str, Any]:
        """The row's keys, ``extends`` included.

        They are merged into those that all rows share, unless the row extends another recipe: that
        one then replaces the shared keys.

        Raises:
            RecipeError: The file is broken, or nothing is trained for that row.
        """
        common, row = _find(read_mapping(self.path), self.row, self.path)
        if "quoted" in row:
            raise RecipeError(
                f"{self} only quotes its authors ({row['quoted']}); there is nothing to train."
            )
        if "readout" in row:
            of = _mapping(row["readout"], f"{self}: 'readout'").get("of")
            raise RecipeError(f"{self} is evaluated from the run of row {of!r}; train that one.")
        own = _mapping(row.get("recipe"), f"{self}: 'recipe'")
        return own if "extends" in own else merge(common, own)


class TableRows(RecipeSource):
    """Rows of tables as recipes: of the papers' tables, and of tables in your own folder.

    Example:
        >>> TableRows().find("mti_net/2a/pad_net", Path()).name
        'pad_net'
    """

    def names(self) -> list[str]:
        """None: rows are listed by :func:`taskprism.papers.list_tables`."""
        return []

    def find(self, name: str, folder: Path) -> RecipeFile | None:
        """Row called ``TABLE/ROW``, where ``TABLE.yaml`` is the file of the table.

        Recipes that the tables of the papers extend (``ctal/_base``) are found too.

        Raises:
            RecipeError: ``name`` is a whole table, or the table is broken.
            UnknownNameError: The table has no such row.
        """
        shared = TABLES / f"{name}.yaml"
        if is_recipe(shared):
            return RecipeFile(shared)
        if Path(name).suffix in {".yaml", ".yml"}:
            path = folder / name
            if path.is_file() and is_table(read_mapping(path)):
                raise RecipeError(
                    f"{path} is a whole table; name one of its rows without {path.suffix!r}."
                )
            return None
        for place in (folder, TABLES):
            whole, table = place / f"{name}.yaml", Path(f"{(place / name).parent}.yaml")
            if whole.is_file() and is_table(content := read_mapping(whole)):
                raise RecipeError(
                    f"{name!r} is a whole table: run it with `taskprism reproduce {name}`, or name "
                    f"one of its rows, {name}/ROW: {', '.join(_rows(content, whole))}."
                )
            if table.is_file() and is_table(content := read_mapping(table)):
                _find(content, Path(name).name, table)
                return RowRecipe(table, Path(name).name)
        return None

    def is_recipe(self, content: Mapping[str, Any]) -> bool:
        """Whether a file is not a table."""
        return not is_table(content)


def is_table(content: Mapping[str, Any]) -> bool:
    """Whether the keys of a file are those of a table, not of a recipe.

    Example:
        >>> is_table({"model": {"name": "mti_net"}, "epochs": 20})
        False
    """
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
