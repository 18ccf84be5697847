"""PAP-Net: the features of each task diffuse along the affinities of all tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from taskprism.backbones import Backbone
from taskprism.layers.aggregation import AggregationName
from taskprism.layers.heads import HeadLike
from taskprism.models.base import register_model
from taskprism.models.projected import ProjectedDistillation
from taskprism.models.single_scale import SingleScaleModel
from taskprism.options import Channels
from taskprism.tasks.base import Task


@register_model
class PAPNet(SingleScaleModel):
    """Pattern-Affinitive Propagation network (Zhang et al., "PAP-Net", CVPR 2019).

    The front end of PAD-Net; a 1x1 convolution that reduces the channels of the task features;
    affinity diffusion (:class:`~taskprism.distillation.AffinityDiffusion`); final heads of two
    bottlenecks. Layers and defaults are those of the re-implementation by the authors of CTAL, from
    which the published numbers on current benchmarks come. The pair-wise affinity loss of the
    original is not part of it.

    Args:
        tasks: Main tasks.
        auxiliary_tasks: Tasks that only the front end predicts; their affinities are read.
        backbone: Shared by all tasks.
        channels: Channels of the task features, a multiple of 4.
        distilled_channels: Channels of the features that diffuse, a multiple of 4.
        distillation_options: Options of the affinity diffusion (``beta``, ``iterations``,
            ``normalize``).
        fusion: How the maps of the backbone become one
            (see :func:`taskprism.layers.create_aggregation`).
        head: Final heads (see :func:`taskprism.layers.create_head`).

    Example:
        >>> from taskprism import create_model
        >>> small = {"backbone": "test_resnet", "channels": 8, "distilled_channels": 4}
        >>> model = create_model("pap_net", ["depth", "edge"], **small)
        >>> model.distillation.distillation.channels
        4
    """

    name: ClassVar[str] = "pap_net"
    depends_on_task_order: ClassVar[bool] = True

    def __init__(
        self,
        tasks: Sequence[Task],
        auxiliary_tasks: Sequence[Task],
        backbone: Backbone,
        channels: Channels = 256,
        distilled_channels: Channels = 128,
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
