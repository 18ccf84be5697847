"""What the labels of many samples hold: ranges, classes, directions."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from taskprism.data.sample import Sample
from taskprism.tasks.base import Task

#: Classes that are level ground; their normals point up.
GROUND = ("floor", "ground", "road", "flat")


@dataclass
class LabelStatistics:
    """Sums over the labels of one task.

    Attributes:
        task: The task.
        images: Images with such a label.
        pixels: Their pixels.
        labeled: Pixels with a label.
        low: Least value.
        high: Greatest value.
        total: Sum of each channel, ``(target_channels,)`` float64.
        classes: Pixels per class, ``(channels,)``; for class maps only.
        ground: Sum of the vectors where the ground is, ``(3,)`` float64; for directions only.
        ground_pixels: How many these are.
    """

    task: Task
    images: int = 0
    pixels: int = 0
    labeled: int = 0
    low: float = float("inf")
    high: float = float("-inf")
    total: Tensor = field(init=False)
    classes: Tensor | None = None
    ground: Tensor = field(default_factory=lambda: torch.zeros(3, dtype=torch.float64))
    ground_pixels: int = 0

    def __post_init__(self) -> None:
        self.total = torch.zeros(self.task.target_channels, dtype=torch.float64)
        if self.counts_classes:
            self.classes = torch.zeros(self.task.channels, dtype=torch.int64)

    @property
    def counts_classes(self) -> bool:
        """Whether labels are class indices."""
        return not self.task.target_dtype.is_floating_point

    @property
    def share(self) -> float:
        """Share of labeled pixels."""
        return self.labeled / max(self.pixels, 1)

    @property
    def mean(self) -> Tensor:
        """Mean of each channel."""
        return self.total / max(self.labeled, 1)

    def absent_classes(self) -> list[str]:
        """Names of the classes that never occur."""
        if self.classes is None:
            return []
        names = getattr(self.task, "class_names", ()) or range(self.task.channels)
        return [
            str(name) for name, count in zip(names, self.classes.tolist(), strict=True) if not count
        ]

    def add(self, sample: Sample, ground: Tensor | None) -> None:
        """Add a sample's label, if it has one.

        Args:
            sample: With labels at their own size.
            ground: Boolean ``(H, W)`` where the ground is, or None if that is unknown.
        """
        if self.task.name not in sample["targets"]:
            return
        # Without what annotators of a test set have drawn.
        target = sample["targets"][self.task.name].as_subclass(Tensor)[: self.task.target_channels]
        valid = sample["valid"][self.task.name].as_subclass(Tensor)[0]
        values = target[:, valid]
        self.images += 1
        self.pixels += valid.numel()
        self.labeled += values.shape[1]
        if not values.numel():
            return
        self.low = min(self.low, float(values.min()))
        self.high = max(self.high, float(values.max()))
        self.total += values.double().sum(dim=1)
        if self.classes is not None:
            self.classes += torch.bincount(values[0], minlength=self.task.channels)
        if (
            self.task.target_type.is_direction
            and ground is not None
            and ground.shape == valid.shape
        ):
            below = target[:, valid & ground]
            self.ground += below.double().sum(dim=1)
            self.ground_pixels += below.shape[1]


def ground_of(sample: Sample, tasks: tuple[Task, ...]) -> Tensor | None:
    """Where a sample's class maps show level ground, boolean ``(H, W)``; None if they cannot."""
    for task in tasks:
        names = getattr(task, "class_names", ())
        wanted = [index for index, name in enumerate(names) if name in GROUND]
        if wanted and task.name in sample["targets"]:
            labels = sample["targets"][task.name].as_subclass(Tensor)[0]
            valid = sample["valid"][task.name].as_subclass(Tensor)[0]
            return torch.isin(labels, torch.tensor(wanted)) & valid
    return None
