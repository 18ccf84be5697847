"""MTI-Net: distillation at several scales, with feature propagation between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from taskprism.backbones import Backbone
from taskprism.distillation import Distillation, create_distillation
from taskprism.errors import InputError
from taskprism.layers import create_head, resize
from taskprism.layers.heads import HeadLike
from taskprism.layers.propagation import PropagationSoftmax
from taskprism.models.base import MultiTaskModel, register_model
from taskprism.models.front_end import MultiScaleFrontEnd
from taskprism.models.predictions import Predictions
from taskprism.options import Channels, Size
from taskprism.tasks.base import Task


@register_model
class MTINet(MultiTaskModel):
    """Multi-scale Task Interaction network (Vandenhende et al., "MTI-Net", ECCV 2020).

    Initial predictions and task features at every scale (:class:`MultiScaleFrontEnd`), distillation
    at every scale, then aggregation of the distilled maps of each task and prediction.

    Args:
        tasks: Main tasks.
        auxiliary_tasks: Tasks that only the front end predicts; distillation reads them.
        backbone: Shared by all tasks, with several maps.
        scales: Which maps of the backbone are used; 0 is the finest (table 3 of the paper). By
            default all.
        propagation: Whether features of coarse scales are used at finer ones (table 3: "FPM").
        fpm_reduction: Divisor of the channels inside the feature propagation. 1 agrees with the
            operations in table 7 of the paper, 4 is the value of the released code.
        propagation_softmax: ``"channels"`` as in the released code, ``"tasks"`` as in the paper's
            text (see :class:`~taskprism.layers.FeaturePropagation`).
        propagation_order: Names of all tasks in the order in which propagation concatenates them;
            trained weights fit only the order they were trained with. By default the main tasks,
            then the auxiliary ones.
        distillation: A name of :func:`taskprism.distillation.list_distillations`,
            ``"module:Class"``, or a subclass of :class:`taskprism.distillation.Distillation`.
        distillation_options: Options of the distillation.
        head: Final heads (see :func:`taskprism.layers.create_head`).
        size: ``(H, W)`` of the input image; only for distillations that are built for one size.
        task_channels: Channels of the task features, one number or one per scale; by default those
            of the backbone's map, which suits HRNet. On a feature pyramid, whose maps all have the
            same channels, the default makes up most of the network (table 7b of the paper).
        categorical_heads: Initial heads classify pixels (40 depths, 40 directions, ...) and predict
            the expected value (:meth:`taskprism.tasks.Task.from_categories`), as in
            :class:`~taskprism.models.ATRC`. Use it with ``distillation="relational_context"``,
            whose regions are these classes.

    Raises:
        InputError: ``scales``, ``task_channels`` or ``propagation_order`` do not fit the backbone
            or the tasks.

    Example:
        >>> import torch
        >>> from taskprism import create_model
        >>> model = create_model("mti_net", ["depth", "edge"], backbone="test_resnet", neck="none")
        >>> outputs = model(torch.rand(2, 3, 64, 96))
        >>> [tuple(scale["depth"].shape) for scale in outputs.initial]
        [(2, 1, 16, 24), (2, 1, 8, 12), (2, 1, 4, 6), (2, 1, 2, 3)]
    """

    name: ClassVar[str] = "mti_net"
    depends_on_task_order: ClassVar[bool] = True
    uses_auxiliary_tasks: ClassVar[bool] = True
    has_initial_predictions: ClassVar[bool] = True

    def __init__(
        self,
        tasks: Sequence[Task],
        auxiliary_tasks: Sequence[Task],
        backbone: Backbone,
        scales: Sequence[int] | None = None,
        propagation: bool = True,
        fpm_reduction: int = 4,
        propagation_softmax: PropagationSoftmax = "channels",
        propagation_order: Sequence[str] | None = None,
        distillation: str | type[Distillation] = "spatial_attention",
        distillation_options: Mapping[str, Any] | None = None,
        head: HeadLike = "auto",
        size: Size | None = None,
        task_channels: Channels | Sequence[Channels] | None = None,
        categorical_heads: bool = False,
    ) -> None:
        super().__init__(tasks, auxiliary_tasks, backbone)
        self.backbone = backbone
        self.scales = _check_scales(scales, len(backbone.channels))
        from_backbone = [backbone.channels[scale] for scale in self.scales]
        channels = _task_channels(task_channels, from_backbone)
        self.front_end = MultiScaleFrontEnd(
            self.all_tasks,
            from_backbone,
            propagation,
            fpm_reduction,
            propagation_softmax,
            propagation_order,
            channels,
            categorical_heads,
        )
        self.categorical_heads = categorical_heads
        sizes = backbone.feature_sizes(size) if size else None
        distillations = [
            create_distillation(
                distillation,
                [task.name for task in self.tasks],
                width,
                sources=[task.name for task in self.all_tasks],
                size=sizes[scale] if sizes else None,
                stride=backbone.strides[scale],
                **(distillation_options or {}),
            )
            for scale, width in zip(self.scales, channels, strict=True)
        ]
        self._fit_size(size, *distillations)
        self.distillations = nn.ModuleList(distillations)
        self.heads = nn.ModuleDict(
            {task.name: create_head(channels, task.channels, head) for task in self.tasks}
        )

    def forward(self, images: Tensor) -> Predictions:
        """Predict initially and distill at every scale, aggregate, predict."""
        maps = self.backbone(images)
        features, initial = self.front_end([maps[scale] for scale in self.scales])
        refined = [
            distill(own, predicted)
            for distill, own, predicted in zip(self.distillations, features, initial, strict=True)
        ]
        size = images.shape[-2:]
        final = {
            task: resize(head([scale[task] for scale in refined]), size)
            for task, head in self.heads.items()
        }
        if self.categorical_heads:
            initial = [
                {task.name: task.from_categories(scale[task.name]) for task in self.all_tasks}
                for scale in initial
            ]
        return Predictions(final, initial)


def _check_scales(scales: Sequence[int] | None, available: int) -> list[int]:
    if scales is None:
        return list(range(available))
    chosen = sorted(set(scales))
    if not chosen or chosen != list(scales) or chosen[0] < 0 or chosen[-1] >= available:
        raise InputError(
            f"scales={list(scales)} must name maps of the backbone, finest first, each once: "
            f"any of {list(range(available))}."
        )
    return chosen


def _task_channels(channels: int | Sequence[int] | None, default: list[int]) -> list[int]:
    """Channels of the task features at each scale."""
    if channels is None:
        return default
    widths = [channels] * len(default) if isinstance(channels, int) else list(channels)
    if len(widths) != len(default) or min(widths) < 1:
        raise InputError(
            f"task_channels={channels} must be one number of channels, or {len(default)} of them, "
            "one per scale, finest first."
        )
    return widths
