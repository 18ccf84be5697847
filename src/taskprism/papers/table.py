"""A table of a paper as data: the printed numbers, and the recipe of every row.

The classes are the schema of the table files, and :func:`load_table` reads them.
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
    """One column: a metric of a task, or a quantity of the whole network.

    Example:
        >>> column = Column(key="gain", header="Δm %", quantity="gain")
        >>> column.relative
        True
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    key: str = Field(description="key of this column in the rows' numbers")
    header: str = Field(description="heading as printed")
    task: str | None = Field(None, description="task of the metric")
    metric: str | None = Field(None, description="name of the metric")
    quantity: Quantity | None = Field(
        None, description="instead of task and metric; drop is the negated gain"
    )
    scale: float = Field(
        1.0, description="factor from our unit to the printed one; 100 for percent"
    )
    digits: int = Field(2, ge=0, description="printed decimals")
    form: Form = Field(
        "absolute",
        alias="as",
        description="absolute, ratio to the baseline row, or change against it in percent",
    )
    baseline: str | None = Field(None, description="baseline row, if not that of the part")

    @property
    def relative(self) -> bool:
        """Whether the number compares the row with a baseline row."""
        return self.quantity in {"gain", "drop"} or self.form != "absolute"

    @model_validator(mode="after")
    def _has_one_meaning(self) -> Self:
        metric = self.task is not None and self.metric is not None
        if metric == (self.quantity is not None) or (self.task is None) != (self.metric is None):
            raise ValueError("a column needs either task and metric, or quantity")
        return self


class Readout(Strict):
    """A row that is evaluated from the trained network of another row.

    Example:
        >>> Readout(of="mti_net", initial_stride=32).initial_stride
        32
    """

    of: str = Field(description="row whose run is evaluated")
    initial_stride: int = Field(
        gt=0, description="stride of the scale whose initial predictions are scored"
    )


class Row(Strict):
    """One row: the paper's numbers, and how ours are obtained.

    Example:
        >>> row = Row(paper={"semseg": 36.6}, recipe={"model": {"name": "pad_net"}})
        >>> row.trained
        True
    """

    label: str = Field("", description="as printed; derived from the row's key if empty")
    paper: dict[str, float] = Field(
        default_factory=dict, description="column key -> printed number"
    )
    paper_std: dict[str, float] = Field(
        default_factory=dict, description="column key -> printed standard deviation"
    )
    recipe: dict[str, Any] = Field(
        default_factory=dict,
        description="merged into the common recipe; with `extends` it replaces it",
    )
    readout: Readout | None = Field(
        None, description="evaluated from another row's run instead of trained"
    )
    quoted: str | None = Field(
        None, description="not a system of this library; source of the numbers"
    )
    baseline: str | None = Field(None, description="baseline row, if not that of the part")
    notes: tuple[str, ...] = Field((), description="sentences printed below the table")
    misprints: dict[str, str] = Field(
        default_factory=dict, description="column key -> why its number contradicts the others"
    )

    @property
    def trained(self) -> bool:
        """Whether the row is trained."""
        return self.readout is None and self.quoted is None

    @field_validator("label", mode="before")
    @classmethod
    def _text(cls, label: Any) -> Any:
        return str(label) if isinstance(label, int | float) else label

    @model_validator(mode="after")
    def _has_one_origin(self) -> Self:
        ways = [bool(self.recipe), self.readout is not None, self.quoted is not None]
        if sum(ways) > 1:
            raise ValueError("a row needs one of recipe, readout and quoted, but has several")
        return self


