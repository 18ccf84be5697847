"""From a recipe to objects: protocol, tasks, model."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate.utils import set_seed

from taskprism.backbones import Backbone
from taskprism.data import LabelSubset, create_protocol
from taskprism.data.augmentation import AugmentationSteps, check_saved_steps
from taskprism.data.create import ProtocolLike
from taskprism.data.protocol import ExtraChannel, Protocol, SizedDataset, Transform
from taskprism.data.transforms import Resize
from taskprism.errors import InputError, TaskprismError, UnknownNameError
from taskprism.losses import (
    ConsistencyLoss,
    Criterion,
    create_balancer,
    create_consistency_loss,
)
from taskprism.models import (
    InitializationReport,
    create_model,
    find_model,
    initialize,
    list_models,
)
from taskprism.models.base import MultiTaskModel
from taskprism.progress import Reporter
from taskprism.recipes.files import load_recipe, validate
from taskprism.recipes.schema import DataSettings, Recipe
from taskprism.registry import Registry, describe_part
from taskprism.stores import is_url
from taskprism.tasks.base import Task
from taskprism.tasks.losses import check_saved_losses
from taskprism.training.steps import check_stepping

#: How a recipe names an object that was passed from Python: ``object:module:Class``.
OBJECT = "object:"
_CLASS = re.compile(r"[\w.]+:[\w.]+")  # unlike hf-hub:timm/NAME, a backbone


@dataclass(frozen=True)
class Experiment:
    """A recipe with the objects it names.

    Attributes:
        recipe: The settings.
        protocol: The data and its rules.
        model: The network with its tasks, freshly initialized from the recipe's seed.

    Example:
        >>> from taskprism.recipes import load_recipe
        >>> recipe = load_recipe("rooms/multi_task", {"tasks": ["depth", "edge"]})
        >>> [task.name for task in build_experiment(recipe).tasks]
        ['depth', 'edge']
    """

    recipe: Recipe
    protocol: Protocol
    model: MultiTaskModel

    @property
    def tasks(self) -> tuple[Task, ...]:
        """Main and auxiliary tasks."""
        return self.model.tasks + self.model.auxiliary_tasks

    def criterion(self) -> Criterion:
        """The recipe's loss for the model's tasks."""
        settings = self.recipe.loss
        weights = {task.name: task.loss_weight for task in self.tasks} | settings.weights
        options = settings.balancing_options
        return Criterion(
            self.model.tasks,
            self.model.auxiliary_tasks,
            weights=settings.weights,
            average=settings.average,
            initial=settings.initial,
            initial_weight=settings.initial_weight,
            balancing=create_balancer(settings.balancing, weights, **options),
        )

    def consistency(self) -> ConsistencyLoss | None:
        """The recipe's loss that links tasks, or None."""
        settings = self.recipe.consistency
        if settings.name is None:
            return None
        return create_consistency_loss(settings.name, self.model, **settings.options)

    def training_images(self) -> SizedDataset:
        """Training images with augmentation, and with the labels that ``data.labels`` keeps.

        Raises:
            TaskprismError: ``data.labels`` is a file that does not fit, or a task is unknown.
        """
        steps, size = self.recipe.data.augmentation, self.protocol.input_size
        if steps:
            return self._training_images(AugmentationSteps(steps, Resize(size), size))
        return self._training_images(self.protocol.train_transform())

    def plain_training_images(self) -> SizedDataset:
        """Like :meth:`training_images`, without augmentation."""
        return self._training_images(self.protocol.evaluation_transform())

    def _training_images(self, transform: Transform) -> SizedDataset:
        data, protocol = self.recipe.data, self.protocol
        if data.labels == "all":
            return protocol.dataset("train", transform)
        names = data.labels_tasks or [task.name for task in self.tasks]
        names = [protocol.task(name).name for name in names]
        images = protocol.dataset("train")
        return LabelSubset(images, data.labels, names, data.labels_seed, transform)


def build_protocol(settings: DataSettings) -> Protocol:
    """The protocol that ``settings`` name.

    A protocol is a named benchmark: a data set variant with its tasks, input size, augmentation and
    rules of scoring.

    Raises:
        InputError: The run was trained with an object, which a recipe cannot rebuild.
        TaskprismError: A name or option is unknown.
    """
    _refuse_object(settings.protocol, "protocol")
    return create_protocol(settings.protocol, root=settings.root, **settings.options)


def saved_protocol(
    recipe: Recipe, run: Path, root: str | Path | dict[str, str | Path] | None = None
) -> Protocol:
    """Protocol of a finished run; see :func:`check_saved_names` for what it refuses to import.

    Args:
        recipe: The run's recipe.
        run: Folder of the run, for messages.
        root: Folder of the data, if it has moved.
    """
    check_saved_names(recipe, run)
    data = recipe.data if root is None else recipe.data.model_copy(update={"root": root})
    return build_protocol(data)


