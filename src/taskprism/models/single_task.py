"""Single-task networks: the reference for every gain."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from taskprism.backbones import Backbone
from taskprism.layers import create_head, resize
from taskprism.layers.heads import HeadLike
from taskprism.models.base import MultiTaskModel, register_model
from taskprism.models.predictions import Predictions
from taskprism.tasks.base import Task


@register_model
class SingleTask(MultiTaskModel):
    """One network per task, backbone and head, with nothing shared.

    With several tasks it is the "single task" row of the papers in one object. All networks start
    from the same backbone weights.

    Args:
        tasks: Main tasks.
        auxiliary_tasks: Not supported; there is no front end.
        backbone: Backbone of the first task; the others get copies.
        head: ``"auto"``, ``"high_resolution"``, ``"panoptic"`` or ``"deeplab"``
            (see :func:`taskprism.layers.create_head`).

    Example:
        >>> from taskprism import create_model
        >>> model = create_model("single_task", ["depth", "edge"], backbone="test_resnet")
        >>> list(model.backbones)
        ['depth', 'edge']
    """

    name: ClassVar[str] = "single_task"

    def __init__(
        self,
        tasks: Sequence[Task],
        auxiliary_tasks: Sequence[Task],
        backbone: Backbone,
        head: HeadLike = "auto",
    ) -> None:
        super().__init__(tasks, auxiliary_tasks, backbone)
        self.backbones = nn.ModuleDict(
            {
                task.name: copy.deepcopy(backbone) if index else backbone
                for index, task in enumerate(tasks)
            }
        )
        self.heads = nn.ModuleDict(
            {task.name: create_head(backbone.channels, task.channels, head) for task in tasks}
        )

    def forward(self, images: Tensor) -> Predictions:
        """Predict each task from its own network."""
        size = images.shape[-2:]
        return Predictions(
            {
                task: resize(head(self.backbones[task](images)), size)
                for task, head in self.heads.items()
            }
        )