class Part(Strict):
    """Rows that are compared with one another: one data set, one backbone.

    Example:
        >>> part = load_table("mti_net/2a").parts[""]
        >>> part.baseline_of("pad_net")
        'single_task'
    """

    label: str = Field("", description="what the part's rows share")
    baseline: str | None = Field(None, description="row that gains are computed against")
    columns: tuple[Column, ...] = Field(min_length=1, description="in the paper's order")
    recipe: dict[str, Any] = Field(default_factory=dict, description="common to all rows")
    rows: dict[str, Row] = Field(min_length=1, description="row key -> row, in the paper's order")
    notes: tuple[str, ...] = Field((), description="sentences printed below the part")

    def column(self, key: str) -> Column:
        """Column of that key.

        Raises:
            UnknownNameError: No column has it; the message lists those that exist.
        """
        for column in self.columns:
            if column.key == key:
                return column
        raise UnknownNameError("column", key, [column.key for column in self.columns])

    def baseline_of(self, row: str, column: Column | None = None) -> str | None:
        """Key of a row's baseline: that of the column, else of the row, else of the part."""
        return (column.baseline if column else None) or self.rows[row].baseline or self.baseline

    @field_validator("rows", mode="before")
    @classmethod
    def _plain_keys(cls, rows: Any) -> Any:
        if not isinstance(rows, dict):
            return rows
        labeled = {}
        for key, row in rows.items():
            if isinstance(key, str) and not key.isidentifier():
                raise ValueError(f"row key {key!r} must consist of letters, digits and underscores")
            row = {} if row is None else row
            named = isinstance(row, dict) and not row.get("label")
            labeled[key] = {**row, "label": _words(key)} if named else row
        return labeled

    @model_validator(mode="after")
    def _keys_exist(self) -> Self:
        keys = [column.key for column in self.columns]
        if len(set(keys)) < len(keys):
            raise ValueError(f"several columns have the same key: {', '.join(keys)}")
        compared = [self.baseline, *(column.baseline for column in self.columns)]
        for name, row in self.rows.items():
            compared.append(row.baseline)
            for field in ("paper", "paper_std", "misprints"):
                for key in getattr(row, field):
                    if key not in keys:
                        raise ValueError(
                            f"row {name!r} has {field!r} for unknown column {key!r}; the columns "
                            f"are {', '.join(keys)}"
                        )
            if row.readout and row.readout.of not in self._trained():
                raise ValueError(
                    f"row {name!r} is evaluated from {row.readout.of!r}, which is not a trained "
                    f"row; the trained rows are {', '.join(self._trained())}"
                )
        for row in compared:
            if row is not None and row not in self.rows:
                raise ValueError(
                    f"unknown baseline row {row!r}; the rows are {', '.join(self.rows)}"
                )
        return self

    def _trained(self) -> list[str]:
        return [name for name, row in self.rows.items() if row.trained]


class PlainTable(Part):
    """File of a table that has one part.

    Example:
        >>> columns = [{"key": "miou", "header": "mIoU", "task": "semseg", "metric": "miou"}]
        >>> table = PlainTable(title="T", source="S", columns=columns, rows={"ours": None})
        >>> table.rows["ours"].label
        'Ours'
    """

    title: str
    source: str


class PartedTable(Strict):
    """File of a table that has several parts.

    Example:
        >>> columns = [{"key": "miou", "header": "mIoU", "task": "semseg", "metric": "miou"}]
        >>> parts = {"left": {"columns": columns, "rows": {"ours": None}}}
        >>> list(PartedTable(title="T", source="S", parts=parts).parts["left"].rows)
        ['ours']
    """

    title: str
    source: str
    parts: dict[str, Part] = Field(min_length=1)
    notes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _rows_are_unique(self) -> Self:
        seen: dict[str, str] = {}
        for name, part in self.parts.items():
            for row in part.rows:
                if row in seen:
                    raise ValueError(
                        f"row {row!r} is in the parts {seen[row]!r} and {name!r}; row keys must be "
                        "unique in the table"
                    )
                seen[row] = name
        return self


@dataclass(frozen=True)
class Table:
    """A table of a paper.

    Attributes:
        name: ``PAPER/TABLE``; its rows' recipes are ``PAPER/TABLE/ROW``.
        file: File of the table.
        title: Title.
        source: Paper and number of the table.
        parts: Name -> part; the part of a table with one part is named ``""``.
        notes: Sentences printed below the table.

    Example:
        >>> table = load_table("mti_net/2a")
        >>> table.part_of("pad_net").column("depth").metric
        'rmse'
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
        """Row of that key.

        Raises:
            UnknownNameError: No row has it; the message lists those that exist.
        """
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
    """Names of the shipped tables: ``PAPER/TABLE``.

    Example:
        >>> list_tables()[:3]
        ['astmt/3a', 'astmt/3b', 'astmt/3c']
    """
    files = (path for path in TABLES.glob("*/*.yaml") if path.name[0] != "_")
    return sorted(path.relative_to(TABLES).with_suffix("").as_posix() for path in files)


def load_table(name: str | Path) -> Table:
    """Read a table.

    Args:
        name: One of :func:`list_tables`, or a file ``PAPER/TABLE.yaml``.

    Raises:
        UnknownNameError: There is no such table.
        RecipeError: The file is broken, or a key or value in it is wrong.

    Example:
        >>> list(load_table("ctal/4").parts)
        ['nyud', 'cityscapes']
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
    """The only part of a table, without the notes, which belong to the table."""
    return table.model_copy(update={"notes": ()})
