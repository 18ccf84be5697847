"""Tasks with a yes or no per pixel: object boundaries and salient objects."""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

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
from taskprism.metrics.saliency import saliency_metrics
from taskprism.tasks import losses
from taskprism.tasks.base import Task, register_task
from taskprism.tasks.colors import color_gray
from taskprism.tasks.target import DenseTarget


@dataclass(frozen=True, kw_only=True)
class BinaryTask(Task, ABC):
    """Probability per pixel from one logit, or from the difference of two.

    Two channels (no, yes) with softmax are the same as their difference with a sigmoid, so losses
    and metrics know only the one logit.

    Attributes:
        positive_weight: Weight of positives in the loss, negatives get one minus it; None takes
            the share of negatives in the batch, as HED does.
        soft: Whether labels may lie between 0 and 1; otherwise they are cut at 0.5.
    """

    channels: int = 1
    positive_weight: float | None = None
    soft: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_channels(1, 2)
        if self.positive_weight is not None and not 0 <= self.positive_weight <= 1:
            raise InputError(
                f"Task {self.name!r}: positive_weight is {self.positive_weight}; it must lie in "
                "[0, 1], or be None for the share of negatives."
            )

    def logit(self, output: Tensor) -> Tensor:
        """Raw output ``(B, 1 or 2, H, W)`` -> one logit ``(B, 1, H, W)`` in full precision."""
        output = losses.full_precision(output)
        return output if self.channels == 1 else output[:, 1:] - output[:, :1]

    def labels(self, target: Tensor) -> Tensor:
        """Labels as the loss takes them, in [0, 1]."""
        return target if self.soft else (target >= 0.5).to(target.dtype)

    def loss(self, output: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """See :func:`taskprism.tasks.losses.balanced_binary_cross_entropy`."""
        # Hidden before the two channels are subtracted: inf - inf would bring NaN into the graph.
        logit = self.logit(losses.hide(output, valid))
        return losses.balanced_binary_cross_entropy(
            logit, self.labels(target), valid, self.positive_weight
        )

    def decode(self, output: Tensor) -> Tensor:
        """Probability ``(B, 1, H, W)``."""
        return self.logit(output).sigmoid()

    @property
    def categories(self) -> int:
        """No and yes."""
        return 2

    def from_categories(self, logits: Tensor) -> Tensor:
        """The same probability from as many channels as the output has."""
        return logits if self.channels == 2 else logits[:, 1:] - logits[:, :1]

    def target_statistics(self, target: Tensor, valid: Tensor) -> Tensor:
        """Number of positive pixels and of all pixels, ``(2,)``."""
        return super().target_statistics(self.labels(target), valid)

    def constant_output(self, statistics: Tensor) -> Tensor:
        """The logit at which the balanced loss of a constant map is least.

        With share p of positives that is the log of :math:`w p / ((1 - w)(1 - p))`.
        """
        share = (statistics[0] / statistics[1].clamp(min=1)).clamp(1e-6, 1 - 1e-6)
        weight = (
            1 - share if self.positive_weight is None else share.new_tensor(self.positive_weight)
        )
        logit = (weight.clamp(1e-6, 1 - 1e-6).logit() + share.logit()).float()
        return logit[None] if self.channels == 1 else torch.stack([torch.zeros_like(logit), logit])

    def validate_target(self, target: Tensor, valid: Tensor) -> str | None:
        """Say if a valid label is not 0 or 1 (or not between them, for soft labels)."""
        labels = target[valid]
        good = (labels >= 0) & (labels <= 1) if self.soft else (labels == 0) | (labels == 1)
        if good.all():
            return None
        wrong = labels[~good].unique()[:5].tolist()
        allowed = "in [0, 1]" if self.soft else "0 or 1"
        return f"labels {', '.join(f'{value:g}' for value in wrong)} are not {allowed}"


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
