"""ATRC: each pair of tasks has its own kind of context."""

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
from taskprism.options import Channels
from taskprism.tasks.base import Task


@register_model
class ATRC(MultiTaskModel):
    """Adaptive Task-Relational Context (Bruggemann et al., "ATRC", ICCV 2021), complete.

    The maps of the backbone are resized to the finest size and concatenated. For each task, a 3x3
    convolution computes its features, :class:`~taskprism.distillation.RelationalContext` refines
    them, and a 1x1 convolution predicts. Initial heads classify each pixel (40 depths, 40
    directions of the normal, two classes for edges and saliency, see
    :meth:`taskprism.tasks.Task.from_categories`); these classes are the regions of label contexts.
    Initial heads exist for tasks whose labels are read and for auxiliary tasks, and send no
    gradient into the backbone.

    One thing differs from the paper: initial heads learn with the loss of their task on the
    expected value of the classes (mean depth or direction). For depth and normals the paper uses
    cross-entropy on classes, which for normals are clusters of the training set. For semantic
    classes, edges and saliency there is no difference.

    ``create_model("mti_net", distillation="relational_context")`` uses the block of the paper in
    another network; ``"pad_net"`` works too.

    Args:
        tasks: Main tasks.
        auxiliary_tasks: Tasks that only the initial heads predict; their context is read too.
        backbone: Shared by all tasks.
        channels: Channels of the task features; by default a quarter of the sum over all maps.
        distillation_options: Options of the relational context, above all ``genotype``:
            ``"nyud_w18"``, ``"nyud_w48"`` and ``"pascal_w18"`` are the published ones.

    Example:
        >>> from taskprism import create_model
        >>> model = create_model("atrc", ["depth", "edge"], backbone="test_resnet", channels=8)
        >>> list(model.initial_heads)
        ['depth', 'edge']
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
        channels: Channels | None = None,
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
        """Classify pixels, read the contexts, predict."""
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