def record_objects(
    recipe: Recipe,
    protocol: ProtocolLike | None = None,
    model: MultiTaskModel | type[MultiTaskModel] | str | None = None,
) -> Recipe:
    """Recipe that names a protocol and a model given as objects.

    Names and classes are recorded so that the run can be rebuilt from its recipe. An instance is
    recorded as ``object:module:Class``: pass it again to resume the run.
    """
    changes: dict[str, object] = {}
    if protocol is not None:
        name = _recorded(protocol, Protocol)
        data: dict[str, object] = {"protocol": name}
        if name != recipe.data.protocol:  # the recipe's options belong to its own protocol
            data["options"] = {}
        changes["data"] = recipe.data.model_copy(update=data)
    if model is not None:
        settings = {"name": _recorded(model, MultiTaskModel)}
        if isinstance(model, MultiTaskModel):
            changes["tasks"] = [task.name for task in model.tasks]
            changes["auxiliary_tasks"] = [task.name for task in model.auxiliary_tasks]
            settings["backbone"] = str(model.config.get("backbone", ""))
        changes["model"] = recipe.model.model_copy(update=settings)
    return recipe.model_copy(update=changes)


def _recorded(part: object, base: type) -> str:
    if isinstance(part, base):
        return f"{OBJECT}{describe_part(type(part))}"
    return describe_part(part) if isinstance(part, type) else str(part)


def _refuse_object(name: str | Sequence[str], kind: str) -> None:
    if isinstance(name, str) and name.startswith(OBJECT):
        raise InputError(
            f"This run was trained with a {kind} object ({name.removeprefix(OBJECT)}) passed from "
            f"Python, which its recipe cannot rebuild. Pass it again: {kind}=... of "
            "taskprism.training.train or evaluate."
        )


def check_saved_names(recipe: Recipe, run: Path) -> None:
    """Check that every ``module:Class`` in the recipe of a run is imported already.

    Reading a run never imports code by itself: its files may come from someone you do not trust.

    Raises:
        InputError: A module is not imported, or the name is not a part of that kind.
    """
    options = recipe.model.options
    protocols = recipe.data.protocol
    named = {
        "model": [recipe.model.name],
        "backbone": [recipe.model.backbone],
        "distillation": [options.get("distillation")],
        "head": [options.get("head")],
        "balancer": [recipe.loss.balancing],
        "consistency_loss": [recipe.consistency.name],
        "protocol": [protocols] if isinstance(protocols, str) else protocols,
        "callback": recipe.callbacks,
        "task": [*recipe.tasks, *recipe.auxiliary_tasks],
        "tracker": recipe.trackers,
    }
    check_saved_steps(recipe.data.augmentation)
    own = recipe.data.options.get("augmentation")
    check_saved_steps(own.get("transforms") if isinstance(own, Mapping) else own)
    changes = recipe.data.options.get("task_options")
    for fields in changes.values() if isinstance(changes, Mapping) else ():
        check_saved_losses(fields.get("losses", ()) if isinstance(fields, Mapping) else ())
    for kind, names in named.items():
        for name in names:
            if isinstance(name, str) and _CLASS.fullmatch(name) and kind in Registry.all:
                Registry.all[kind].find_saved(name)


def build_experiment(
    recipe: Recipe, protocol: Protocol | None = None, model: MultiTaskModel | None = None
) -> Experiment:
    """Create everything a recipe names; reads no image and writes nothing.

    A model that is built for one image size gets the protocol's, unless the recipe sets another.

    Args:
        recipe: The settings.
        protocol: Object to use in place of the recipe's protocol.
        model: Object to use in place of the recipe's model; the protocol must have its tasks.

    Raises:
        TaskprismError: A name or an option is unknown, or does not fit the others.

    Example:
        >>> from taskprism.recipes import load_recipe
        >>> experiment = build_experiment(load_recipe("rooms/multi_task", {"tasks": ["depth"]}))
        >>> experiment.protocol.name, type(experiment.model).__name__
        ('rooms', 'MultiTask')
    """
    protocol = protocol or build_protocol(recipe.data)
    if model is not None:
        for task in model.tasks + model.auxiliary_tasks:
            _task(protocol, task.name)
        if model.in_channels != protocol.in_channels:
            raise InputError(
                f"The images of {protocol.name!r} have {protocol.in_channels} channels, but the "
                f"model takes {model.in_channels}. Create it with "
                f"in_channels={protocol.in_channels}."
            )
        set_seed(recipe.seed)
        check_stepping(recipe, model)
        return Experiment(recipe, protocol, model)
    _refuse_object(recipe.model.name, "model")
    auxiliary = _tasks(protocol, recipe.auxiliary_tasks, "--auxiliary-tasks")
    others = [task for task in protocol.tasks if task not in auxiliary]
    tasks = _tasks(protocol, recipe.tasks, "--tasks") or others
    options = recipe.model.options
    if not find_model(recipe.model.name).any_input_size:
        options = {"size": protocol.input_size, **options}
    extra = protocol.extra_channels
    if extra:
        options = {"in_channels": protocol.in_channels, **options}
    set_seed(recipe.seed)
    model = create_model(
        recipe.model.name,
        tasks=tasks,
        auxiliary_tasks=auxiliary,
        backbone=recipe.model.backbone,
        pretrained=recipe.model.pretrained,
        **options,
    )
    if extra:
        _normalize_extra(model, extra)
    check_stepping(recipe, model)
    return Experiment(recipe, protocol, model)


