"""What a recipe asks for, made real: protocol, tasks, model."""

from __future__ import annotations

from dataclasses import dataclass

from accelerate.utils import set_seed

from taskprism.backbones import Backbone
from taskprism.data import create_protocol
from taskprism.data.protocol import Protocol
from taskprism.losses.criterion import Criterion
from taskprism.models import create_model, find_model
from taskprism.models.base import MultiTaskModel
from taskprism.recipes.schema import DataSettings, Recipe
from taskprism.tasks.base import Task
from taskprism.training.stepping import check_stepping


@dataclass(frozen=True)
class Experiment:
    """A recipe with the objects it names.

    Attributes:
        recipe: The settings.
        protocol: The data and its rules.
        model: The network with its tasks, freshly initialized from the recipe's seed.
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
        return Criterion(
            self.model.tasks,
            self.model.auxiliary_tasks,
            weights=settings.weights,
            initial=settings.initial,
            initial_weight=settings.initial_weight,
        )


def build_protocol(settings: DataSettings) -> Protocol:
    """The protocol that ``settings`` name."""
    return create_protocol(settings.protocol, root=settings.root, **settings.options)


def build_experiment(recipe: Recipe) -> Experiment:
    """Make everything a recipe names; reads no image and writes nothing.

    A model that is built for one image size gets the protocol's, unless the recipe says another.

    Raises:
        TaskprismError: A name or an option is unknown, or does not fit the others.
    """
    protocol = build_protocol(recipe.data)
    names = recipe.tasks or [
        task.name for task in protocol.tasks if task.name not in recipe.auxiliary_tasks
    ]
    tasks = [protocol.task(name) for name in names]
    auxiliary = [protocol.task(name) for name in recipe.auxiliary_tasks]
    options = recipe.model.options
    if not find_model(recipe.model.name).any_input_size:
        options = {"size": protocol.input_size, **options}
    set_seed(recipe.seed)
    model = create_model(
        recipe.model.name,
        tasks=tasks,
        auxiliary_tasks=auxiliary,
        backbone=recipe.model.backbone,
        pretrained=recipe.model.pretrained,
        **options,
    )
    check_stepping(recipe, model)
    return Experiment(recipe, protocol, model)


def weights_source(model: MultiTaskModel) -> str:
    """Where the backbone's first weights come from and under which terms."""
    backbones = (module for module in model.modules() if isinstance(module, Backbone))
    return next((each.weights for each in backbones), "random")
