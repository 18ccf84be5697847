"""Which runs a table asks for."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from taskprism.atomic import write_json
from taskprism.errors import DataError, InputError, UnknownNameError
from taskprism.papers.claims import Claims
from taskprism.papers.settings import changes, row_recipe, run_key
from taskprism.papers.table import Part, Table
from taskprism.recipes.schema import Recipe
from taskprism.training.experiment import build_protocol
from taskprism.training.run_directory import RunDirectory

PAPER_BUDGET = "full"


@dataclass(frozen=True)
class Run:
    """One training, for all rows that need it.

    Attributes:
        key: Name of the recipe's settings; rows with equal settings have equal keys.
        seed: Of weights, order and augmentation.
        recipe: Everything else.
        rows: Keys of the rows.
    """

    key: str
    seed: int
    recipe: Recipe
    rows: tuple[str, ...]

    @property
    def name(self) -> str:
        """Unique among all runs in a folder."""
        return f"{self.key}-seed{self.seed}"


@dataclass(frozen=True)
class Request:
    """What a user asks for.

    Attributes:
        protocol: To train on instead of the paper's data; None for the paper's.
        data: Folder of the data, where it needs one; for several data sets, a folder with one
            folder for each, called like its protocol.
        budget: How long to train: ``tiny``, ``small``, ``full`` (as the paper), or a file.
        seeds: Trainings of each row, with the seeds 0, 1, ...
        rows: Keys of rows; empty for all. Rows that they are compared with or read out of are
            added.
        parts: Names of parts; empty for all.
    """

    protocol: str | None = None
    data: Path | None = None
    budget: str = PAPER_BUDGET
    seeds: int = 3
    rows: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()

    @property
    def as_published(self) -> bool:
        """Whether figures may be compared one by one: the paper's data and length of training."""
        return self.protocol is None and self.budget == PAPER_BUDGET

    def options(self) -> list[str]:
        """The same request as words of the command line."""
        words: list[str] = []
        if self.protocol is not None:
            words += ["--protocol", self.protocol]
        if self.data is not None:
            words += ["--data", str(self.data)]
        words += ["--budget", self.budget, "--seeds", str(self.seeds)]
        for option, values in (("--rows", self.rows), ("--parts", self.parts)):
            words += [option, *values] if values else []
        return words


@dataclass(frozen=True)
class Plan:
    """A table with the runs of its rows.

    Attributes:
        table: The paper's.
        request: What was asked for.
        parts: Those to be shown, with the rows to be shown.
        recipes: Key of a trained row -> one recipe per seed.
        impossible: Key of a row -> why nothing can be trained for it under this request.
        changes: Key of a trained row -> what its recipe has otherwise than the published one.
    """

    table: Table
    request: Request
    parts: dict[str, Part]
    recipes: dict[str, tuple[Recipe, ...]]
    impossible: dict[str, str]
    changes: dict[str, list[str]] = field(default_factory=dict)

    @cached_property
    def runs(self) -> list[Run]:
        """All runs, each once: every row with the first seed before any with the second."""
        rows: dict[tuple[str, int], list[str]] = {}
        recipes: dict[tuple[str, int], Recipe] = {}
        for seed in range(self.request.seeds):
            for row, row_recipes in self.recipes.items():
                recipe = row_recipes[seed]
                rows.setdefault((recipe.name, recipe.seed), []).append(row)
                recipes.setdefault((recipe.name, recipe.seed), recipe)
        return [Run(*place, recipe, tuple(rows[place])) for place, recipe in recipes.items()]

    def runs_of(self, row: str) -> list[Run]:
        """Runs of a trained row, by seed."""
        return [run for run in self.runs if row in run.rows]

    def command(self, out: Path, *more: str) -> str:
        """Command line that does what this plan asks for, or goes on with it."""
        words = ["taskprism", "reproduce", self.table.name, *self.request.options()]
        return shlex.join([*words, *more, "--out", str(out)])


def make_plan(table: Table, request: Request) -> Plan:
    """Resolve the recipes of all rows that are asked for.

    Raises:
        UnknownNameError: There is no such row or part.
        InputError: No row is left, or there is no seed.
        RecipeError: A recipe is wrong.
    """
    if request.seeds < 1:
        raise InputError(f"{request.seeds} seeds leave nothing to train; give at least 1.")
    parts = _shown(table, request)
    recipes: dict[str, tuple[Recipe, ...]] = {}
    impossible: dict[str, str] = {}
    told: dict[str, list[str]] = {}
    for part in parts.values():
        for key, row in part.rows.items():
            if not row.trained:
                continue
            published = row_recipe(table, key)
            try:
                recipe = _recipe(table, key, request, published)
            except InputError as error:
                impossible[key] = str(error)
                continue
            seeds = range(request.seeds)
            recipes[key] = tuple(recipe.model_copy(update={"seed": seed}) for seed in seeds)
            if published is not None and not request.as_published:
                told[key] = changes(published, recipe)
    if not recipes:
        reasons = "; ".join(f"{row}: {reason}" for row, reason in impossible.items())
        raise InputError(f"No row of {table.name} can be trained: {reasons or 'none is left'}.")
    return Plan(table, request, parts, recipes, impossible, told)


