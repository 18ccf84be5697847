"""The recipe of a row: as published, or with other data or another budget."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from taskprism.data.protocol import Protocol
from taskprism.errors import InputError, UnknownNameError
from taskprism.papers.rows import RowRecipe
from taskprism.papers.table import Column, Part, Table
from taskprism.recipes.files import merge, read_mapping, recipe_values, validate
from taskprism.recipes.schema import DataSettings, Recipe, Strict, explain
from taskprism.registry import import_parts
from taskprism.tasks.base import Task
from taskprism.training.experiment import build_protocol

BUDGETS = Path(__file__).parent / "budgets"
_DEFAULT = "default"
#: Keys of a recipe that do not change what is trained, or that are compared otherwise.
_APART = {"name", "seed", "trackers", "tracker_project", "tracker_options", "imports"}


class StandIn(Strict):
    """Another backbone instead of the paper's.

    Example:
        >>> stand_in = StandIn(match=["hrnet_*"], recipe={"model": {"backbone": "resnet18"}})
        >>> stand_in.match
        ('hrnet_*',)
    """

    match: tuple[str, ...] = Field(description="patterns of backbone names: hrnet_*")
    recipe: dict[str, Any] = Field(description="merged into the row's recipe")


class Budget(Strict):
    """Changes to the recipes of a table that limit training, in the order they are applied.

    Example:
        >>> budget = load_budget("full")
        >>> budget.seeds, budget.recipe
        (3, {})
    """

    seeds: int = Field(3, ge=1, description="number of runs of each row")
    recipe: dict[str, Any] = Field(default_factory=dict, description="changes for every row")
    protocols: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="protocol -> changes; the key default is for all others"
    )
    backbones: tuple[StandIn, ...] = Field((), description="the first one that matches applies")
    models: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="model name -> changes"
    )

    def layers(self, recipe: Recipe, protocol: str) -> Iterator[dict[str, Any]]:
        """Changes to merge into a row's recipe.

        Args:
            recipe: The published recipe of the row.
            protocol: Name of the protocol.
        """
        yield self.recipe
        yield self.protocols.get(protocol, self.protocols.get(_DEFAULT, {}))
        backbone = recipe.model.backbone
        for each in self.backbones:
            if any(fnmatch(backbone, pattern) for pattern in each.match):
                yield each.recipe
                break
        yield self.models.get(recipe.model.name, {})


def list_budgets() -> list[str]:
    """Names of the shipped budgets.

    Example:
        >>> list_budgets()
        ['full', 'small', 'tiny']
    """
    return sorted(path.stem for path in BUDGETS.glob("*.yaml"))


def load_budget(name: str | Path) -> Budget:
    """Read a budget.

    Args:
        name: One of :func:`list_budgets`, or a YAML file.

    Raises:
        UnknownNameError: There is no such budget.
        RecipeError: The file is broken, or a key or value in it is wrong.

    Example:
        >>> load_budget("tiny").protocols["rooms"]["epochs"]
        6
    """
    path = Path(name)
    if path.suffix != ".yaml":
        if str(name) not in list_budgets():
            raise UnknownNameError("budget", str(name), list_budgets())
        path = BUDGETS / f"{name}.yaml"
    try:
        return Budget.model_validate(read_mapping(path))
    except ValidationError as error:
        raise explain(error, Budget, str(path)) from None


_OptionPath = tuple[str, ...]


def row_recipe(
    table: Table,
    row: str,
    *,
    protocol: str | None = None,
    data: Path | None = None,
    budget: str = "full",
    seed: int = 0,
) -> Recipe | None:
    """Recipe that trains a row.

    A budget does not change what distinguishes the row from others of its part: model options in
    which rows of the same model and backbone differ keep their values.

    Args:
        table: The table.
        row: Key of the row.
        protocol: Protocol to train on instead of the paper's: a name, ``"module:Class"``, or a data
            YAML. Tasks that it does not label are dropped.
        data: Folder of the data.
        budget: Name from :func:`list_budgets`, or a file; ``full`` changes nothing.
        seed: Seed of weights, order of images and augmentation.

    Returns:
        None for a row that is not trained.

    Raises:
        UnknownNameError: There is no such row or budget.
        RecipeError: The recipe or the budget is wrong.
        InputError: The protocol labels none of the row's main tasks.
        DataError: The protocol needs a folder, or its files are not in that folder.

    Example:
        >>> from taskprism.papers import load_table
        >>> table = load_table("mti_net/2a")
        >>> recipe = row_recipe(table, "pad_net", protocol="rooms", budget="tiny")
        >>> recipe.model.name, recipe.epochs
        ('pad_net', 6)
    """
    if not table.row(row).trained:
        return None
    name = f"{table.name}/{row}"
    values = recipe_values(RowRecipe(table.file, row))
    published = validate(values, source=name)
    import_parts(published.imports)
    if protocol is not None:
        values = _without_data(values, published, protocol)
    limits = load_budget(budget)
    key = protocol if protocol is not None else _name(published.data.protocol)
    kept = _varied_options(table, row)
    for layer in limits.layers(published, key):
        values = merge(values, _without_options(layer, kept))
    values["data"] = _with_root(values.get("data") or {}, data)
    if protocol is not None:
        values = _with_tasks_of(values, published, name)
    return validate({**values, "seed": seed}, source=f"{name} at budget {budget}")


def run_key(recipe: Recipe) -> str:
    """Name of what a recipe trains: equal for recipes that differ only in the seed.

    The name of the run, the folder of the data and the number of loader processes do not matter.
    The key can be used as a folder name.

    Example:
        >>> run_key(Recipe(data={"protocol": "rooms"}, model={"backbone": "resnet18"}))[:-8]
        'multi_task-resnet18-rooms-'
    """
    values = recipe.model_dump(mode="json", exclude=_APART)
    # Folders of version 0.1 stay valid: later keys count only if they are set.
    values["optimiser"] = values.pop("optimizer")
    if recipe.loss.balancing == "fixed":
        del values["loss"]["balancing"], values["loss"]["balancing_options"]
    for key in ("root", "workers"):
        del values["data"][key]
    protocols = recipe.data.protocol
    names = [protocols] if isinstance(protocols, str) else protocols
    values["data"]["protocol"] = [_content(name) for name in names]
    if recipe.imports:
        values["imports"] = [_content(name) for name in recipe.imports]
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
    data = "+".join(Path(name).stem for name in names)
    words = f"{recipe.model.name}-{recipe.model.backbone.split('.')[0]}-{data}-{digest[:8]}"
    return re.sub(r"[^\w.+-]+", "_", words)  # module:Class is not a folder name everywhere


def _content(name: str) -> str:
    """Text of a file, so that a key changes with it but not with its folder; else the name."""
    return Path(name).read_text("utf-8") if Path(name).is_file() else name


def changes(published: Recipe, adapted: Recipe) -> list[str]:
    """Differences between a row's published recipe and the one that is trained, in sentences.

    Example:
        >>> changes(Recipe(epochs=80), Recipe(epochs=6))
        ['Epochs: 6, not 80.']
    """
    lost = [
        task
        for task in (*published.tasks, *published.auxiliary_tasks)
        if task not in (*adapted.tasks, *adapted.auxiliary_tasks)
    ]
    data = _name(adapted.data.protocol)
    notes = [f"Not labeled in {data}: {', '.join(lost)}."] if lost else []
    pairs = {
        "Data": (_name(published.data.protocol), data),
        "Backbone": (published.model.backbone, adapted.model.backbone),
        "Epochs": (published.epochs, adapted.epochs),
        "Batch size": (published.data.batch_size, adapted.data.batch_size),
        "Optimizer": tuple(
            f"{each.optimizer.name} with {each.optimizer.lr:g}" for each in (published, adapted)
        ),
    }
    return notes + [
        f"{what}: {new}, not {old}." for what, (old, new) in pairs.items() if old != new
    ]


def fit_columns(part: Part, tasks: Sequence[Task]) -> Part:
    """Part whose columns are metrics that the tasks of another protocol compute.

    Some protocols compute other metrics for a task: odsF of edges, for example, which is slow. A
    column of a metric that the protocol's task does not compute is replaced by the task's primary
    metric, which its header names.

    Args:
        part: Part of the published table.
        tasks: Tasks of the protocol.

    Example:
        >>> from taskprism.data import create_protocol
        >>> from taskprism.papers import load_table
        >>> part = load_table("mti_net/2b").parts[""]
        >>> fit_columns(part, create_protocol("rooms").tasks).column("edge").metric
        'loss'
    """
    known = {task.name: task for task in tasks}

    def fit(column: Column) -> Column:
        task = known.get(column.task or "")
        if task is None or column.metric in task.higher_is_better:
            return column
        metric = task.primary_metric
        changed = {"metric": metric, "scale": 1.0, "digits": 4}
        return column.model_copy(update={**changed, "header": f"{column.header} ({metric})"})

    return part.model_copy(update={"columns": tuple(map(fit, part.columns))})


def _name(protocol: str | list[str]) -> str:
    names = [protocol] if isinstance(protocol, str) else protocol
    return "+".join(Path(name).stem for name in names)


def _without_data(values: Mapping[str, Any], published: Recipe, protocol: str) -> dict[str, Any]:
    """Recipe on another protocol, without the settings for the paper's protocol."""
    data = {
        "protocol": protocol,
        "batch_size": published.data.batch_size,
        "workers": published.data.workers,
    }
    model = dict(values.get("model") or {})
    options = {k: v for k, v in (model.get("options") or {}).items() if k != "size"}
    return {**values, "model": {**model, "options": options}, "data": data}


