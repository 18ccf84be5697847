"""The runs of a table, and the folder that holds them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from taskprism.errors import DataError, InputError, UnknownNameError
from taskprism.papers.settings import changes, row_recipe, run_key
from taskprism.papers.table import Part, Table
from taskprism.progress import Reporter
from taskprism.recipes.schema import Recipe
from taskprism.sweeps.engine import Engine, Job, RunCollection
from taskprism.training.experiment import build_protocol

PAPER_BUDGET = "full"


@dataclass(frozen=True)
class Run:
    """One training run, shared by all rows that need it.

    Attributes:
        key: Name of the recipe's settings; rows with equal settings have equal keys.
        seed: Seed of weights, order of images and augmentation.
        recipe: All other settings.
        rows: Keys of the rows.

    Example:
        >>> Run("mti_net-resnet18-rooms-1f2e3d4c", 0, Recipe(), ("mti_net",)).name
        'mti_net-resnet18-rooms-1f2e3d4c-seed0'
    """

    key: str
    seed: int
    recipe: Recipe
    rows: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name of the run's folder, unique among all runs."""
        return f"{self.key}-seed{self.seed}"

    def job(self) -> Job:
        """The run as a job of an engine."""
        return Job(self.name, self.recipe, f"{', '.join(self.rows)}, seed {self.seed}")


@dataclass(frozen=True)
class Request:
    """Settings of a reproduction.

    Attributes:
        protocol: Protocol to train on; None for the paper's.
        data: Folder of the data, if the protocol needs one. For several data sets, a folder with
            one subfolder per protocol, named after it.
        budget: Length of training: ``tiny``, ``small``, ``full`` (as the paper), or a file.
        seeds: Number of runs of each row, with the seeds 0, 1, ...
        rows: Keys of rows; empty for all. Rows that these depend on are added.
        parts: Names of parts; empty for all.
        imports: Modules and Python files with your own parts, which the command line imports.

    Example:
        >>> Request(protocol="rooms", budget="tiny", seeds=1).options()
        ['--protocol', 'rooms', '--budget', 'tiny', '--seeds', '1']
    """

    protocol: str | None = None
    data: Path | None = None
    budget: str = PAPER_BUDGET
    seeds: int = 3
    rows: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()

    @property
    def as_published(self) -> bool:
        """Whether numbers are comparable with the paper: its data and length of training."""
        return self.protocol is None and self.budget == PAPER_BUDGET

    def options(self) -> list[str]:
        """The same settings as command-line arguments."""
        words: list[str] = []
        if self.protocol is not None:
            words += ["--protocol", self.protocol]
        if self.data is not None:
            words += ["--data", str(self.data)]
        words += ["--budget", self.budget, "--seeds", str(self.seeds)]
        for option, values in (("--rows", self.rows), ("--parts", self.parts)):
            words += [option, *values] if values else []
        for name in self.imports:
            words += ["--import", name]
        return words


@dataclass(frozen=True)
class Plan:
    """A table with the runs of its rows.

    Attributes:
        table: The table.
        request: The requested settings.
        parts: Parts to show, with the rows to show.
        recipes: Key of a trained row -> one recipe per seed.
        impossible: Key of a row -> why it cannot be trained under this request.
        changes: Key of a trained row -> how its recipe differs from the published one.

    Example:
        >>> from taskprism.papers import load_table
        >>> table = load_table("mti_net/2a")
        >>> plan = make_plan(table, Request("rooms", budget="tiny", seeds=1, rows=("pad_net",)))
        >>> [run.rows for run in plan.runs]
        [('single_task',), ('pad_net',)]
    """

    table: Table
    request: Request
    parts: dict[str, Part]
    recipes: dict[str, tuple[Recipe, ...]]
    impossible: dict[str, str]
    changes: dict[str, list[str]] = field(default_factory=dict)

    @cached_property
    def runs(self) -> list[Run]:
        """All runs, each once, ordered by seed, then by row."""
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
        """Command line that starts or resumes this plan."""
        words = ["taskprism", "reproduce", self.table.name, *self.request.options()]
        return shlex.join([*words, *more, "--out", str(out)])