def _normalize_extra(model: MultiTaskModel, extra: Sequence[ExtraChannel]) -> None:
    """Set mean and standard deviation of the channels after RGB, which come from the data."""
    mean, std = (each.flatten()[:3].tolist() for each in (model.image_mean, model.image_std))
    model.set_image_statistics(
        [*mean, *(each.mean for each in extra)], [*std, *(each.std for each in extra)]
    )


def keep_labeled_tasks(recipe: Recipe, protocol: Protocol) -> tuple[Recipe, list[str]]:
    """Leave out the tasks of a recipe that the data do not have, with their loss weights.

    Args:
        recipe: A recipe that was written for other data.
        protocol: The data.

    Returns:
        The recipe, and the names that were left out.

    Raises:
        InputError: The data have none of the main tasks.

    Example:
        >>> from taskprism.data import create_protocol
        >>> from taskprism.recipes import load_recipe
        >>> rooms = create_protocol("rooms", tasks=["semseg", "depth"])
        >>> recipe, left_out = keep_labeled_tasks(load_recipe("rooms/mti_net"), rooms)
        >>> recipe.tasks, left_out
        (['semseg', 'depth'], ['normals', 'edge'])
    """

    def exists(name: str) -> bool:
        try:
            _task(protocol, name)
        except TaskprismError:
            return False
        return True

    named = [*recipe.tasks, *recipe.auxiliary_tasks]
    left_out = [name for name in named if not exists(name)]
    kept = [name for name in recipe.tasks if name not in left_out]
    if recipe.tasks and not kept:
        raise InputError(
            f"Protocol {protocol.name!r} has none of the tasks {', '.join(recipe.tasks)} of the "
            f"recipe. Name some that it has: --tasks "
            f"{' '.join(task.name for task in protocol.tasks)}."
        )
    weights = {name: w for name, w in recipe.loss.weights.items() if name not in left_out}
    changes = {
        "tasks": kept,
        "auxiliary_tasks": [name for name in recipe.auxiliary_tasks if name not in left_out],
        "loss": recipe.loss.model_copy(update={"weights": weights}),
    }
    return (recipe.model_copy(update=changes) if left_out else recipe), left_out


def _tasks(protocol: Protocol, names: Sequence[str], option: str) -> list[Task]:
    """Tasks of a protocol; an error names those that it has, and the option that chooses them."""
    try:
        return [_task(protocol, name) for name in names]
    except UnknownNameError as error:
        known = [task.name for task in protocol.tasks]
        found = [name for name in names if name in known]
        if found:
            error.message += (
                f" Of the recipe's tasks, the data have {', '.join(found)}: add {option} "
                f"{' '.join(found)}, or set {option[2:].replace('-', '_')}: "
                f"[{', '.join(found)}] in the recipe."
            )
        raise


def _task(protocol: Protocol, name: str) -> Task:
    """Task of a protocol by name, or by ``module:Class`` where one task is of that class."""
    if not _CLASS.fullmatch(name):
        return protocol.task(name)
    found = [task for task in protocol.tasks if describe_part(type(task)) == name]
    if len(found) != 1:
        raise InputError(
            f"Protocol {protocol.name!r} has {len(found)} tasks of the class {name}; give the name "
            f"of one task: {', '.join(task.name for task in protocol.tasks)}."
        )
    return found[0]


def initialize_experiment(
    experiment: Experiment, reporter: Reporter
) -> InitializationReport | None:
    """Copy the initial weights that the recipe names into the model, and report what fitted.

    Returns:
        None if the recipe names none.

    Raises:
        CheckpointError: They cannot be read, or nothing of them fits.
        InputError: They need code that is not imported.
    """
    source = experiment.recipe.init
    if source is None:
        return None
    report = initialize(experiment.model, source)
    reporter.line(str(report))
    return report


def weights_source(model: MultiTaskModel) -> str:
    """Where the backbone's first weights come from and under which terms."""
    backbones = (module for module in model.modules() if isinstance(module, Backbone))
    return next((each.weights for each in backbones), "random")


def load_recipe_or_model(source: str, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Read a recipe; the name of a model stands for an empty recipe with that model.

    Args:
        source: What :func:`~taskprism.training.load_recipe` reads, a name of
            :func:`~taskprism.models.list_models`, or ``"module:Class"``.
        overrides: Dotted key -> value; they take precedence.

    Raises:
        RecipeError: A key or value is wrong.
        UnknownNameError: There is no recipe or model of that name.

    Example:
        >>> load_recipe_or_model("mti_net", {"optimizer.lr": 1e-3}).model.name
        'mti_net'
    """
    is_model = not is_url(source) and (":" in source or source in list_models())
    if Path(source).exists() or not is_model:
        return load_recipe(source, overrides)
    values: dict[str, Any] = {"name": source.rpartition(":")[2], "model": {"name": source}}
    for key, value in (overrides or {}).items():
        *sections, last = key.split(".")
        inner = values
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[last] = value
    return validate(values, source="command line")
