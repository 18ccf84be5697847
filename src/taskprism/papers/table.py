"""A table of a paper as data: what is printed, and the recipe of every row.

The classes here are the schema of the table files; reading them is in
:mod:`taskprism.papers.table`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, ValidationError, field_validator, model_validator

from taskprism.errors import UnknownNameError
from taskprism.papers.rows import TABLES
from taskprism.recipes.files import read_mapping
from taskprism.recipes.schema import Strict, explain

Quantity = Literal["gain", "drop", "parameters", "macs", "seconds"]
Form = Literal["absolute", "ratio", "percent"]


class Column(Strict):
    """One column: a metric of a task, or a quantity of the whole network."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    key: str = Field(description="by which the rows' figures are filed")
    header: str = Field(description="as it stands above the column")
    task: str | None = Field(None, description="task whose metric it is")
    metric: str | None = Field(None, description="key in the task's metrics")
    quantity: Quantity | None = Field(
        None, description="in place of task and metric; drop is the negated gain"
    )
    scale: float = Field(1.0, description="printed figure / ours; 100 for a share in percent")
    digits: int = Field(2, ge=0, description="decimals that the paper prints")
    form: Form = Field(
        "absolute",
        alias="as",
        description="absolute, ratio to the baseline row, or percent of change against it",
    )
    baseline: str | None = Field(None, description="row compared with, if not the part's")

    @property
    def relative(self) -> bool:
        """Whether the figure compares the row with a baseline row."""
        return self.quantity in {"gain", "drop"} or self.form != "absolute"

    @model_validator(mode="after")
    def _is_one_thing(self) -> Self:
        metric = self.task is not None and self.metric is not None
        if metric == (self.quantity is not None) or (self.task is None) != (self.metric is None):
            raise ValueError("a column is a task with a metric, or a quantity; give one of these")
        return self


class Readout(Strict):
    """A row that is read out of another row's trained network."""

    of: str = Field(description="the row whose run is looked into")
    initial_stride: int = Field(
        gt=0, description="stride of the scale whose initial predictions are scored"
    )


class Row(Strict):
    """One row: the paper's figures, and how ours come about."""

    label: str = Field("", description="as printed; empty: made of the row's key")
    paper: dict[str, float] = Field(
        default_factory=dict, description="column key -> printed figure"
    )
    paper_std: dict[str, float] = Field(
        default_factory=dict, description="column key -> printed standard deviation"
    )
    recipe: dict[str, Any] = Field(
        default_factory=dict, description="laid over the common one, or with `extends` instead"
    )
    readout: Readout | None = Field(None, description="not trained, but read out of another row")
    quoted: str | None = Field(
        None, description="not a system of this library; says whose figures these are"
    )
    baseline: str | None = Field(None, description="row compared with, if not the part's")
    notes: tuple[str, ...] = Field((), description="sentences printed below the table")
    misprints: dict[str, str] = Field(
        default_factory=dict, description="column key -> why its figure contradicts the others"
    )

    @property
    def trained(self) -> bool:
        """Whether the row has a run of its own."""
        return self.readout is None and self.quoted is None

    @field_validator("label", mode="before")
    @classmethod
    def _text(cls, label: Any) -> Any:
        return str(label) if isinstance(label, int | float) else label

    @model_validator(mode="after")
    def _comes_about_in_one_way(self) -> Self:
        ways = [bool(self.recipe), self.readout is not None, self.quoted is not None]
        if sum(ways) > 1:
            raise ValueError("a row has a recipe, a readout or is quoted; give one of these")
        return self


