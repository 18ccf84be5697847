"""PAD-Net: distillation between the initial predictions of all tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from taskprism.backbones import Backbone
from taskprism.distillation import Distillation, create_distillation
from taskprism.layers.aggregation import AggregationName
from taskprism.layers.heads import HeadLike
from taskprism.models.base import register_model
from taskprism.models.single_scale import SingleScaleModel
from taskprism.options import Channels, Size
from taskprism.tasks.base import Task


@register_model
class PADNet(SingleScaleModel):
    """Prediction-And-Distillation network (Xu et al., "PAD-Net", CVPR 2018), at one scale.

    The layers are those of the common re-implementation (Vandenhende et al., ECCV 2020): the maps
    of the backbone fused into one at the finest size, initial heads of two bottlenecks,
    distillation between the task features, final heads of two bottlenecks.

    Args:
        tasks: Main tasks.
        auxiliary_tasks: Tasks that only the front end predicts; distillation reads them.
        backbone: Shared by all tasks.
        channels: Channels of the task features, a multiple of 4.
        distillation: A name of :func:`taskprism.distillation.list_distillations`,
            ``"module:Class"``, or a subclass of :class:`taskprism.distillation.Distillation`.
        distillation_options: Options of the distillation.
        fusion: How the maps of the backbone become one
            (see :func:`taskprism.layers.create_aggregation`).
        head: Final heads (see :func:`taskprism.layers.create_head`).
        size: ``(H, W)`` of the input image; only for distillations that are built for one size.

    Example:
        >>> from taskprism import create_model
        >>> small = {"backbone": "test_resnet", "channels": 8}
        >>> model = create_model("pad_net", ["depth"], ["edge", "normals"], **small)
        >>> list(model.initial_heads), list(model.heads)
        (['depth', 'edge', 'normals'], ['depth'])
    """

    name: ClassVar[str] = "pad_net"

    def __init__(
        self,
        tasks: Sequence[Task],
        auxiliary_tasks: Sequence[Task],
        backbone: Backbone,
        channels: Channels = 256,
        distillation: str | type[Distillation] = "spatial_attention",
        distillation_options: Mapping[str, Any] | None = None,
        fusion: AggregationName = "auto",
        head: HeadLike = "bottleneck",
        size: Size | None = None,
    ) -> None:
        super().__init__(tasks, auxiliary_tasks, backbone, channels, fusion)
        self.distillation = create_distillation(
            distillation,
            [task.name for task in self.tasks],
            channels,
            sources=[task.name for task in self.all_tasks],
            size=backbone.feature_sizes(size)[0] if size else None,
            stride=backbone.strides[0],
            **(distillation_options or {}),
        )
        self._fit_size(size, self.distillation)
        self.heads = self._make_heads(channels, head)
