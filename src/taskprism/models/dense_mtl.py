"""DenseMTL: decoders of all tasks exchange features on their way up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from taskprism.backbones import Backbone
from taskprism.distillation import create_distillation
from taskprism.errors import InputError
from taskprism.models.base import MultiTaskModel
from taskprism.models.dense_mtl_decoder import DenseMTLDecoder, FullResolutionHead
from taskprism.models.predictions import Predictions
from taskprism.tasks.base import Task

# Width of the decoder's maps against its final one, from the final one downwards; published as
# 64, 128, 128, 256, 256 channels. Deeper ones are as wide as the last.
_WIDTHS = (1, 2, 2, 4, 4)


class DenseMTL(MultiTaskModel):
    """DenseMTL (Lopes et al., WACV 2023): cross-task attention between the tasks' decoders.

    A decoder of its own per task (:class:`DenseMTLDecoder`); one cross-task block (xTAM) on the
    features at the backbone's finest stride, where initial predictions are made; a last stage at
    full resolution. The published network is ``backbone="resnet101"``, ``neck="none"``,
    ``output_stride=16``, ``finest_stride=2``; its images are normalized to (x - 0.45) / 0.225,
    here to the statistics of the backbone's weights.

    The paper's block as a part of other networks is
    ``create_model("mti_net" or "pad_net", distillation="xtam")``.

    Args:
        tasks: Main tasks.
        auxiliary_tasks: Decoded up to the cross-task block, and read there.
        backbone: Shared by all tasks, with at least two maps.
        channels: Of the last stage; the others have 2 or 4 times as many.
        distillation: A name of :func:`taskprism.distillation.list_distillations`.
        distillation_options: Its own options.
        size: Input image's ``(H, W)``; only for distillations that are built for one size.
    """

    name: ClassVar[str] = "dense_mtl"
    uses_auxiliary_tasks: ClassVar[bool] = True
    has_initial_predictions: ClassVar[bool] = True

    def __init__(
        self,
        tasks: Sequence[Task],
        auxiliary_tasks: Sequence[Task],
        backbone: Backbone,
        channels: int = 64,
        distillation: str = "xtam",
        distillation_options: Mapping[str, Any] | None = None,
        size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(tasks, auxiliary_tasks, backbone)
        count = len(backbone.channels)
        if count < 2:
            raise InputError(
                "dense_mtl needs a backbone with at least two maps, but this one has one; take "
                'neck="none" or "fpn".'
            )
        self.backbone = backbone
        widths = [channels * _WIDTHS[min(stage, len(_WIDTHS) - 1)] for stage in range(1, count)]
        self.decoders = nn.ModuleDict(
            {task.name: DenseMTLDecoder(backbone.channels, widths) for task in self.all_tasks}
        )
        self.initial_heads = nn.ModuleDict(
            {t.name: nn.Conv2d(widths[0], t.channels, kernel_size=1) for t in self.all_tasks}
        )
        self.distillation = create_distillation(
            distillation,
            [task.name for task in self.tasks],
            widths[0],
            sources=[task.name for task in self.all_tasks],
            size=backbone.feature_sizes(size)[0] if size else None,
            stride=backbone.strides[0],
            **(distillation_options or {}),
        )
        self._fit_size(size, self.distillation)
        self.heads = nn.ModuleDict(
            {t.name: FullResolutionHead(widths[0], channels, t.channels) for t in self.tasks}
        )

    def forward(self, images: Tensor) -> Predictions:
        """Decode every task, predict initially, exchange, predict at full resolution."""
        maps = self.backbone(images)
        features = {task: decoder(maps) for task, decoder in self.decoders.items()}
        initial = {task: head(features[task]) for task, head in self.initial_heads.items()}
        refined = self.distillation(features, initial)
        size = images.shape[-2:]
        return Predictions(
            {task: head(refined[task], size) for task, head in self.heads.items()}, [initial]
        )
