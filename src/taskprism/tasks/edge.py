"""Edges: whether an object boundary runs through a pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torchmetrics import MetricCollection

from taskprism.metrics.edge import edge_metrics
from taskprism.tasks.binary import BinaryTask
from taskprism.tasks.colours import colour_grey
from taskprism.tasks.target import DenseTarget


class EdgeMap(DenseTarget):
    """1 on boundaries, 0 elsewhere, float32 ``(..., 1, H, W)``."""

    def __new__(cls, data: Any, *, dtype: torch.dtype | None = torch.float32) -> Self:
        """Wrap ``data`` as float32."""
        return super().__new__(cls, data, dtype=dtype)

    @classmethod
    def resample(cls, values: Tensor, size: tuple[int, int]) -> Tensor:
        """The largest value under each new pixel where the grid shrinks, so that no line breaks.

        Nearest neighbour would keep only every other pixel of a line one pixel wide.
        """
        height, width = values.shape[-2:]
        coarser = (min(size[0], height), min(size[1], width))
        pooled = functional.adaptive_max_pool2d(values.reshape(-1, 1, height, width), coarser)
        return super().resample(pooled.reshape(*values.shape[:-2], *coarser), size)


@dataclass(frozen=True, kw_only=True)
class Edge(BinaryTask):
    """Boundaries; few pixels are positive, so positives weigh 0.95 by default (PASCAL).

    ASTMT and ATRC take 0.8 on NYUD-v2, HED the share of negatives (None).
    """

    name: str = "edge"
    loss_weight: float = 50.0
    positive_weight: float | None = 0.95
    primary_metric: str = "loss"

    kind: ClassVar[str] = "edge"
    target_type: ClassVar[type[DenseTarget]] = EdgeMap

    def metrics(self) -> MetricCollection:
        """Validation loss on logits."""
        return edge_metrics(self.positive_weight)

    def update_metrics(
        self, metrics: MetricCollection, output: Tensor, target: Tensor, valid: Tensor
    ) -> None:
        """Add a batch; edge metrics read logits, not probabilities."""
        metrics.update(self.logit(output), self.labels(target), valid)

    def colour(
        self, values: Tensor, valid: Tensor | None = None, reference: Tensor | None = None
    ) -> np.ndarray:
        """Dark lines on white."""
        return colour_grey(1 - values, valid)
