"""CTAL at several scales: the front end of MTI-Net, one fused map per task, and CTAL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from taskprism.backbones import Backbone
from taskprism.layers import create_aggregation, create_head, resize
from taskprism.layers.aggregation import AggregationName
from taskprism.layers.heads import HeadLike
from taskprism.layers.propagation import PropagationSoftmax
from taskprism.models.base import MultiTaskModel, register_model
from taskprism.models.front_end import MultiScaleFrontEnd
from taskprism.models.predictions import Predictions
from taskprism.models.projected import ProjectedDistillation
from taskprism.options import Channels, Size, Stride
from taskprism.tasks.base import Task


@register_model
class CTALMultiScale(MultiTaskModel):
    """Multi-scale Cross-Task Affinity Learning network (Sinodinos and Armanfard, "CTAL").

    The initial predictions of MTI-Net at every scale; the features of each task at all scales fused
    into one map; then CTAL and the following layers as in :class:`~taskprism.models.CTALNet`. As in
    the released code there is feature propagation between the scales. The paper does not mention
    it, but its parameter count (0.944 of the single-task networks) fits only with it.

    Args:
        tasks: Main tasks.
        auxiliary_tasks: Tasks that only the front end predicts; their affinities are read.
        backbone: Shared by all tasks, with several maps.
        size: ``(H, W)`` of the input image.
        distilled_channels: Channels after the 1x1 convolution, a multiple of 4.
        attention_stride: Stride of the grid on which CTAL works: 4, or 6 or 8 (table 5 of the
            paper, "1/6" and "1/8"). By default the stride of the finest map.
        propagation: Whether features of coarse scales are used at finer ones.
        fpm_reduction: Divisor of the channels inside the feature propagation.
        propagation_softmax: ``"channels"`` as in the released code, or ``"tasks"``
            (see :class:`~taskprism.layers.FeaturePropagation`).
        propagation_order: As in :class:`~taskprism.models.MTINet`.
        distillation_options: Options of CTAL (``kernel_size``, ``gamma``, ``shared_kernel``, ...).
        fusion: How the maps of each task become one
            (see :func:`taskprism.layers.create_aggregation`).
        head: Final heads (see :func:`taskprism.layers.create_head`).

    Example:
        >>> from taskprism import create_model
        >>> small = {"backbone": "test_resnet", "neck_channels": 8, "distilled_channels": 8}
        >>> create_model("ctal_multiscale", ["depth", "edge"], size=(64, 96), **small).input_size
        (64, 96)
    """

    name: ClassVar[str] = "ctal_multiscale"
    depends_on_task_order: ClassVar[bool] = True
    uses_auxiliary_tasks: ClassVar[bool] = True
    has_initial_predictions: ClassVar[bool] = True
    any_input_size = False

    def __init__(
        self,
        tasks: Sequence[Task],
        auxiliary_tasks: Sequence[Task],
        backbone: Backbone,
        size: Size | None = None,
        distilled_channels: Channels = 128,
        attention_stride: Stride | None = None,
        propagation: bool = True,
        fpm_reduction: int = 4,
        propagation_softmax: PropagationSoftmax = "channels",
        propagation_order: Sequence[str] | None = None,
        distillation_options: Mapping[str, Any] | None = None,
        fusion: AggregationName = "auto",
        head: HeadLike = "bottleneck",
    ) -> None:
        super().__init__(tasks, auxiliary_tasks, backbone)
        self.backbone = backbone
        self.front_end = MultiScaleFrontEnd(
            self.all_tasks,
            backbone.channels,
            propagation,
            fpm_reduction,
            propagation_softmax,
            propagation_order,
        )
        fusions = {t.name: create_aggregation(backbone.channels, fusion) for t in self.all_tasks}
        self.fusions = nn.ModuleDict(fusions)
        self.distillation = ProjectedDistillation(
            "ctal",
            [task.name for task in self.tasks],
            [task.name for task in self.all_tasks],
            fusions[self.tasks[0].name].out_channels,
            distilled_channels,
            backbone.strides[0],
            backbone.feature_sizes(size)[0] if size else None,
            attention_stride,
            upsample=True,
            options=distillation_options,
        )
        self._fit_size(size, self.distillation.distillation)
        self.heads = nn.ModuleDict(
            {task.name: create_head([distilled_channels], task.channels, head) for task in tasks}
        )

    def forward(self, images: Tensor) -> Predictions:
        """Predict initially at every scale, fuse the scales of each task, distill, predict."""
        features, initial = self.front_end(self.backbone(images))
        fused = {
            task: fuse([each[task] for each in features]) for task, fuse in self.fusions.items()
        }
        refined = self.distillation(fused, initial[0])
        size = images.shape[-2:]
        final = {task: resize(head([refined[task]]), size) for task, head in self.heads.items()}
        return Predictions(final, initial)
