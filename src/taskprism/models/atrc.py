"""ATRC: each task reads each other one through the context that suits the pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from taskprism.backbones import Backbone
from taskprism.distillation import RelationalContext, create_distillation
from taskprism.distillation.attention import projection
from taskprism.layers import resize
from taskprism.models.base import MultiTaskModel, register_model
from taskprism.models.predictions import Predictions
from taskprism.tasks.base import Task


@register_model
class ATRC(MultiTaskModel):
    """Adaptive Task-Relational Context (Bruggemann et al., "ATRC", ICCV 2021), in its own layout.

    The backbone's maps at the finest size, concatenated as they are; a 3x3 convolution per task
    gives its features; :class:`~taskprism.distillation.RelationalContext`; a 1x1 convolution
    predicts. Initial heads sort each pixel into classes (40 depths, 40 directions of the normal,
    two kinds of edge and saliency, see :meth:`taskprism.tasks.Task.from_categories`): these make
    the regions of label contexts. They exist for tasks whose labels are read and for auxiliary
    ones, and send no gradient into the backbone.

    One thing differs: initial heads learn by their task's own loss on what the classes amount to
    (their mean depth or direction), which for depth and normals the paper replaces by cross-entropy
    on classes, of which those of normals are clusters of the training set. For tasks of classes,
    edges and saliency both are the same.

    The paper's block as a part of other networks is
    ``create_model("mti_net" or "pad_net", distillation="relational_context")``.

    Args:
        tasks: Main tasks.
        auxiliary_tasks: Predicted by the initial heads in addition, and read.
        backbone: Shared by all tasks.
        channels: Of the task features; by default a quarter of all the backbone's.
        distillation_options: Of the relational context; ``genotype`` above all: ``"nyud_w18"``,
            ``"nyud_w48"`` and ``"pascal_w18"`` are the published ones.
    """

    name: ClassVar[str] = "atrc"
    depends_on_task_order: ClassVar[bool] = True
    uses_auxiliary_tasks: ClassVar[bool] = True
    has_initial_predictions: ClassVar[bool] = True

    def __init__(
        self,
        tasks: Sequence[Task],
        auxiliary_tasks: Sequence[Task],
        backbone: Backbone,
        channels: int | None = None,
        distillation_options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(tasks, auxiliary_tasks, backbone)
        self.backbone = backbone
        stacked = sum(backbone.channels)
        width = stacked // 4 if channels is None else channels
        names = [task.name for task in self.all_tasks]
        self.task_features = nn.ModuleDict({name: _features(stacked, width) for name in names})
        context = create_distillation(
            RelationalContext.name,
            [task.name for task in self.tasks],
            width,
            sources=names,
            **(distillation_options or {}),
        )
        assert isinstance(context, RelationalContext)
        self.distillation = context
        self.initial_heads = nn.ModuleDict(
            {
                task.name: nn.Sequential(
                    projection(stacked, stacked), nn.Conv2d(stacked, task.categories, kernel_size=1)
                )
                for task in self.all_tasks
                if task.name in context.labels_read or task in self.auxiliary_tasks
            }
        )
        self.heads = nn.ModuleDict(
            {task.name: nn.Conv2d(width, task.channels, kernel_size=1) for task in self.tasks}
        )

    def forward(self, images: Tensor) -> Predictions:
        """Sort pixels into classes, read the contexts, predict."""
        maps = self.backbone(images)
        finest = maps[0].shape[-2:]
        stacked = torch.cat([resize(each, finest) for each in maps], dim=1)
        features = {task: layers(stacked) for task, layers in self.task_features.items()}
        detached = stacked.detach()
        categories = {task: head(detached) for task, head in self.initial_heads.items()}
        refined = self.distillation(features, categories)
        size = images.shape[-2:]
        final = {task: resize(head(refined[task]), size) for task, head in self.heads.items()}
        initial = {
            task.name: task.from_categories(categories[task.name])
            for task in self.all_tasks
            if task.name in categories
        }
        return Predictions(final, [initial] if initial else [])


def _features(in_channels: int, channels: int) -> nn.Sequential:
    """3x3 without bias, BN, ReLU."""
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    )
