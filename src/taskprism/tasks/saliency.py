"""Saliency: whether a pixel belongs to what draws the eye first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from torch import Tensor
from torchmetrics import MetricCollection

from taskprism.metrics.saliency import saliency_metrics
from taskprism.tasks.base import Task, register_task
from taskprism.tasks.binary import BinaryTask
from taskprism.tasks.colors import color_gray
from taskprism.tasks.target import DenseTarget


class SaliencyMap(DenseTarget):
    """1 on salient objects, 0 elsewhere, float32 ``(..., 1, H, W)``."""

    similar_within: ClassVar[float] = 0.5


@register_task
@dataclass(frozen=True, kw_only=True)
class Saliency(BinaryTask):
    """Salient objects.

    Attributes:
        max_f: Which convention ``max_f`` follows, see :mod:`taskprism.metrics.saliency`.
    """

    name: str = "saliency"
    loss_weight: float = 5.0
    max_f: Literal["atrc", "invpt", "astmt"] = "atrc"
    primary_metric: str = "max_miou"

    scoring_fields: ClassVar[tuple[str, ...]] = (*Task.scoring_fields, "max_f")
    kind: ClassVar[str] = "saliency"
    target_type: ClassVar[type[DenseTarget]] = SaliencyMap

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_choice("max_f", ("atrc", "invpt", "astmt"))

    def metrics(self) -> MetricCollection:
        """Maximal F measure and maximal mean IoU of the foreground over thresholds, in [0, 1]."""
        return saliency_metrics(self.max_f)

    def color(
        self, values: Tensor, valid: Tensor | None = None, reference: Tensor | None = None
    ) -> np.ndarray:
        """White where salient."""
        return color_gray(values, valid)
