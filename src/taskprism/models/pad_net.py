"""PAD-Net: initial predictions of all tasks help each other before the final ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from taskprism.backbones import Backbone
from taskprism.distillation import create_distillation
from taskprism.layers import InitialHead, bottleneck, create_aggregation, resize
from taskprism.layers.heads import BottleneckHead
from taskprism.models.base import MultiTaskModel
from taskprism.models.predictions import Predictions
from taskprism.tasks.base import Task


class PADNet(MultiTaskModel):
    """Prediction-And-Distillation network (Xu et al., "PAD-Net", CVPR 2018), at one scale.

    Layers as in the multi-task literature's re-implementation: the backbone's maps fused into one
    at the finest size, initial heads of two bottlenecks, distillation between the task features,
    final heads of two bottlenecks.

    Args:
        tasks: Main tasks.
        auxiliary_tasks: Predicted by the front end in addition, and distilled from.
        backbone: Shared by all tasks.
        channels: Of the task features; a multiple of 4.
        distillation: A name of :func:`taskprism.distillation.list_distillations`.
        distillation_options: Its own options.
        size: Input image's ``(H, W)``; only for distillations that are built for one size.
    """

    name: ClassVar[str] = "pad_net"
    uses_auxiliary_tasks: ClassVar[bool] = True
    has_initial_predictions: ClassVar[bool] = True

    def __init__(
        self,
        tasks: Sequence[Task],
        auxiliary_tasks: Sequence[Task],
        backbone: Backbone,
        channels: int = 256,
        distillation: str = "spatial_attention",
        distillation_options: Mapping[str, Any] | None = None,
        size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(tasks, auxiliary_tasks, backbone)
        self.backbone = backbone
        self.fusion = create_aggregation(backbone.channels)
        self.initial_heads = nn.ModuleDict(
            {
                task.name: InitialHead(
                    bottleneck, self.fusion.out_channels, channels, task.channels
                )
                for task in self.all_tasks
            }
        )
        self.distillation = create_distillation(
            distillation,
            [task.name for task in self.tasks],
            channels,
            sources=[task.name for task in self.all_tasks],
            size=backbone.feature_sizes(size)[0] if size else None,
            **(distillation_options or {}),
        )
        self.heads = nn.ModuleDict(
            {task.name: BottleneckHead(channels, task.channels) for task in self.tasks}
        )

    def forward(self, images: Tensor) -> Predictions:
        """Predict initially, distil, predict finally."""
        fused = self.fusion(self.backbone(images))
        features: dict[str, Tensor] = {}
        initial: dict[str, Tensor] = {}
        for task, head in self.initial_heads.items():
            features[task], initial[task] = head(fused)
        refined = self.distillation(features, initial)
        size = images.shape[-2:]
        final = {task: resize(head(refined[task]), size) for task, head in self.heads.items()}
        return Predictions(final, [initial])
