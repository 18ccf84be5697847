"""Statistics of the labels of one task, from which a task tells implausible ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from taskprism.tasks.base import Task

_SAMPLED = 512  # values kept of each label, for histograms


@dataclass
class LabelStatistics:
    """Sums over the labels of one task.

    Attributes:
        task: The task.
        names: Names of the samples with such a label.
        pixels: Number of their pixels.
        labeled: Number of pixels with a label.
        low: Smallest value.
        high: Largest value.
        total: Sum of each channel, ``(target_channels,)`` float64.
        classes: Pixels per class, ``(channels,)`` int64; for class maps only.
        medians: Median of the first channel of each label that has labeled pixels.
        unlabeled: Names of the labels without a labeled pixel.
        zeros: Names of the labels with a labeled pixel whose channels are all exactly 0.
        constant_zero: Number of labels that are 0 at every labeled pixel.
        ground: Sum of the vectors on level ground, ``(3,)`` float64; for directions only.
        ground_pixels: Number of these vectors.
        values: Some values of the first channel of each label, for histograms.

    Example:
        >>> from taskprism.tasks import create_task
        >>> labels = LabelStatistics(create_task("depth"))
        >>> depth = torch.tensor([[[0.0, 2.0, 4.0]]])
        >>> labels.add("a", depth, torch.isfinite(depth))
        >>> labels.high, labels.zeros
        (4.0, ['a'])
    """

    task: Task
    names: list[str] = field(default_factory=list)
    pixels: int = 0
    labeled: int = 0
    low: float = float("inf")
    high: float = float("-inf")
    total: Tensor = field(init=False)
    classes: Tensor | None = None
    medians: list[float] = field(default_factory=list)
    unlabeled: list[str] = field(default_factory=list)
    zeros: list[str] = field(default_factory=list)
    constant_zero: int = 0
    ground: Tensor = field(default_factory=lambda: torch.zeros(3, dtype=torch.float64))
    ground_pixels: int = 0
    values: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.total = torch.zeros(self.task.target_channels, dtype=torch.float64)
        if self.counts_classes:
            self.classes = torch.zeros(self.task.channels, dtype=torch.int64)

    @property
    def counts_classes(self) -> bool:
        """Whether labels are class indices."""
        return not self.task.target_dtype.is_floating_point

    @property
    def images(self) -> int:
        """Number of samples with such a label."""
        return len(self.names)

    @property
    def share(self) -> float:
        """Share of labeled pixels."""
        return self.labeled / max(self.pixels, 1)

    @property
    def mean(self) -> Tensor:
        """Mean of each channel."""
        return self.total / max(self.labeled, 1)

    @property
    def class_names(self) -> list[str]:
        """Names of the classes, or their indices where they have none."""
        names = getattr(self.task, "class_names", ()) or range(self.task.channels)
        return [str(name) for name in names]

    def absent_classes(self) -> list[str]:
        """Names of the classes that never occur."""
        if self.classes is None:
            return []
        counted = zip(self.class_names, self.classes.tolist(), strict=True)
        return [name for name, count in counted if not count]

    def add(self, name: str, target: Tensor, valid: Tensor, ground: Tensor | None = None) -> None:
        """Add a label.

        Args:
            name: Name of the sample.
            target: ``(C, H, W)``; channels after the first ``target_channels``, such as the maps of
                annotators, are left out.
            valid: Boolean ``(1, H, W)``.
            ground: Boolean ``(H, W)``: level ground, or None if it is not known.
        """
        target = target.as_subclass(Tensor)[: self.task.target_channels]
        mask = valid.as_subclass(Tensor)[0]
        values = target[:, mask]
        self.names.append(name)
        self.pixels += mask.numel()
        self.labeled += values.shape[1]
        if not values.numel():
            self.unlabeled.append(name)
            return
        low, high = float(values.min()), float(values.max())
        self.low, self.high = min(self.low, low), max(self.high, high)
        self.total += values.double().sum(dim=1)
        self.constant_zero += low == high == 0
        if low <= 0 <= high and bool((values == 0).all(dim=0).any()):
            self.zeros.append(name)
        step = max(values.shape[1] // _SAMPLED, 1)
        self.values.append(values[0, ::step].clone())
        if self.classes is not None:
            self.classes += torch.bincount(values[0], minlength=self.task.channels)
        else:
            self.medians.append(float(values[0].median()))
        if self.task.target_type.is_direction and ground is not None and ground.shape == mask.shape:
            below = target[:, mask & ground]
            self.ground += below.double().sum(dim=1)
            self.ground_pixels += below.shape[1]


def count_files(names: list[str]) -> str:
    """``"3 labels (a, b, c)"``, with three names at most.

    Example:
        >>> count_files(["a", "b", "c", "d"])
        '4 labels (a, b, c, ...)'
    """
    return f"{len(names)} label{'s' if len(names) != 1 else ''} ({shown_names(names)})"


def shown_names(names: list[str]) -> str:
    """The first three names.

    Example:
        >>> shown_names(["a", "b", "c", "d"])
        'a, b, c, ...'
    """
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
