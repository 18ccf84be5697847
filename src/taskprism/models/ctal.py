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
from taskprism.tasks.base import Task


@register_model
class CTALNet(SingleScaleModel):
    """Single-scale Cross-Task Affinity Learning network (Sinodinos and Armanfard, "CTAL").

    PAD-Net's front end; task features narrowed by a 1x1 convolution; CTAL
    (:class:`~taskprism.distillation.CTAL`); a tail that doubles the resolution; final heads of two
    bottlenecks. The 1x1 convolution, the tail and final heads unlike the initial ones are the
    released code's; the paper does not mention them, but its sizes fit only with them.

    The network is built for one image size, as its kernels have weights for each position. With
    ``distillation_options={"other_size": "resample"}`` it takes any, and interpolates them.

    Published on transformers (no code): backbone ``swinv2_small_window8_256``, ``neck="deepest"``,
    ``fusion="none"``, ``head="deeplab"``.

    Args:
        tasks: Main tasks.
        auxiliary_tasks: Predicted by the front end in addition; their affinities are read.
        backbone: Shared by all tasks.
        size: Input image's ``(H, W)``.
        channels: Of the task features; a multiple of 4.
        distilled_channels: Of the features from the 1x1 convolution on; a multiple of 4.
        attention_stride: Stride of the grid on which CTAL works: 4, or 6 or 8 (table 5 of the
            paper, "1/6" and "1/8"). By default that of the task features.
        distillation_options: Of CTAL (``kernel_size``, ``gamma``, ``shared_kernel``, ...).
        fusion: How the backbone's maps become one
            (see :func:`taskprism.layers.create_aggregation`).
        head: Final heads (see :func:`taskprism.layers.create_head`).
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
        size: tuple[int, int] | None = None,
        channels: int = 256,
        distilled_channels: int = 128,
        attention_stride: int | None = None,
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
    """CTAL's network with concatenation in its place ("Concat" in table 4 of the CTAL paper).

    All else is :class:`CTALNet`'s, tail and options included; ``size`` is not needed.
    """

    name: ClassVar[str] = "concat"
    any_input_size = True
    distillation_name: ClassVar[str] = "concat"