def _with_root(data: Mapping[str, Any], root: Path | None) -> dict[str, Any]:
    if root is not None:
        return {**data, "root": root}
    cache = data.get("root")  # of a budget: a cache in the user's home
    return {**data, "root": Path(cache).expanduser()} if isinstance(cache, str) else dict(data)


def _with_tasks_of(values: dict[str, Any], published: Recipe, name: str) -> dict[str, Any]:
    """Recipe with only those of its tasks that its protocol labels."""
    protocol = build_protocol(DataSettings.model_validate(values["data"]))
    known = [task.name for task in protocol.tasks]
    auxiliary = published.auxiliary_tasks
    wanted = published.tasks or [
        task.name for task in build_protocol(published.data).tasks if task.name not in auxiliary
    ]
    tasks = [task for task in wanted if task in known]
    if not tasks:
        raise InputError(
            f"{name} has the main tasks {', '.join(wanted)}, none of which protocol "
            f"{protocol.name!r} labels; it labels {', '.join(known)}."
        )
    helpers = [task for task in auxiliary if task in known]
    loss = dict(values.get("loss") or {})
    weights = {
        task: weight
        for task, weight in (loss.get("weights") or {}).items()
        if task in tasks or task in helpers
    }
    loss["weights"] = weights
    values = {**values, "tasks": tasks, "auxiliary_tasks": helpers, "loss": loss}
    return _scored_as(values, build_protocol(published.data), protocol)


