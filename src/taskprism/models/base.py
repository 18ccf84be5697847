"""The contract of a model: normalised images in, :class:`Predictions` out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from taskprism.errors import InputError
from taskprism.models.predictions import Predictions
from taskprism.tasks.base import Task


class MultiTaskModel(nn.Module, ABC):
    """Base of every published system.

    A subclass composes a backbone, initial heads, propagation, distillation, aggregation and final
    heads; it holds no arithmetic of its own. Its constructor takes ``(tasks, auxiliary_tasks,
    backbone, pretrained)`` and flat keyword options with literal defaults.

    Attributes:
        name: Key in :data:`taskprism.models.MODELS`.
        tasks: Main tasks, predicted at the end.
        auxiliary_tasks: Predicted by the front end only, in addition to the main ones.
        config: What ``create_model`` needs to build the same model again; plain values.
        uses_auxiliary_tasks: Whether the system has a front end for auxiliary tasks.
        has_initial_predictions: Whether ``forward`` returns initial predictions.
        any_input_size: Whether one instance takes images of any size.
    """

    name: ClassVar[str]
    uses_auxiliary_tasks: ClassVar[bool] = False
    has_initial_predictions: ClassVar[bool] = False
    any_input_size: ClassVar[bool] = True

    image_mean: Tensor
    image_std: Tensor

    def __init__(self, tasks: Sequence[Task], auxiliary_tasks: Sequence[Task] = ()) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        self.auxiliary_tasks = tuple(auxiliary_tasks)
        self.config: dict[str, Any] = {}
        names = [task.name for task in self.all_tasks]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InputError(
                f"Tasks {twice} are named twice; auxiliary tasks come in addition to the main "
                "ones, which the front end predicts anyway. Give each task once."
            )
        if not self.tasks:
            raise InputError(f"{self.name} needs at least one main task.")
        if self.auxiliary_tasks and not self.uses_auxiliary_tasks:
            raise InputError(
                f"{self.name} has no front end that could use auxiliary tasks "
                f"({', '.join(task.name for task in self.auxiliary_tasks)}); leave them out, "
                "or make them main tasks."
            )
        self.register_buffer("image_mean", torch.zeros(3, 1, 1), persistent=False)
        self.register_buffer("image_std", torch.ones(3, 1, 1), persistent=False)

    @property
    def all_tasks(self) -> tuple[Task, ...]:
        """Main tasks, then auxiliary ones: the order wherever tasks are concatenated."""
        return self.tasks + self.auxiliary_tasks

    def normalise(self, images: Tensor) -> Tensor:
        """RGB in [0, 1] -> the network's own input, as its weights expect it."""
        return (images - self.image_mean) / self.image_std

    @abstractmethod
    def forward(self, images: Tensor) -> Predictions:
        """Predict.

        Args:
            images: ``(B, 3, H, W)``, normalised (see :meth:`normalise`).

        Returns:
            Raw outputs ``(B, channels, H, W)`` per main task, with the initial ones attached.
        """
