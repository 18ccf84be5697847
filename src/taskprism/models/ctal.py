"""CTAL at a single scale: affinities of all tasks, fused and diffused into each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from taskprism.backbones import Backbone
from taskprism.layers.aggregation import AggregationName
from taskprism.layers.heads import HeadLike
from taskprism.models.base import register_model
from taskprism.models.projected import ProjectedDistillation
from taskprism.models.single_scale import SingleScaleModel
from taskprism.options import Channels, Size, Stride
from taskprism.tasks.base import Task


@register_model
class CTALNet(SingleScaleModel):
    """Single-scale Cross-Task Affinity Learning network (Sinodinos and Armanfard, "CTAL").

    The front end of PAD-Net; a 1x1 convolution that reduces the channels of the task features; CTAL
    (:class:`~taskprism.distillation.CTAL`); a tail that doubles the resolution; final heads of two
    bottlenecks. The 1x1 convolution, the tail and the different final heads come from the released
    code. The paper does not mention them, but its parameter counts fit only with them.

    The network is built for one image size, because its kernels have weights for each position.
    With ``distillation_options={"other_size": "resample"}`` it interpolates them for other sizes.

    The configuration on transformers, published without code, is
    ``backbone="swinv2_small_window8_256", neck="deepest", fusion="none", head="deeplab"``.

    Args:
        tasks: Main tasks.
        auxiliary_tasks: Tasks that only the front end predicts; their affinities are read.
        backbone: Shared by all tasks.
        size: ``(H, W)`` of the input image.
        channels: Channels of the task features, a multiple of 4.
        distilled_channels: Channels after the 1x1 convolution, a multiple of 4.
        attention_stride: Stride of the grid on which CTAL works: 4, or 6 or 8 (table 5 of the
            paper, "1/6" and "1/8"). By default the stride of the task features.
        distillation_options: Options of CTAL (``kernel_size``, ``gamma``, ``shared_kernel``, ...).
        fusion: How the maps of the backbone become one
            (see :func:`taskprism.layers.create_aggregation`).
        head: Final heads (see :func:`taskprism.layers.create_head`).

    Example:
        >>> from taskprism import create_model
        >>> small = {"backbone": "test_resnet", "channels": 8, "distilled_channels": 8}
        >>> model = create_model("ctal", ["depth", "edge"], size=(64, 96), **small)
        >>> model.input_size, model.any_input_size
        ((64, 96), False)
    """

    name: ClassVar[str] = "ctal"
    depends_on_task_order: ClassVar[bool] = True
    any_input_size = False
    distillation_name: ClassVar[str] = "ctal"

    def __init__(
        self,
        tasks: Sequence[Task],
        auxiliary_tasks: Sequence[Task],
        backbone: Backbone,
        size: Size | None = None,
        channels: Channels = 256,
        distilled_channels: Channels = 128,
        attention_stride: Stride | None = None,
        distillation_options: Mapping[str, Any] | None = None,
        fusion: AggregationName = "auto",
        head: HeadLike = "bottleneck",
    ) -> None:
        super().__init__(tasks, auxiliary_tasks, backbone, channels, fusion)
        self.distillation = ProjectedDistillation(
            self.distillation_name,
            [task.name for task in self.tasks],
            [task.name for task in self.all_tasks],
            channels,
            distilled_channels,
            backbone.strides[0],
            backbone.feature_sizes(size)[0] if size else None,
            attention_stride,
            upsample=True,
            options=distillation_options,
        )
        self._fit_size(size, self.distillation.distillation)
        self.heads = self._make_heads(distilled_channels, head)


@register_model
class ConcatNet(CTALNet):
    """The network of CTAL with concatenation instead of CTAL ("Concat" in table 4 of the paper).

    Everything else, tail and options included, is as in :class:`CTALNet`. ``size`` is not needed.

    Example:
        >>> from taskprism import create_model
        >>> small = {"backbone": "test_resnet", "channels": 8, "distilled_channels": 8}
        >>> create_model("concat", ["depth", "edge"], **small).any_input_size
        True
    """

    name: ClassVar[str] = "concat"
    any_input_size = True
    distillation_name: ClassVar[str] = "concat"
