"""The multi-task baseline: hard parameter sharing."""

from __future__ import annotations

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
class MultiTask(MultiTaskModel):
    """One backbone for all tasks, one head per task (Caruana, "Multitask Learning", 1997).

    Args:
        tasks: Main tasks.
        auxiliary_tasks: Not supported; there is no front end.
        backbone: Shared by all tasks.
        head: ``"auto"``, ``"high_resolution"``, ``"panoptic"`` or ``"deeplab"``
            (see :func:`taskprism.layers.create_head`).

    Example:
        >>> import torch
        >>> from taskprism import create_model
        >>> tasks = {"semseg": 5, "depth": 1}
        >>> model = create_model("multi_task", tasks, backbone="test_resnet", neck_channels=16)
        >>> {task: tuple(x.shape) for task, x in model(torch.rand(2, 3, 64, 96)).items()}
        {'semseg': (2, 5, 64, 96), 'depth': (2, 1, 64, 96)}
    """

    name: ClassVar[str] = "multi_task"

    def __init__(
        self,
        tasks: Sequence[Task],
        auxiliary_tasks: Sequence[Task],
        backbone: Backbone,
        head: HeadLike = "auto",
    ) -> None:
        super().__init__(tasks, auxiliary_tasks, backbone)
        self.backbone = backbone
        self.heads = nn.ModuleDict(
            {task.name: create_head(backbone.channels, task.channels, head) for task in tasks}
        )

    def forward(self, images: Tensor) -> Predictions:
        """Predict all tasks from the same feature maps."""
        maps = self.backbone(images)
        size = images.shape[-2:]
        return Predictions({task: resize(head(maps), size) for task, head in self.heads.items()})
