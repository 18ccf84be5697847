"""The layout that PAD-Net, PAP-Net and CTAL share: initial and final predictions at one scale."""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from taskprism.backbones import Backbone
from taskprism.layers import InitialHead, bottleneck, create_aggregation, create_head, resize
from taskprism.layers.aggregation import AggregationName
from taskprism.layers.heads import HeadLike
from taskprism.models.base import MultiTaskModel
from taskprism.models.predictions import Predictions
from taskprism.tasks.base import Task


class SingleScaleModel(MultiTaskModel, ABC):
    """Maps fused into one, initial heads of two bottlenecks, distillation, final heads.

    The layers are those of the common re-implementation of PAD-Net (Vandenhende et al., ECCV 2020).
    A subclass sets ``distillation``, which maps task features and initial predictions to task
    features, and ``heads`` (see :meth:`_make_heads`).

    Args:
        tasks: Main tasks.
        auxiliary_tasks: Tasks that only the front end predicts; distillation reads them.
        backbone: Shared by all tasks.
        channels: Channels of the task features, a multiple of 4.
        fusion: How the maps of the backbone become one
            (see :func:`taskprism.layers.create_aggregation`).

    Example:
        >>> from taskprism.models import SingleScaleModel, list_models, find_model
        >>> [name for name in list_models() if issubclass(find_model(name), SingleScaleModel)]
        ['concat', 'ctal', 'pad_net', 'pap_net']
    """

    uses_auxiliary_tasks: ClassVar[bool] = True
    has_initial_predictions: ClassVar[bool] = True

    distillation: nn.Module
    heads: nn.ModuleDict

    def __init__(
        self,
        tasks: Sequence[Task],
        auxiliary_tasks: Sequence[Task],
        backbone: Backbone,
        channels: int,
        fusion: AggregationName,
    ) -> None:
        super().__init__(tasks, auxiliary_tasks, backbone)
        self.backbone = backbone
        self.fusion = create_aggregation(backbone.channels, fusion)
        self.initial_heads = nn.ModuleDict(
            {
                task.name: InitialHead(
                    bottleneck, self.fusion.out_channels, channels, task.channels
                )
                for task in self.all_tasks
            }
        )

    def _make_heads(self, channels: int, kind: HeadLike) -> nn.ModuleDict:
        """Final heads that read distilled features with ``channels`` channels."""
        return nn.ModuleDict(
            {task.name: create_head([channels], task.channels, kind) for task in self.tasks}
        )

    def forward(self, images: Tensor) -> Predictions:
        """Predict initially, distill, predict."""
        fused = self.fusion(self.backbone(images))
        features: dict[str, Tensor] = {}
        initial: dict[str, Tensor] = {}
        for task, head in self.initial_heads.items():
            features[task], initial[task] = head(fused)
        refined = self.distillation(features, initial)
        size = images.shape[-2:]
        final = {task: resize(head([refined[task]]), size) for task, head in self.heads.items()}
        return Predictions(final, [initial])
