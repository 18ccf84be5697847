"""Sweeps: every combination of recipes, values of keys, and seeds."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from taskprism.errors import InputError
from taskprism.progress import Reporter
from taskprism.recipes.files import parse_value
from taskprism.recipes.schema import Recipe
from taskprism.scoring.compare import compare
from taskprism.scoring.runs import RunResult, read_run
from taskprism.scoring.tables import Comparison
from taskprism.sweeps.engine import Job, RunCollection
from taskprism.training.experiment import build_experiment, load_recipe_or_model


@dataclass(frozen=True)
class SweptRun(Job):
    """A job of a sweep.

    Attributes:
        method: Name of its recipe and of the values that differ; the seeds of a method share it.
        values: Keys with several values -> the value of this run.
    """

    method: str
    values: Mapping[str, Any]


def parse_values(words: Iterable[str]) -> dict[str, list[Any]]:
    """Read ``optimizer.lr=1e-4,3e-4``: a key and its values as YAML, divided by commas.

    Raises:
        InputError: A word is not of that form, or a key occurs twice.

    Example:
        >>> parse_values(["optimizer.lr=1e-4,3e-4", "tasks=[depth],[depth, edge]"])
        {'optimizer.lr': [0.0001, 0.0003], 'tasks': [['depth'], ['depth', 'edge']]}
    """
    found: dict[str, list[Any]] = {}
    for word in words:
        key, equals, text = word.partition("=")
        values = parse_value(f"[{text}]")
        if not key or not equals or not isinstance(values, list) or not values:
            raise InputError(
                f"--set takes KEY=VALUE[,VALUE ...] such as optimizer.lr=1e-4,3e-4, got {word!r}."
            )
        if not key.startswith("data.root."):  # followed by the name of a protocol
            key = key.replace("-", "_")
        if key in found:
            raise InputError(f"--set names {key} twice; list its values in one: {key}=A,B.")
        found[key] = values
    return found


def plan_sweep(
    sources: Sequence[str],
    values: Mapping[str, Sequence[Any]] | None = None,
    seeds: int = 1,
    imports: Sequence[str] = (),
) -> list[SweptRun]:
    """Jobs for the product of recipes, values and seeds.

    Args:
        sources: Recipes: what :func:`~taskprism.training.load_recipe` reads, or names of models.
        values: Dotted key of the recipe -> its values.
        seeds: Number of seeds: 0, 1, ...
        imports: Modules and Python files that the runs record in addition to those of the recipe.

    Returns:
        All recipes and values with the first seed, then with the next. A recipe is named after its
        source and the values that differ, such as ``mti_net-lr=0.0003``.

    Raises:
        RecipeError: A key or value is wrong.
        InputError: There are no recipes or seeds, or two runs would have the same name.

    Example:
        >>> runs = plan_sweep(["rooms/mti_net"], {"optimizer.lr": [1e-4, 3e-4]}, seeds=2)
        >>> [run.name for run in runs][1:3]
        ['mti_net-lr=0.0003-seed0', 'mti_net-lr=0.0001-seed1']
    """
    values = values or {}
    if not sources:
        raise InputError("Name at least one recipe: `taskprism sweep RECIPE [RECIPE ...]`.")
    if seeds < 1:
        raise InputError(f"Expected at least 1 seed, got {seeds}.")
    for key, place in (("seed", "--seeds COUNT"), ("name", "the recipe"), ("imports", "--import")):
        if key in values:
            raise InputError(f"The key {key!r} cannot be swept; set it with {place}.")
    varied = [key for key, options in values.items() if len(options) > 1]
    short = short_names(varied)
    methods: list[tuple[Recipe, dict[str, Any]]] = []
    for source, name in zip(sources, _recipe_names(sources, values), strict=True):
        for combination in itertools.product(*values.values()):
            overrides = dict(zip(values, combination, strict=True))
            recipe = load_recipe_or_model(source, overrides)
            differing = {key: overrides[key] for key in varied}
            words = [name, *(f"{short[key]}={to_text(value)}" for key, value in differing.items())]
            recorded = list(dict.fromkeys([*recipe.imports, *imports]))
            changes = {"name": "-".join(words), "imports": recorded}
            methods.append((recipe.model_copy(update=changes), differing))
    runs = [_swept(recipe, each, seed) for seed in range(seeds) for recipe, each in methods]
    name, count = Counter(run.name for run in runs).most_common(1)[0]
    if count > 1:
        raise InputError(
            f"{count} runs would be named {name!r}. Name each recipe and each value once."
        )
    return runs


def _swept(recipe: Recipe, values: Mapping[str, Any], seed: int) -> SweptRun:
    folder = re.sub(r"[^\w.+=,-]+", "_", recipe.name)
    return SweptRun(
        name=f"{folder}-seed{seed}",
        recipe=recipe.model_copy(update={"seed": seed}),
        label=f"{recipe.name}, seed {seed}",
        method=recipe.name,
        values=values,
    )


def _recipe_names(sources: Sequence[str], values: Mapping[str, Sequence[Any]]) -> list[str]:
    """Names of recipes; those with equal names are named after where they come from."""
    first = {key: options[0] for key, options in values.items()}
    names = [load_recipe_or_model(source, first).name for source in sources]
    return [
        name if names.count(name) == 1 else Path(source).with_suffix("").as_posix()
        for name, source in zip(names, sources, strict=True)
    ]


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """Key -> its last part, or as many parts as distinguish it from the other keys.

    Example:
        >>> short_names(["optimizer.lr", "optimizer.name", "model.name"])
        {'optimizer.lr': 'lr', 'optimizer.name': 'optimizer.name', 'model.name': 'model.name'}
    """
    short = {}
    for key in keys:
        parts = key.split(".")
        for length in range(1, len(parts) + 1):
            short[key] = ".".join(parts[-length:])
            if sum(f".{other}".endswith(f".{short[key]}") for other in keys) == 1:
                break
    return short


def to_text(value: Any) -> str:
    """Short text of a value: ``0.0003``, ``[depth, edge]``.

    Example:
        >>> to_text(3e-4), to_text(True), to_text(["depth", "edge"])
        ('0.0003', 'true', '[depth, edge]')
    """
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:.6g}"
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000)
    return text.removesuffix("\n").removesuffix("\n...")


def check_runs(jobs: Sequence[Job], runs: RunCollection, reporter: Reporter) -> None:
    """Check, before anything is trained, that every missing run can start or resume.

    The data are opened, and each network is built once.

    Raises:
        TaskprismError: A name, option or file is wrong, or a folder holds a run with other
            settings.
    """
    for job in jobs:
        directory = runs.run(job)
        if directory.recipe_file.is_file():
            directory.check_resumable(job.recipe, may_extend=False)
    distinct: dict[str, Recipe] = {}
    for job in jobs:
        if not runs.is_done(job):
            distinct.setdefault(_what_is_built(job.recipe), job.recipe)
    for recipe in reporter.track(list(distinct.values()), "Checking recipes"):
        model = recipe.model.model_copy(update={"pretrained": False})
        experiment = build_experiment(recipe.model_copy(update={"model": model}))
        experiment.criterion()
        for split in experiment.protocol.splits:
            experiment.protocol.dataset(split)


def _what_is_built(recipe: Recipe) -> str:
    """Settings of data and network; equal for recipes that differ in optimization only."""
    keys = {"model", "data", "tasks", "auxiliary_tasks", "loss", "stepping", "imports"}
    return recipe.model_dump_json(include=keys)


def state_of(job: Job, runs: RunCollection) -> str:
    """State of a run before or after a command: finished, failed, unfinished or new.

    Example:
        >>> state_of(Job("a", Recipe(), "a"), RunCollection(Path("nowhere")))
        'new'
    """
    if runs.is_done(job):
        return "finished"
    if runs.failure(job) is not None:
        return "failed"
    return "unfinished" if runs.run(job).recipe_file.is_file() else "new"


def compare_finished(jobs: Sequence[Job], runs: RunCollection) -> list[Comparison]:
    """Compare the finished runs, in one table per protocol, split and input size.

    Raises:
        DataError: The scores of a run are broken.
    """
    groups: dict[Any, list[RunResult]] = {}
    for job in jobs:
        if runs.is_done(job):
            run = read_run(runs.run(job).path)
            groups.setdefault((run.protocol, run.split, run.input_size), []).append(run)
    return [compare(group) for group in groups.values()]
