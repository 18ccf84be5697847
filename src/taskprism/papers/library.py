"""The tables that are shipped, and reading one."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from taskprism.errors import UnknownNameError
from taskprism.papers.rows import TABLES
from taskprism.papers.table import Part, PartedTable, PlainTable, Table
from taskprism.recipes.files import read_mapping
from taskprism.recipes.schema import explain


def list_tables() -> list[str]:
    """Names of the shipped tables: ``PAPER/TABLE``."""
    files = (path for path in TABLES.glob("*/*.yaml") if path.name[0] != "_")
    return sorted(path.relative_to(TABLES).with_suffix("").as_posix() for path in files)


def load_table(name: str | Path) -> Table:
    """Read a table.

    Args:
        name: One of :func:`list_tables`, or a file ``PAPER/TABLE.yaml``.

    Raises:
        UnknownNameError: There is no such table.
        RecipeError: The file is broken, or a key or value in it is wrong.
    """
    path = Path(name)
    if path.suffix != ".yaml":
        path = TABLES / f"{name}.yaml"
        if str(name) not in list_tables():
            raise UnknownNameError("table", str(name), list_tables())
    path = path.resolve()
    content = read_mapping(path)
    schema = PartedTable if "parts" in content else PlainTable
    try:
        read = schema.model_validate(content)
    except ValidationError as error:
        raise explain(error, schema, str(path)) from None
    return Table(
        name=f"{path.parent.name}/{path.stem}",
        file=path,
        title=read.title,
        source=read.source,
        parts=read.parts if isinstance(read, PartedTable) else {"": _without_notes(read)},
        notes=read.notes,
    )


def _without_notes(table: PlainTable) -> Part:
    """The one part of a table, whose notes are the table's."""
    return table.model_copy(update={"notes": ()})