class Part(Strict):
    """Rows that are compared with one another: one data set, one backbone."""

    label: str = Field("", description="what the part's rows share")
    baseline: str | None = Field(None, description="the row that gains are taken against")
    columns: tuple[Column, ...] = Field(min_length=1, description="in the paper's order")
    recipe: dict[str, Any] = Field(default_factory=dict, description="common to all rows")
    rows: dict[str, Row] = Field(min_length=1, description="row key -> row, in the paper's order")
    notes: tuple[str, ...] = Field((), description="sentences printed below the part")

    def column(self, key: str) -> Column:
        """Column of that key; an unknown one answers with those that exist."""
        for column in self.columns:
            if column.key == key:
                return column
        raise UnknownNameError("column", key, [column.key for column in self.columns])

    def baseline_of(self, row: str, column: Column | None = None) -> str | None:
        """Key of the row with which a row is compared: the column's own, the row's, the part's."""
        return (column.baseline if column else None) or self.rows[row].baseline or self.baseline

    @field_validator("rows", mode="before")
    @classmethod
    def _plain_keys(cls, rows: Any) -> Any:
        if not isinstance(rows, dict):
            return rows
        labeled = {}
        for key, row in rows.items():
            if isinstance(key, str) and not key.isidentifier():
                raise ValueError(f"row {key!r} must be named by letters, digits and underscores")
            row = {} if row is None else row
            named = isinstance(row, dict) and not row.get("label")
            labeled[key] = {**row, "label": _words(key)} if named else row
        return labeled

    @model_validator(mode="after")
    def _names_what_it_has(self) -> Self:
        keys = [column.key for column in self.columns]
        if len(set(keys)) < len(keys):
            raise ValueError(f"two columns have one key ({', '.join(keys)})")
        compared = [self.baseline, *(column.baseline for column in self.columns)]
        for name, row in self.rows.items():
            compared.append(row.baseline)
            for field in ("paper", "paper_std", "misprints"):
                for key in getattr(row, field):
                    if key not in keys:
                        raise ValueError(
                            f"row {name!r} has a {field} figure {key!r}, which is no column; the "
                            f"columns are {', '.join(keys)}"
                        )
            if row.readout and row.readout.of not in self._trained():
                raise ValueError(
                    f"row {name!r} is read out of {row.readout.of!r}, which is no trained row; "
                    f"those are {', '.join(self._trained())}"
                )
        for row in compared:
            if row is not None and row not in self.rows:
                raise ValueError(f"baseline {row!r} is no row; rows are {', '.join(self.rows)}")
        return self

    def _trained(self) -> list[str]:
        return [name for name, row in self.rows.items() if row.trained]


class PlainTable(Part):
    """File of a table that has one part."""

    title: str
    source: str


class PartedTable(Strict):
    """File of a table that has several parts side by side."""

    title: str
    source: str
    parts: dict[str, Part] = Field(min_length=1)
    notes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _rows_are_told_apart(self) -> Self:
        seen: dict[str, str] = {}
        for name, part in self.parts.items():
            for row in part.rows:
                if row in seen:
                    raise ValueError(
                        f"row {row!r} is in the parts {seen[row]!r} and {name!r}; give rows keys "
                        "of their own over the whole table"
                    )
                seen[row] = name
        return self


@dataclass(frozen=True)
class Table:
    """A table of a paper.

    Attributes:
        name: ``PAPER/TABLE``; its rows' recipes are ``PAPER/TABLE/ROW``.
        file: Where it was read from.
        title: What the table shows.
        source: Where it is printed.
        parts: Name -> part; a table of one part has the name ``""`` for it.
        notes: Sentences printed below the table.
    """

    name: str
    file: Path
    title: str
    source: str
    parts: dict[str, Part]
    notes: tuple[str, ...] = ()

    @property
    def rows(self) -> dict[str, Row]:
        """All rows by their keys, in the paper's order."""
        return {key: row for part in self.parts.values() for key, row in part.rows.items()}

    def row(self, key: str) -> Row:
        """Row of that key; an unknown one answers with those that exist."""
        return self.part_of(key).rows[key]

    def part_of(self, row: str) -> Part:
        """Part that has the row.

        Raises:
            UnknownNameError: No part has it.
        """
        for part in self.parts.values():
            if row in part.rows:
                return part
        raise UnknownNameError(f"row of table {self.name}", row, self.rows)


def _words(key: str) -> str:
    return key.replace("_", " ").capitalize()


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
