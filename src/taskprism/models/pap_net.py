"""PAP-Net: features of every task diffuse along the affinities of all tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from taskprism.backbones import Backbone
from taskprism.layers.aggregation import AggregationName
from taskprism.layers.heads import HeadLike
from taskprism.models.base import register_model
from taskprism.models.projected import ProjectedDistillation
from taskprism.models.single_scale import SingleScaleModel
from taskprism.tasks.base import Task


@register_model
class PAPNet(SingleScaleModel):
    """Pattern-Affinitive Propagation network (Zhang et al., "PAP-Net", CVPR 2019).

    PAD-Net's front end; task features narrowed by a 1x1 convolution; affinity diffusion
    (:class:`~taskprism.distillation.AffinityDiffusion`); final heads of two bottlenecks. Layers and
    defaults as in the re-implementation by the authors of CTAL, which gave the numbers that are
    known for today's benchmarks; the original's pair-wise affinity loss is not part of it.

    Args:
        tasks: Main tasks.
        auxiliary_tasks: Predicted by the front end in addition; their affinities are read.
        backbone: Shared by all tasks.
        channels: Of the task features; a multiple of 4.
        distilled_channels: Of the features that diffuse; a multiple of 4.
        distillation_options: Of the affinity diffusion (``beta``, ``iterations``, ``normalize``).
        fusion: How the backbone's maps become one
            (see :func:`taskprism.layers.create_aggregation`).
        head: Final heads (see :func:`taskprism.layers.create_head`).
    """

    name: ClassVar[str] = "pap_net"
    depends_on_task_order: ClassVar[bool] = True

    def __init__(
        self,
        tasks: Sequence[Task],
        auxiliary_tasks: Sequence[Task],
        backbone: Backbone,
        channels: int = 256,
        distilled_channels: int = 128,
        distillation_options: Mapping[str, Any] | None = None,
        fusion: AggregationName = "auto",
        head: HeadLike = "bottleneck",
    ) -> None:
        super().__init__(tasks, auxiliary_tasks, backbone, channels, fusion)
        self.distillation = ProjectedDistillation(
            "affinity_diffusion",
            [task.name for task in self.tasks],
            [task.name for task in self.all_tasks],
            channels,
            distilled_channels,
            backbone.strides[0],
            options=distillation_options,
        )
        self.heads = self._make_heads(distilled_channels, head)
