"""Edges: whether an object boundary runs through a pixel."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torchmetrics import MetricCollection

from taskprism.errors import InputError
from taskprism.metrics.boundaries.conventions import (
    CONVENTIONS,
    BoundaryConvention,
    convention,
    evenly_spaced,
)
from taskprism.metrics.edge import edge_metrics
from taskprism.tasks.base import Task, register_task
from taskprism.tasks.binary import BinaryTask
from taskprism.tasks.colors import color_gray
from taskprism.tasks.target import DenseTarget


class EdgeMap(DenseTarget):
    """1 on boundaries, 0 elsewhere, float32 ``(..., 1, H, W)``.

    Labels of a test set may hold further channels ``(..., 1 + A, H, W)``: the maps of A annotators
    that boundary scores are taken against. Networks are trained and drawn with the first.
    """

    similar_within: ClassVar[float] = 0.5

    @classmethod
    def difference(cls, first: Tensor, second: Tensor) -> Tensor:
        """1 for an edge and none, else 0; annotators are not asked."""
        return super().difference(first[..., :1, :, :], second[..., :1, :, :])

    @classmethod
    def resample(cls, values: Tensor, size: tuple[int, int]) -> Tensor:
        """The largest value under each new pixel where the grid shrinks, so that no line breaks.

        Nearest neighbor would keep only every other pixel of a line one pixel wide.
        """
        height, width = values.shape[-2:]
        coarser = (min(size[0], height), min(size[1], width))
        pooled = functional.adaptive_max_pool2d(values.reshape(-1, 1, height, width), coarser)
        return super().resample(pooled.reshape(*values.shape[:-2], *coarser), size)


@register_task
@dataclass(frozen=True, kw_only=True)
class Edge(BinaryTask):
    """Boundaries; few pixels are positive, so positives weigh 0.95 by default (PASCAL).

    ASTMT and ATRC take 0.8 on NYUD-v2, HED the share of negatives (None).

    Attributes:
        odsf: Add the boundary scores ``odsf``, ``oisf`` and ``ap`` to the metrics, at 0.1 to 0.4 s
            of the CPU for an image of a benchmark. Also set ``primary_metric="odsf"`` if Δm and
            the best checkpoint are to be told by it.
        odsf_convention: Tolerance, thresholds and suppression, a name in
            :data:`taskprism.metrics.boundaries.CONVENTIONS`. Labels are boundary maps, whatever
            the convention's own files hold.
        odsf_thresholds: Take so many evenly spaced thresholds and not the convention's; 19 are
            enough to follow a training.
    """

    name: str = "edge"
    loss_weight: float = 50.0
    positive_weight: float | None = 0.95
    primary_metric: str = "loss"
    odsf: bool = False
    odsf_convention: str = "default"
    odsf_thresholds: int | None = None

    scoring_fields: ClassVar[tuple[str, ...]] = (*Task.scoring_fields, "odsf")
    kind: ClassVar[str] = "edge"
    target_type: ClassVar[type[DenseTarget]] = EdgeMap

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_choice("odsf_convention", tuple(CONVENTIONS))
        if self.odsf_thresholds is not None and self.odsf_thresholds < 1:
            raise InputError(
                f"Task {self.name!r}: odsf_thresholds is {self.odsf_thresholds}; at least 1, or "
                "None for those of the convention."
            )

    @property
    def boundary_convention(self) -> BoundaryConvention:
        """How boundary scores are taken; the ground truth is boundary maps as they are."""
        named = replace(convention(self.odsf_convention), ground_truth="raw")
        if self.odsf_thresholds is None:
            return named
        return replace(named, thresholds=evenly_spaced(self.odsf_thresholds))

    def metrics(self) -> MetricCollection:
        """Validation loss on logits; with ``odsf`` the boundary scores too."""
        return edge_metrics(self.positive_weight, self.boundary_convention if self.odsf else None)

    def update_metrics(
        self, metrics: MetricCollection, output: Tensor, target: Tensor, valid: Tensor
    ) -> None:
        """Add a batch; edge metrics read logits, not probabilities."""
        target = torch.cat([self.labels(target), target[:, 1:]], dim=1)
        metrics.update(self.logit(output), target, valid)

    def labels(self, target: Tensor) -> Tensor:
        """The first channel, in [0, 1]."""
        return super().labels(target[..., :1, :, :])

    def validate_target(self, target: Tensor, valid: Tensor) -> str | None:
        """Say if a valid label is not 0 or 1, or that of an annotator not 0, 1 or -1."""
        drawn = target[1:, valid[0]]
        if ((drawn < -1) | (drawn > 1)).any():
            return "maps of annotators hold something else than 0, 1, and -1 for unscored"
        return super().validate_target(target[:1], valid)

    def color(
        self, values: Tensor, valid: Tensor | None = None, reference: Tensor | None = None
    ) -> np.ndarray:
        """Dark lines on white."""
        return color_gray(1 - values[:1], valid)
