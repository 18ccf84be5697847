"""Tasks with a yes or no per pixel: object boundaries and salient objects."""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torchmetrics import MetricCollection

from taskprism.checks import check_integer, check_number
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
from taskprism.tasks.diagnostics import Calibration, PixelError
from taskprism.tasks.statistics import LabelStatistics, count_files
from taskprism.tasks.storage import Storage
from taskprism.tasks.target import DenseTarget


@dataclass(frozen=True, kw_only=True)
class BinaryTask(Task, ABC):
    """Probability per pixel from one logit, or from the difference of two.

    The softmax over two channels (no, yes) is the sigmoid of their difference, so losses and
    metrics read one logit in both cases.

    Attributes:
        channels: 1 or 2.
        positive_weight: Weight of positives in the loss, in [0, 1]; negatives have one minus it.
            None uses the share of negatives in the batch, as HED does.
        soft: Whether labels may lie between 0 and 1; otherwise they are thresholded at 0.5.

    Example:
        >>> import torch
        >>> from taskprism.tasks import create_task
        >>> logits = torch.zeros(1, 2, 4, 6)
        >>> create_task("saliency", channels=2).decode(logits).mean().item()
        0.5
    """

    channels: int = 1
    positive_weight: float | None = None
    soft: bool = False

    confidence_by_flip: ClassVar[bool] = False
    label_kind: ClassVar[losses.LabelKind] = "mask"
    default_losses: ClassVar[str] = "balanced_cross_entropy"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_channels(1, 2)
        if self.positive_weight is not None:
            check_number(self._owner, "positive_weight", self.positive_weight, 0, 1)

    def logit(self, output: Tensor) -> Tensor:
        """One logit ``(B, 1, H, W)`` in full precision, from raw output ``(B, 1 or 2, H, W)``."""
        output = losses.full_precision(output)
        return output if self.channels == 1 else output[:, 1:] - output[:, :1]

    def labels(self, target: Tensor) -> Tensor:
        """Labels in [0, 1], thresholded at 0.5 unless they are soft."""
        return target if self.soft else (target >= 0.5).to(target.dtype)

    def loss_inputs(self, output: Tensor, target: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """One logit, and labels in [0, 1]."""
        # Hidden before the two channels are subtracted: inf - inf would bring NaN into the graph.
        return self.logit(losses.hide(output, valid)), self.labels(target)

    @property
    def weight_of_positives(self) -> float | None:
        """``positive_weight``."""
        return self.positive_weight

    def batch_sums(self, target: Tensor, valid: Tensor) -> Tensor:
        """Negatives and pixels, ``(2,)``, if ``positive_weight`` is the share of negatives."""
        if self.positive_weight is not None:
            return super().batch_sums(target, valid)
        negatives = torch.where(valid, 1 - self.labels(target), 0).sum()
        return torch.stack([negatives, valid.sum().to(negatives.dtype)])

    def for_batch(self, sums: Sequence[float]) -> Task:
        """The task with the share of negatives of the whole batch as ``positive_weight``."""
        if self.positive_weight is not None:
            return self
        negatives, pixels = sums
        return replace(self, positive_weight=min(1.0, negatives / max(pixels, 1.0)))

    def decode(self, output: Tensor) -> Tensor:
        """Probability ``(B, 1, H, W)``."""
        return self.logit(output).sigmoid()

    def confidence(self, output: Tensor, flipped: Tensor | None = None) -> Tensor:
        """``|2 p - 1|``: 0 where the probability is one half, 1 where it is 0 or 1."""
        return (2 * self.decode(output) - 1).abs()

    def pixel_errors(self) -> tuple[PixelError, ...]:
        """Difference between the probability and the label."""
        return (PixelError("probability error", self._error),)

    def _error(self, prediction: Tensor, target: Tensor) -> Tensor:
        return (prediction[..., :1, :, :] - self.labels(target)[..., :1, :, :]).abs()

    def calibration(self, output: Tensor, target: Tensor) -> Calibration:
        """Probability of a positive pixel, and the label."""
        return Calibration(self.decode(output), self.labels(target), "the pixel is positive")

    @property
    def storage(self) -> Storage:
        """Black and white with gray for no label; soft labels as 255 steps."""
        if self.soft:
            return Storage(missing=255, scale="1/254")
        return Storage(missing=128, positive=255)

    def normalize_values(self, values: Tensor) -> Tensor:
        """The probabilities or labels themselves."""
        return values

    @property
    def categories(self) -> int:
        """Two: no and yes."""
        return 2

    def from_categories(self, logits: Tensor) -> Tensor:
        """Raw output with the same probability as two class logits."""
        return logits if self.channels == 2 else logits[:, 1:] - logits[:, :1]

    def target_statistics(self, target: Tensor, valid: Tensor) -> Tensor:
        """Number of positive pixels and of all pixels, ``(2,)``."""
        return super().target_statistics(self.labels(target), valid)

    def constant_output(self, statistics: Tensor) -> Tensor:
        """The logit that minimizes the balanced loss of a constant map.

        With the share p of positives it is the log of :math:`w p / ((1 - w)(1 - p))`.
        """
        share = (statistics[0] / statistics[1].clamp(min=1)).clamp(1e-6, 1 - 1e-6)
        weight = (
            1 - share if self.positive_weight is None else share.new_tensor(self.positive_weight)
        )
        logit = (weight.clamp(1e-6, 1 - 1e-6).logit() + share.logit()).float()
        return logit[None] if self.channels == 1 else torch.stack([torch.zeros_like(logit), logit])

    def validate_target(self, target: Tensor, valid: Tensor) -> str | None:
        """Report valid labels that are not 0 or 1, or outside [0, 1] if labels are soft."""
        labels = target[valid]
        good = (labels >= 0) & (labels <= 1) if self.soft else (labels == 0) | (labels == 1)
        if good.all():
            return None
        wrong = labels[~good].unique()[:5].tolist()
        allowed = "in [0, 1]" if self.soft else "0 or 1"
        return f"labels {', '.join(f'{value:g}' for value in wrong)} are not {allowed}"

    def doubts(self, labels: LabelStatistics) -> list[str]:
        """Report masks of which none has a positive, or none a negative pixel."""
        if not labels.labeled or (labels.low < 0.5 <= labels.high):
            return []
        found = "positive" if labels.high < 0.5 else "negative"
        return [
            f"none of {count_files(labels.names)} has a {found} pixel. Set "
            f"tasks.{self.name}.positive to the stored values of positive pixels, or to nonzero"
        ]


class EdgeMap(DenseTarget):
    """1 on boundaries, 0 elsewhere, float32 ``(..., 1, H, W)``.

    Labels of a test set may have more channels ``(..., 1 + A, H, W)``: the maps of A annotators,
    which boundary scores compare predictions with. Training and pictures use the first channel.

    Example:
        >>> import torch
        >>> from taskprism.tasks import EdgeMap
        >>> line = EdgeMap(torch.eye(8)[None])
        >>> EdgeMap.resample(line, (4, 4)).sum().item()  # the line is not interrupted
        4.0
    """

    similar_within: ClassVar[float] = 0.5

    @classmethod
    def difference(cls, first: Tensor, second: Tensor) -> Tensor:
        """1 between an edge and no edge, else 0; maps of annotators are not compared."""
        return super().difference(first[..., :1, :, :], second[..., :1, :, :])

    @classmethod
    def resample(cls, values: Tensor, size: tuple[int, int]) -> Tensor:
        """The largest value under each new pixel if the grid shrinks, so that no line breaks.

        Nearest neighbor would keep only every other pixel of a line one pixel wide.
        """
        height, width = values.shape[-2:]
        coarser = (min(size[0], height), min(size[1], width))
        pooled = functional.adaptive_max_pool2d(values.reshape(-1, 1, height, width), coarser)
        return super().resample(pooled.reshape(*values.shape[:-2], *coarser), size)


@register_task
@dataclass(frozen=True, kw_only=True)
class Edge(BinaryTask):
    """Object boundaries.

    Few pixels are positive, so positives have weight 0.95 by default (PASCAL). ASTMT and ATRC use
    0.8 on NYUD-v2, HED the share of negatives (None).

    Attributes:
        odsf: Add the boundary scores ``odsf``, ``oisf`` and ``ap`` to the metrics. They take 0.1 to
            0.4 s of CPU time for an image of a benchmark. Also set ``primary_metric="odsf"`` if Δm
            and the choice of the best checkpoint should use it.
        odsf_convention: Tolerance, thresholds and suppression, a name in
            :data:`taskprism.metrics.boundaries.CONVENTIONS`. Labels are boundary maps, whatever
            files of the convention contain.
        odsf_thresholds: Number of evenly spaced thresholds, 1 to 1000, instead of those of the
            convention; 19 are enough to follow a training.

    Raises:
        InputError: ``odsf_thresholds`` is out of range.
        UnknownNameError: There is no such convention.

    Example:
        >>> from taskprism.tasks import create_task
        >>> sorted(create_task("edge", odsf=True, odsf_thresholds=19).metrics())
        ['ap', 'loss', 'odsf', 'oisf']
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
        if self.odsf_thresholds is not None:
            check_integer(self._owner, "odsf_thresholds", self.odsf_thresholds, 1, 1000)

    @property
    def boundary_convention(self) -> BoundaryConvention:
        """Convention of the boundary scores; the ground truth is boundary maps."""
        named = replace(convention(self.odsf_convention), ground_truth="raw")
        if self.odsf_thresholds is None:
            return named
        return replace(named, thresholds=evenly_spaced(self.odsf_thresholds))

    def metrics(self) -> MetricCollection:
        """Validation loss of logits, and with ``odsf`` the boundary scores."""
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
        """Report valid labels that are not 0 or 1, and annotations that are not 0, 1 or -1."""
        drawn = target[1:, valid[0]]
        if ((drawn < -1) | (drawn > 1)).any():
            return "maps of annotators have values other than 0, 1 and -1 (not scored)"
        return super().validate_target(target[:1], valid)

    def color(
        self, values: Tensor, valid: Tensor | None = None, reference: Tensor | None = None
    ) -> np.ndarray:
        """Dark lines on white."""
        return color_gray(1 - values[:1], valid)


class SaliencyMap(DenseTarget):
    """1 on salient objects, 0 elsewhere, float32 ``(..., 1, H, W)``.

    Example:
        >>> from taskprism.tasks import SaliencyMap
        >>> SaliencyMap([[[0, 1]]]).dtype
        torch.float32
    """

    similar_within: ClassVar[float] = 0.5


@register_task
@dataclass(frozen=True, kw_only=True)
class Saliency(BinaryTask):
    """Salient objects: whether a pixel belongs to what attracts attention first.

    Attributes:
        max_f: Convention of the metric ``max_f``, see :mod:`taskprism.metrics.saliency`.

    Raises:
        UnknownNameError: There is no such convention.

    Example:
        >>> from taskprism.tasks import create_task
        >>> create_task("saliency", max_f="astmt").primary_metric
        'max_miou'
    """

    name: str = "saliency"
    loss_weight: float = 5.0
    max_f: Literal["atrc", "invpt", "astmt"] = "atrc"
    primary_metric: str = "max_miou"

    scoring_fields: ClassVar[tuple[str, ...]] = (*Task.scoring_fields, "max_f")
    kind: ClassVar[str] = "saliency"
    hub_tag: ClassVar[str] = "image-segmentation"
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