def make_plan(table: Table, request: Request) -> Plan:
    """Resolve the recipes of all requested rows.

    Raises:
        UnknownNameError: There is no such row or part.
        InputError: No row is left, or there is no seed.
        RecipeError: A recipe is wrong.

    Example:
        >>> from taskprism.papers import load_table
        >>> request = Request("rooms", budget="tiny", seeds=1, rows=("multi_task",))
        >>> plan = make_plan(load_table("mti_net/2a"), request)
        >>> list(plan.recipes)  # with the baseline row
        ['single_task', 'multi_task']
    """
    if request.seeds < 1:
        raise InputError(f"Expected at least 1 seed, got {request.seeds}.")
    parts = _shown(table, request)
    recipes: dict[str, tuple[Recipe, ...]] = {}
    impossible: dict[str, str] = {}
    changed: dict[str, list[str]] = {}
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
                changed[key] = changes(published, recipe)
    if not recipes:
        reasons = "; ".join(f"{row}: {reason}" for row, reason in impossible.items())
        raise InputError(f"No row of {table.name} can be trained: {reasons or 'none is left'}.")
    return Plan(table, request, parts, recipes, impossible, changed)


def check_data(plan: Plan) -> None:
    """Open the data of all runs, so that missing data is reported before training starts.

    Raises:
        DataError: Data is missing; the message says how to get it.

    Example:
        >>> from taskprism.papers import load_table
        >>> request = Request("rooms", budget="tiny", seeds=1, rows=("multi_task",))
        >>> check_data(make_plan(load_table("mti_net/2a"), request))
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
            raise _with_advice(error, settings.protocol, table=plan.table) from error


def _with_advice(error: DataError, protocol: str | list[str], table: Table) -> DataError:
    name = protocol if isinstance(protocol, str) else "PROTOCOL"
    return DataError(
        f"{error} Pass the folder with --data ROOT (`taskprism data describe {name}` shows what it "
        "must contain and where to get it), or use generated data: `taskprism reproduce "
        f"{table.name} --protocol rooms --budget small`."
    )


def _recipe(table: Table, row: str, request: Request, published: Recipe | None) -> Recipe:
    """Recipe of a trained row, named after its settings, so that rows can share a run."""
    if published is None:
        raise InputError(f"{table.name}/{row} is not trained.")
    protocol = published.data.protocol if request.protocol is None else request.protocol
    data = request.data
    if data is not None and isinstance(protocol, str) and (data / Path(protocol).stem).is_dir():
        data = data / Path(protocol).stem
    try:
        recipe = row_recipe(table, row, protocol=request.protocol, data=data, budget=request.budget)
    except DataError as error:
        raise _with_advice(error, protocol, table) from error
    if recipe is None:
        raise InputError(f"{table.name}/{row} is not trained.")
    return recipe.model_copy(update={"name": run_key(recipe)})


def _shown(table: Table, request: Request) -> dict[str, Part]:
    """Parts with the requested rows and those that they depend on."""
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
            f"None of the rows {', '.join(request.rows)} of {table.name} is in the parts "
            f"{', '.join(request.parts)}."
        )
    return shown


def _with_needed(part: Part, rows: Sequence[str]) -> set[str]:
    """Rows with their baselines and the rows that they are evaluated from."""
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


class Place(RunCollection):
    """A folder of runs and tables.

    ==========================  ==============================================================
    ``runs/RUN/``               run directories; rows of several tables share one if their settings
                                are equal
    ``failures/RUN.json``       why a run failed
    ``tables/TABLE/``           ``table.md``, ``table.json`` and ``report.html``
    ==========================  ==============================================================

    Example:
        >>> place = Place(Path("reproduced"))
        >>> place.run(Run("key", 0, Recipe(), ())).path.as_posix()
        'reproduced/runs/key-seed0'
    """

    def table(self, plan: Plan) -> Path:
        """Folder of a table's results: one for each protocol and budget."""
        request = plan.request
        words = [plan.table.name.replace("/", "-"), request.protocol or "", request.budget]
        return self.path / "tables" / "-".join(Path(word).stem for word in words if word)


def train_plan(plan: Plan, place: Place, reporter: Reporter, engine: Engine) -> None:
    """Train the missing runs of a plan.

    Raises:
        KeyboardInterrupt: After Ctrl-C or another signal, once everything is saved; the message
            says how to resume.

    Example:
        >>> from taskprism.papers import load_table
        >>> from taskprism.sweeps import LocalEngine
        >>> plan = make_plan(load_table("mti_net/2a"), Request("rooms", budget="tiny", seeds=1))
        >>> train_plan(
        ...     plan, Place(Path("reproduced")), Reporter(), LocalEngine())  # doctest: +SKIP
    """
    try:
        engine.run([run.job() for run in plan.runs], place, reporter, plan.request.imports)
    except KeyboardInterrupt as interrupt:
        message = f"Stopped; finished work is kept. Resume with: {plan.command(place.path)}"
        raise type(interrupt)(message) from None
