"""TPIM: pairs of tasks interact through iterated attention."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self, cast

from taskprism.backbones import Backbone
from taskprism.layers.aggregation import AggregationName
from taskprism.layers.heads import HeadLike
from taskprism.layers.propagation import PropagationSoftmax
from taskprism.models.base import MultiTaskModel, register_model
from taskprism.models.mti_net import MTINet
from taskprism.models.pad_net import PADNet
from taskprism.options import Channels
from taskprism.tasks.base import Task


@register_model
class TPIMNet(MultiTaskModel, ABC):
    """Task Pair Interaction network, at several scales or, with ``single_scale=True``, at one.

    :class:`MultiScaleTPIM` is MTI-Net with TPIM (:class:`~taskprism.distillation.TPIM`) at every
    scale, :class:`SingleScaleTPIM` is PAD-Net with TPIM. No code was released. The figure in the
    paper shows a single scale, but the text says that without attention the network is MTI-Net, and
    the tables compare with MTI-Net; so several scales are the default.

    The other options are those of the selected class, with ``distillation_options`` of TPIM
    (``iterations``: 18 on NYUD-v2, 4 on PASCAL-Context).

    Example:
        >>> from taskprism import create_model
        >>> options = {"backbone": "test_resnet", "channels": 8, "single_scale": True}
        >>> type(create_model("tpim", ["depth", "edge"], **options)).__name__
        'SingleScaleTPIM'
    """

    name: ClassVar[str] = "tpim"
    depends_on_task_order: ClassVar[bool] = True
    uses_auxiliary_tasks: ClassVar[bool] = True
    has_initial_predictions: ClassVar[bool] = True

    @classmethod
    def _variant(cls, options: Mapping[str, Any]) -> tuple[type[Self], dict[str, Any]]:
        """Class that ``single_scale`` selects, and the other options."""
        if cls is not TPIMNet:
            return cls, dict(options)
        own = dict(options)
        chosen = SingleScaleTPIM if own.pop("single_scale", False) else MultiScaleTPIM
        return cast(type[Self], chosen), own


class MultiScaleTPIM(TPIMNet, MTINet):
    """MTI-Net with TPIM at every scale; attention works at stride 16.

    Args:
        tasks: Main tasks.
        auxiliary_tasks: Tasks that only the front end predicts; distillation reads them.
        backbone: Shared by all tasks, with several maps.
        scales: Which maps of the backbone are used; 0 is the finest. By default all.
        propagation: Whether features of coarse scales are used at finer ones.
        fpm_reduction: Divisor of the channels inside the feature propagation.
        propagation_softmax: See :class:`~taskprism.layers.FeaturePropagation`.
        propagation_order: As in :class:`~taskprism.models.MTINet`.
        distillation_options: Options of TPIM.
        head: Final heads (see :func:`taskprism.layers.create_head`).
        task_channels: As in :class:`~taskprism.models.MTINet`.
    """

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
        distillation_options: Mapping[str, Any] | None = None,
        head: HeadLike = "auto",
        task_channels: Channels | Sequence[Channels] | None = None,
    ) -> None:
        MTINet.__init__(
            self,
            tasks,
            auxiliary_tasks,
            backbone,
            scales,
            propagation,
            fpm_reduction,
            propagation_softmax,
            propagation_order,
            distillation="tpim",
            distillation_options=distillation_options,
            head=head,
            task_channels=task_channels,
        )


class SingleScaleTPIM(TPIMNet, PADNet):
    """PAD-Net with TPIM.

    Args:
        tasks: Main tasks.
        auxiliary_tasks: Tasks that only the front end predicts; distillation reads them.
        backbone: Shared by all tasks.
        channels: Channels of the task features, a multiple of 4.
        distillation_options: Options of TPIM.
        fusion: How the maps of the backbone become one
            (see :func:`taskprism.layers.create_aggregation`).
        head: Final heads (see :func:`taskprism.layers.create_head`).
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        auxiliary_tasks: Sequence[Task],
        backbone: Backbone,
        channels: Channels = 256,
        distillation_options: Mapping[str, Any] | None = None,
        fusion: AggregationName = "auto",
        head: HeadLike = "bottleneck",
    ) -> None:
        PADNet.__init__(
            self,
            tasks,
            auxiliary_tasks,
            backbone,
            channels,
            distillation="tpim",
            distillation_options=distillation_options,
            fusion=fusion,
            head=head,
        )