def _scored_as(values: dict[str, Any], paper: Protocol, own: Protocol) -> dict[str, Any]:
    """Recipe whose main tasks are scored as in the paper, for example by odsF."""
    theirs = {task.name: task for task in paper.tasks}
    changes: dict[str, dict[str, Any]] = {}
    for task in map(own.task, values["tasks"]):
        other = theirs[task.name]
        if other.scoring_fields != task.scoring_fields:
            continue  # a different kind of task with the same name
        fields = {field: getattr(other, field) for field in task.scoring_fields}
        differing = {k: v for k, v in fields.items() if v != getattr(task, k)}
        if differing:
            changes[task.name] = differing
    if not changes:
        return values
    return merge(values, {"data": {"options": {"task_options": changes}}})


def _varied_options(table: Table, row: str) -> set[_OptionPath]:
    """Model options in which rows of the same part, model and backbone differ."""
    part = table.part_of(row)
    models = {
        key: recipe_values(RowRecipe(table.file, key)).get("model") or {}
        for key, each in part.rows.items()
        if each.trained
    }
    own = models[row]
    alike = [
        dict(_leaves(model.get("options") or {}))
        for model in models.values()
        if (model.get("name"), model.get("backbone")) == (own.get("name"), own.get("backbone"))
    ]
    paths = {path for options in alike for path in options}
    return {
        path for path in paths if any(options.get(path) != alike[0].get(path) for options in alike)
    }


def _leaves(
    options: Mapping[str, Any], above: _OptionPath = ()
) -> Iterator[tuple[_OptionPath, Any]]:
    for key, value in options.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*above, key))
        else:
            yield (*above, key), value


def _without_options(layer: Mapping[str, Any], kept: set[_OptionPath]) -> dict[str, Any]:
    """Changes of a budget without those to model options that must keep their values."""

    def strip(options: Mapping[str, Any], above: _OptionPath = ()) -> dict[str, Any]:
        return {
            key: strip(value, (*above, key)) if isinstance(value, dict) else value
            for key, value in options.items()
            if (*above, key) not in kept
        }

    model = layer.get("model") or {}
    if "options" not in model:
        return dict(layer)
    return {**layer, "model": {**model, "options": strip(model["options"])}}