def check_data(plan: Plan) -> None:
    """Open the data of all runs, so that what is missing is told before anything is trained.

    Raises:
        DataError: Data are missing; the message says where to learn what they are.
    """
    checked = []
    for recipes in plan.recipes.values():
        settings = recipes[0].data
        if settings in checked:
            continue
        checked.append(settings)
        try:
            protocol = build_protocol(settings)
            for split in protocol.splits:
                protocol.dataset(split)
        except DataError as error:
            raise _with_way_out(error, settings.protocol, table=plan.table) from error


def _with_way_out(error: DataError, protocol: str | list[str], table: Table) -> DataError:
    name = protocol if isinstance(protocol, str) else "PROTOCOL"
    return DataError(
        f"{error} Give the folder by --data ROOT (`taskprism data describe {name}` says what it "
        "must hold and where it comes from), or take data that need none: `taskprism reproduce "
        f"{table.name} --protocol rooms --budget small`."
    )


def _recipe(table: Table, row: str, request: Request, published: Recipe | None) -> Recipe:
    """Recipe of a trained row, called after what it trains: several rows may share the run."""
    if published is None:
        raise InputError(f"{table.name}/{row} is not trained.")
    protocol = published.data.protocol if request.protocol is None else request.protocol
    data = request.data
    if data is not None and isinstance(protocol, str) and (data / Path(protocol).stem).is_dir():
        data = data / Path(protocol).stem
    try:
        recipe = row_recipe(table, row, protocol=request.protocol, data=data, budget=request.budget)
    except DataError as error:
        raise _with_way_out(error, protocol, table) from error
    if recipe is None:
        raise InputError(f"{table.name}/{row} is not trained.")
    return recipe.model_copy(update={"name": run_key(recipe)})


def _shown(table: Table, request: Request) -> dict[str, Part]:
    """Parts with the rows that are asked for and those without which they mean nothing."""
    for name in request.parts:
        if name not in table.parts:
            raise UnknownNameError(f"part of table {table.name}", name, table.parts)
    for key in request.rows:
        table.row(key)
    shown = {}
    for name, part in table.parts.items():
        if request.parts and name not in request.parts:
            continue
        wanted = _with_needed(part, [key for key in request.rows if key in part.rows])
        if request.rows and not wanted:
            continue
        rows = {key: row for key, row in part.rows.items() if not request.rows or key in wanted}
        shown[name] = part.model_copy(update={"rows": rows})
    if not shown:
        raise InputError(
            f"The rows {', '.join(request.rows)} of {table.name} are in none of the parts "
            f"{', '.join(request.parts)}."
        )
    return shown


def _with_needed(part: Part, rows: Sequence[str]) -> set[str]:
    """Rows with those they are compared with or read out of."""
    wanted: set[str] = set()
    left = list(rows)
    while left:
        key = left.pop()
        if key in wanted:
            continue
        wanted.add(key)
        readout = part.rows[key].readout
        needed = [part.baseline_of(key, column) for column in part.columns if column.relative]
        left += [other for other in needed if other is not None]
        left += [readout.of] if readout is not None else []
    return wanted


class Place:
    """A folder of runs and tables, which several processes and machines may share.

    ==========================  ==============================================================
    ``runs/RUN/``               run directories; a run that rows of several tables need is there
                                once
    ``claims/RUN/``             who is or was at a run, see :mod:`taskprism.papers.claims`
    ``failures/RUN.json``       why a run failed
    ``tables/TABLE/``           ``table.md``, ``table.json`` and ``report.html``
    ==========================  ==============================================================

    Args:
        path: The folder; it need not exist yet.
        claims: How claims are held; by default in ``claims/``.
    """

    def __init__(self, path: Path, claims: Claims | None = None) -> None:
        self.path = path
        self.claims = claims or Claims(path / "claims")

    def run(self, run: Run) -> RunDirectory:
        """Directory of a run."""
        return RunDirectory(self.path / "runs" / run.name)

    def is_done(self, run: Run) -> bool:
        """Whether a run has its scores."""
        return self.run(run).metrics_file.is_file()

    def clear_debris(self, run: Run) -> None:
        """Remove what a process left that died before its run began. Needs the run's claim."""
        directory = self.run(run)
        if directory.path.exists() and not directory.recipe_file.is_file():
            shutil.rmtree(directory.path)

    def failure(self, run: Run) -> dict[str, Any] | None:
        """Why a run failed (``error``, ``host``, ``time``, ...), or None if it did not."""
        file = self._failure_file(run)
        try:
            return json.loads(file.read_text(encoding="utf-8"))
        except OSError:
            return None
        except ValueError:
            return {"error": f"{file} cannot be read"}

    def note_failure(self, run: Run, content: dict[str, Any]) -> None:
        """Remember that a run failed, for all processes."""
        write_json(self._failure_file(run), content)

    def forget_failure(self, run: Run) -> None:
        """Let a run be tried again."""
        self._failure_file(run).unlink(missing_ok=True)

    def table(self, plan: Plan) -> Path:
        """Folder of a table's results: one for each protocol and budget."""
        request = plan.request
        words = [plan.table.name.replace("/", "-"), request.protocol or "", request.budget]
        return self.path / "tables" / "-".join(Path(word).stem for word in words if word)

    def _failure_file(self, run: Run) -> Path:
        return self.path / "failures" / f"{run.name}.json"
