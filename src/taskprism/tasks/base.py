"""What a task is: one object that owns everything special to one kind of per-pixel prediction."""

from __future__ import annotations

import dataclasses
import functools
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torchmetrics import MetricCollection

from taskprism.errors import InputError, UnknownNameError
from taskprism.metrics.base import METRICS, add_metrics, create_metric, metric_key
from taskprism.registry import Registry
from taskprism.tasks.colors import Legend
from taskprism.tasks.target import DenseTarget

#: Number of classes into which a regression task is sorted where a module needs classes. ATRC
#: (Bruggemann et al., ICCV 2021) attends to regions of the image that are predicted as classes.
CATEGORIES = 40


@dataclass(frozen=True, kw_only=True)
class Task(ABC):
    """One thing predicted per pixel.

    A subclass is a frozen dataclass, in any module, decorated with :func:`register_task` if it is
    to be found by its ``kind``. Fields are plain values, which recipes, checkpoints and hub configs
    can store.

    Shapes: ``output`` is a network's raw output ``(B, channels, H, W)``; ``prediction`` is the
    result of :meth:`decode` and ``target`` the label, both ``(B, target_channels, H, W)``;
    ``valid`` is boolean ``(B, 1, H, W)``.

    Attributes:
        name: Key of this task in predictions, targets and tables; unique within a model.
        channels: Number of output channels of the network.
        loss_weight: Factor of this task's loss in the sum of all losses.
        kind: Name of the class in recipes and configs (``create_task(kind)``).
        target_type: Type of this task's label map; it owns flips, zooms, rotations and resizes.
        target_dtype: Type of the numbers in the label map.
        target_channels: Channels of the label map (1 for class indices).
        primary_metric: Key in :meth:`metrics` that Δm and "best checkpoint" read.
        extra_metrics: Further metrics, added to those of :meth:`metrics`: names of
            :func:`taskprism.metrics.list_metrics`, ``"module:Class"`` or classes.
        scoring_fields: Names of the fields that only change how the task is scored.

    Raises:
        InputError: A field has a value that is not allowed.
        UnknownNameError: ``extra_metrics`` names a metric that does not exist.

    Example:
        >>> from dataclasses import dataclass
        >>> from taskprism.tasks import Depth, register_task
        >>> @register_task
        ... @dataclass(frozen=True, kw_only=True)
        ... class Thickness(Depth):
        ...     name: str = "thickness"
        ...     kind = "thickness"
        >>> Thickness(loss_weight=2.0).primary_metric
        'rmse'
    """

    name: str
    channels: int
    loss_weight: float = 1.0
    primary_metric: str
    extra_metrics: tuple[str, ...] = ()

    kind: ClassVar[str]
    target_type: ClassVar[type[DenseTarget]]
    target_dtype: ClassVar[torch.dtype] = torch.float32
    target_channels: ClassVar[int] = 1
    scoring_fields: ClassVar[tuple[str, ...]] = ("primary_metric", "extra_metrics")

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "metrics" in vars(cls):
            type.__setattr__(cls, "metrics", _complete(cls.metrics))

    def __post_init__(self) -> None:
        names = (m if isinstance(m, str) else METRICS.name_of(m) for m in self.extra_metrics)
        object.__setattr__(self, "extra_metrics", tuple(names))
        for metric in self.extra_metrics:
            METRICS.find(metric)
        if self.channels < 1:
            raise InputError(
                f"Task {self.name!r} needs at least 1 output channel, got {self.channels}."
            )

    @property
    def higher_is_better(self) -> dict[str, bool]:
        """Direction of every metric, by its key in :meth:`metrics`."""
        return {
            key: bool(metric.higher_is_better)
            for key, metric in self.metrics().items(copy_state=False)
        }

    @property
    def primary_higher_is_better(self) -> bool:
        """Direction of the primary metric.

        Raises:
            UnknownNameError: If the task has no metric of that name.
        """
        directions = self.higher_is_better
        if self.primary_metric not in directions:
            raise UnknownNameError(f"metric of task {self.name!r}", self.primary_metric, directions)
        return directions[self.primary_metric]

    @abstractmethod
    def loss(self, output: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """Mean loss over valid pixels, a scalar; exactly 0 (with a graph) if none is valid."""

    @abstractmethod
    def decode(self, output: Tensor) -> Tensor:
        """Raw output -> prediction in the target's units."""

    @property
    def categories(self) -> int:
        """Number of classes into which pixels are sorted where only classes will do (ATRC).

        By default one per output channel, so that the raw output is taken for class logits.
        """
        return self.channels

    def from_categories(self, logits: Tensor) -> Tensor:
        """Class logits ``(B, categories, H, W)`` -> the raw output that they amount to."""
        return logits

    def resize_output(self, output: Tensor, size: tuple[int, int]) -> Tensor:
        """Raw output ``(B, channels, H, W)`` at another ``(H, W)``, to be scored there.

        Class scores are taken from the nearest pixel, everything else is interpolated bilinearly,
        as in the evaluation of ASTMT and MTI-Net; lengths in pixels change with the width.
        """
        height, width = output.shape[-2:]
        if (height, width) == tuple(size):
            return output
        if self.target_dtype.is_floating_point:
            resized = functional.interpolate(output, size, mode="bilinear", align_corners=False)
        else:
            resized = functional.interpolate(output, size, mode="nearest")
        return self.target_type.after_resize(resized, size[0] / height, size[1] / width)

    @abstractmethod
    def metrics(self) -> MetricCollection:
        """New metrics, each with ``higher_is_better`` set; keys are the names in tables.

        The result holds ``extra_metrics`` too, also where a subclass overrides this method.

        States: metrics in one declared compute group
        (``MetricCollection(..., compute_groups=[["a", "b"]])``) share their states, so their
        ``update`` must be the same; otherwise creating them raises an
        :class:`~taskprism.errors.InputError`. Metrics in different groups, or without declared
        groups, never share states, whatever the names of these are: the states that are kept for
        each test image are named after the state in the first group that has it, and
        ``"KEY.STATE"`` in the others (:func:`taskprism.metrics.base.state_names`).
        """

    def update_metrics(
        self, metrics: MetricCollection, output: Tensor, target: Tensor, valid: Tensor
    ) -> None:
        """Add a batch to ``metrics``; images without any valid pixel add nothing."""
        metrics.update(self.decode(output), target, valid)

    @abstractmethod
    def color(
        self, values: Tensor, valid: Tensor | None = None, reference: Tensor | None = None
    ) -> np.ndarray:
        """Picture of a prediction or target.

        Args:
            values: ``(target_channels, H, W)`` in the target's units.
            valid: Boolean ``(1, H, W)``; other pixels are drawn black.
            reference: Values whose range sets the color scale, so that a prediction can be drawn
                on its target's scale; by default ``values`` themselves.

        Returns:
            ``(H, W, 3)`` uint8 RGB.
        """

    def legend(self, values: Tensor, valid: Tensor | None = None) -> Legend | None:
        """What the colors of :meth:`color` mean, or None if they speak for themselves.

        Args:
            values: ``(target_channels, H, W)``: what set the color scale.
            valid: Boolean ``(1, H, W)``.
        """
        return None

    def target_statistics(self, target: Tensor, valid: Tensor) -> Tensor:
        """Sums over valid pixels that :meth:`constant_output` needs; additive over images.

        Args:
            target: ``(target_channels, H, W)``.
            valid: ``(1, H, W)``.

        Returns:
            ``(K,)`` float64; by default the sum of each channel, then the number of pixels.
        """
        pixels = target.double()[:, valid[0]]
        return torch.cat([pixels.sum(dim=1), pixels.new_tensor([pixels.shape[1]])])

    def constant_output(self, statistics: Tensor) -> Tensor:
        """Raw output that ignores the image: the best guess from training labels alone.

        Args:
            statistics: Sum of :meth:`target_statistics` over training images.

        Returns:
            ``(channels,)`` float32 raw output, the same at every pixel; by default the mean target.
        """
        return (statistics[:-1] / statistics[-1].clamp(min=1)).float()

    def validate_target(self, target: Tensor, valid: Tensor) -> str | None:
        """Say what is wrong with a target ``(target_channels, H, W)``, or None if nothing is."""
        return None

    def empty_target(self, height: int, width: int) -> DenseTarget:
        """Stand-in for a missing label: zeros ``(target_channels, height, width)``."""
        shape = (self.target_channels, height, width)
        return self.target_type(torch.zeros(shape, dtype=self.target_dtype))

    def to_config(self) -> dict[str, Any]:
        """Plain dictionary from which :func:`taskprism.tasks.task_from_config` recreates the task.

        ``"kind"`` is the registered name of a built-in class, otherwise ``"module:Class"``.
        """
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        if not self.extra_metrics:
            del fields["extra_metrics"]  # as in the files of versions that had no such field
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in fields.items()}
        return {"kind": TASKS.name_of(type(self)), **plain}

    def _check_channels(self, *allowed: int) -> None:
        if self.channels not in allowed:
            raise InputError(
                f"Task {self.name!r} has {' or '.join(map(str, allowed))} output channels, "
                f"not {self.channels}."
            )

    def _check_choice(self, field: str, allowed: tuple[str, ...]) -> None:
        value = getattr(self, field)
        if value not in allowed:
            raise UnknownNameError(f"{field} of task {self.name!r}", value, allowed)


def _complete(metrics: Callable[[Any], MetricCollection]) -> Callable[[Any], MetricCollection]:
    """A subclass's :meth:`Task.metrics` that adds ``extra_metrics`` and checks shared states."""

    @functools.wraps(metrics)
    def complete(self: Task) -> MetricCollection:
        collection = metrics(self)
        if type(self).metrics is not complete:  # called with super(): the outermost call adds
            return collection
        extra = {metric_key(m): create_metric(m, self) for m in self.extra_metrics}
        return add_metrics(collection, extra)

    return complete


#: Every kind of task by :attr:`Task.kind`.
TASKS: Registry[Task] = Registry("task", Task, key="kind", package="taskprism.tasks")
register_task = TASKS.register
