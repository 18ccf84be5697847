"""The base class of tasks: everything that is specific to one kind of per-pixel prediction."""

from __future__ import annotations

import dataclasses
import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics import MetricCollection

from taskprism.checks import check_channels, check_choice, check_flag, check_name, check_number
from taskprism.errors import InputError, UnknownNameError
from taskprism.layers import resize
from taskprism.metrics.base import METRICS, add_metrics, create_metric, metric_key
from taskprism.registry import Registry
from taskprism.tasks import losses
from taskprism.tasks.colors import Legend
from taskprism.tasks.diagnostics import Calibration, ClassScores, PixelError
from taskprism.tasks.losses import LabelKind, Loss
from taskprism.tasks.statistics import LabelStatistics
from taskprism.tasks.storage import Storage
from taskprism.tasks.target import DenseTarget

#: Number of classes into which a regression task is sorted where a module needs classes. ATRC
#: (Bruggemann et al., ICCV 2021) attends to regions of the image that are predicted as classes.
CATEGORIES = 40
#: Largest ``loss_weight`` of a task.
HEAVIEST_LOSS = 1e6
_SMALLEST_RANGE = 1e-6  # images whose values are all smaller are not scaled to 1


@dataclass(frozen=True, kw_only=True)
class Task(ABC):
    """One kind of per-pixel prediction.

    A subclass is a frozen dataclass in any module. Decorate it with :func:`register_task` so that
    recipes can name it by its ``kind``. Fields are plain values, which recipes, checkpoints and hub
    configs can store.

    Shapes: ``output`` is a network's raw output ``(B, channels, H, W)``; ``prediction`` is the
    result of :meth:`decode` and ``target`` the label, both ``(B, target_channels, H, W)``;
    ``valid`` is boolean ``(B, 1, H, W)``.

    Attributes:
        name: Key of this task in predictions, targets, tables and file names; unique within a
            model. Letters a to z, digits, ``_`` and ``-``.
        channels: Number of output channels of the network, at least 1.
        loss_weight: Factor of this task's loss in the sum of all losses, at least 0.
        kind: Name of the class in recipes and configs (``create_task(kind)``).
        target_type: Type of the label map, which knows how flips, zooms, rotations and resizes
            change its values.
        target_dtype: Type of the numbers in the label map.
        target_channels: Channels of the label map (1 for class indices).
        label_kind: What the numbers of the label map are, which decides which losses fit:
            ``"classes"``, ``"mask"``, ``"distance"``, ``"direction"`` or ``"values"``.
        default_losses: Losses of a task whose ``losses`` are not given.
        is_depth: Whether the values are distances along the optical axis in meters, from which
            points in space follow.
        hub_tag: The Hugging Face hub's name for such a task.
        primary_metric: Key in :meth:`metrics` that Δm and the choice of the best checkpoint read.
        losses: What :meth:`loss` adds up: the name of a loss of
            :func:`~taskprism.tasks.losses.list_losses`; a mapping from names to weights, or to
            options with a ``weight``, as in ``{"cross_entropy": 1, "focal": {"weight": 0.5,
            "gamma": 1}}``; or a list of :class:`~taskprism.tasks.losses.Loss` objects. By default
            the class's own.
        extra_metrics: Further metrics, added to those of :meth:`metrics`: names of
            :func:`taskprism.metrics.list_metrics`, ``"module:Class"`` or classes.
        scoring_fields: Names of the fields that only change how the task is scored.
        confidence_by_flip: Whether :meth:`confidence` needs the output for the flipped image.

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
    losses: tuple[Loss, ...] = ()

    kind: ClassVar[str]
    target_type: ClassVar[type[DenseTarget]]
    target_dtype: ClassVar[torch.dtype] = torch.float32
    target_channels: ClassVar[int] = 1
    label_kind: ClassVar[LabelKind] = "values"
    default_losses: ClassVar[str] = ""
    is_depth: ClassVar[bool] = False
    hub_tag: ClassVar[str] = "image-to-image"
    scoring_fields: ClassVar[tuple[str, ...]] = ("primary_metric", "extra_metrics")
    confidence_by_flip: ClassVar[bool] = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "metrics" in vars(cls):
            type.__setattr__(cls, "metrics", _complete(cls.metrics))

    def __post_init__(self) -> None:
        check_task_name(self.name)
        check_channels(self._owner, "channels", self.channels)
        check_number(self._owner, "loss_weight", self.loss_weight, 0, HEAVIEST_LOSS)
        for field in dataclasses.fields(self):
            if isinstance(field.default, bool):
                check_flag(self._owner, field.name, getattr(self, field.name))
        if not isinstance(self.primary_metric, str):
            raise InputError(
                f"{self._owner}: primary_metric must be the name of a metric, got "
                f"{self.primary_metric!r}."
            )
        if not isinstance(self.extra_metrics, tuple | list):
            raise InputError(
                f"{self._owner}: extra_metrics must be a list of metrics, got "
                f"{self.extra_metrics!r}."
            )
        names = (m if isinstance(m, str) else METRICS.name_of(m) for m in self.extra_metrics)
        object.__setattr__(self, "extra_metrics", tuple(names))
        for metric in self.extra_metrics:
            METRICS.find(metric)
        given = self.default_losses if self.losses == () else self.losses
        if given != "":
            object.__setattr__(self, "losses", losses.read_losses(self, given))

    @property
    def _owner(self) -> str:
        """The task in error messages."""
        return f"Task {self.name!r}"

    @property
    def higher_is_better(self) -> dict[str, bool]:
        """Whether a higher score is better, by the key of the metric in :meth:`metrics`."""
        return {
            key: bool(metric.higher_is_better)
            for key, metric in self.metrics().items(copy_state=False)
        }

    @property
    def primary_higher_is_better(self) -> bool:
        """Whether a higher score is better in the primary metric.

        Raises:
            UnknownNameError: The task has no metric of that name.
        """
        directions = self.higher_is_better
        if self.primary_metric not in directions:
            raise UnknownNameError(f"metric of task {self.name!r}", self.primary_metric, directions)
        return directions[self.primary_metric]

    def loss(self, output: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """Mean loss over counted pixels, a scalar; exactly 0 (with a graph) if there are none.

        By default the weighted sum of :attr:`losses` of :meth:`loss_inputs`. It is a sum of terms
        that each depend on one image, divided by the number of pixels of :meth:`counted`.
        :class:`~taskprism.losses.Criterion` relies on it to combine the means of several processes.
        See :meth:`for_batch` for losses with a constant from the whole batch.

        Raises:
            InputError: The task has no losses, and its class does not override this method.
        """
        if not self.losses:
            raise InputError(
                f"{self._owner} has no loss. Set its option losses to one of "
                f"{', '.join(losses.list_losses())}, or override the method loss."
            )
        output, target = self.loss_inputs(output, target, valid)
        terms = [each.weight * each(output, target, valid, self) for each in self.losses]
        return sum(terms[1:], start=terms[0])

    def loss_inputs(self, output: Tensor, target: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Output and target as losses compare them; by default both as they are."""
        return output, target

    @property
    def weight_of_positives(self) -> float | None:
        """Weight of positive pixels in losses of masks, in [0, 1]; None: the share of negatives."""
        return None

    @property
    def smallest_value(self) -> float:
        """Distances below it are not told apart by losses of logarithms; above 0."""
        return 1e-3

    def weights_of_classes(self, output: Tensor) -> Tensor | None:
        """Weight of each class in losses, ``(classes,)`` on the device of ``output``; None: 1."""
        return None

    @property
    def needs_label_statistics(self) -> bool:
        """Whether :meth:`for_training` sets constants of the loss from all training labels."""
        return False

    def for_training(self, statistics: Tensor) -> Task:
        """The task with the constants of its loss set from the labels of the training images.

        By default the task itself, for losses without such constants.

        Args:
            statistics: Sum of :meth:`target_statistics` over the training images.
        """
        return self

    def counted(self, target: Tensor, valid: Tensor) -> Tensor:
        """Pixels over which :meth:`loss` is a mean, boolean ``(B, 1, H, W)``; by default all valid.

        Whether pixels of an image are counted must not depend on other images.
        """
        return valid

    def batch_sums(self, target: Tensor, valid: Tensor) -> Tensor:
        """Sums over the labels of a batch that :meth:`for_batch` needs, ``(K,)``; by default none.

        They are added over processes and accumulated batches.
        """
        return torch.zeros(0, device=valid.device)

    def for_batch(self, sums: Sequence[float]) -> Task:
        """The task with the constants of its loss set from the labels of a whole batch.

        By default the task itself, for losses without such constants.

        Args:
            sums: K numbers, the sums of :meth:`batch_sums` over the whole batch.
        """
        return self

    @abstractmethod
    def decode(self, output: Tensor) -> Tensor:
        """Prediction ``(B, target_channels, H, W)`` in the unit of the target, from raw output."""

    def confidence(self, output: Tensor, flipped: Tensor | None = None) -> Tensor:
        """How far a prediction can be trusted, for labels that a network makes.

        By default the agreement of the predictions for the image and for its mirror image,
        ``2 ** (-difference / similar_within)`` with the difference of the target type: 1 where both
        are equal, 0.5 where they differ by 5 % of the depth or by 15 degrees. Classes and masks
        override it with their probability.

        Args:
            output: Raw output ``(B, channels, H, W)``.
            flipped: Raw output for the horizontally flipped images, as the network returns it.
                Tasks whose ``confidence_by_flip`` is False do not need it.

        Returns:
            ``(B, 1, H, W)`` in [0, 1].

        Raises:
            InputError: ``flipped`` is needed.
        """
        if flipped is None:
            raise InputError(
                f"The confidence of {self._owner} needs the output for the flipped image too."
            )
        kind = self.target_type
        mirrored = kind.after_horizontal_flip(self.decode(flipped.flip(-1)))
        difference = kind.difference(self.decode(output).float(), mirrored.float())
        return torch.exp2(-difference / kind.similar_within)

    @property
    def categories(self) -> int:
        """Number of classes for modules that can only work with classes (ATRC).

        By default one per output channel: the raw output is used as class logits.
        """
        return self.channels

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Names of the output channels where they are classes; by default none.

        A head that is trained further on other classes keeps those with the same name.
        """
        return ()

    def with_channels(self, channels: int) -> Task:
        """The same task with another number of output channels, which then have no names."""
        return dataclasses.replace(self, channels=channels)

    def from_categories(self, logits: Tensor) -> Tensor:
        """Raw output ``(B, channels, H, W)`` that class logits ``(B, categories, H, W)`` mean."""
        return logits

    @property
    def normalized_channels(self) -> int:
        """Channels of :meth:`normalized_output` and :meth:`normalized_target`."""
        return self.target_channels

    def normalized_output(self, output: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Prediction as a network can read it, for losses that link tasks (MTPSL).

        By default :meth:`normalize_values` of :meth:`decode`.

        Args:
            output: Raw output ``(B, channels, H, W)``.
            generator: Of random numbers, on the device of ``output``, where the task needs some.

        Returns:
            ``(B, normalized_channels, H, W)`` float, about 0 to 1; gradients flow to ``output``.

        Raises:
            InputError: Labels are integers, and the task does not override this method.
        """
        if not self.target_dtype.is_floating_point:
            raise InputError(
                f"{self._owner} has integer labels, whose prediction has no gradient. Override "
                "normalized_channels, normalized_output and normalized_target."
            )
        return self.normalize_values(self.decode(losses.full_precision(output)))

    def normalized_target(self, target: Tensor, valid: Tensor) -> Tensor:
        """Label in the form of :meth:`normalized_output`.

        By default :meth:`normalize_values`, with 0 as the value of pixels without a label.

        Args:
            target: ``(B, target_channels, H, W)``.
            valid: ``(B, 1, H, W)``.

        Returns:
            ``(B, normalized_channels, H, W)`` float.
        """
        return self.normalize_values(losses.hide(target[:, : self.target_channels], valid))

    def normalize_values(self, values: Tensor) -> Tensor:
        """Values ``(B, C, H, W)`` in the unit of the target as numbers of about 0 to 1.

        By default they are divided by the largest absolute value of their image.
        """
        largest = values.abs().amax(dim=(-3, -2, -1), keepdim=True)
        return values / largest.clamp(min=_SMALLEST_RANGE)

    def resize_output(self, output: Tensor, size: tuple[int, int]) -> Tensor:
        """Resize raw output ``(B, channels, H, W)`` to ``size`` ``(H, W)``, to score it there.

        Class scores are taken from the nearest pixel, everything else is interpolated bilinearly,
        as in the evaluation of ASTMT and MTI-Net. Lengths in pixels change with the width.
        """
        height, width = output.shape[-2:]
        if (height, width) == tuple(size):
            return output
        if self.target_dtype.is_floating_point:
            resized = resize(output, size)
        else:
            resized = functional.interpolate(output, size, mode="nearest")
        return self.target_type.after_resize(resized, size[0] / height, size[1] / width)

    @abstractmethod
    def metrics(self) -> MetricCollection:
        """New metrics, each with ``higher_is_better`` set; keys are the names in tables.

        The result includes ``extra_metrics``, even if a subclass overrides this method.

        States: metrics in one declared compute group
        (``MetricCollection(..., compute_groups=[["a", "b"]])``) share their states, so their
        ``update`` must be the same; otherwise creating them raises an
        :class:`~taskprism.errors.InputError`. Metrics in different groups, or without declared
        groups, never share states, even if these have equal names: the states that are kept for
        each test image have the name of the state in the first group that has it, and
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
                on the scale of its target; by default ``values``.

        Returns:
            ``(H, W, 3)`` uint8 RGB.
        """

    def legend(self, values: Tensor, valid: Tensor | None = None) -> Legend | None:
        """What the colors of :meth:`color` mean, or None if they need no explanation.

        Args:
            values: ``(target_channels, H, W)``, whose range sets the color scale.
            valid: Boolean ``(1, H, W)``.
        """
        return None

    def pixel_errors(self) -> tuple[PixelError, ...]:
        """Ways to measure the error of a pixel; reports draw the first as a map.

        By default the difference of the target type, which for class indices is right or wrong.
        """
        is_miss = not self.target_dtype.is_floating_point
        name = "wrong class" if is_miss else "difference"
        return (PixelError(name, self.target_type.difference, is_miss=is_miss),)

    def class_scores(self, metrics: MetricCollection) -> ClassScores | None:
        """Scores of each class, or None if the task has no classes.

        Args:
            metrics: As :meth:`metrics` returns them, after all images were added.
        """
        return None

    def calibration(self, output: Tensor, target: Tensor) -> Calibration | None:
        """Probabilities that raw output states, or None if it states none.

        Args:
            output: Raw output ``(B, channels, H, W)``.
            target: ``(B, target_channels, H, W)``.
        """
        return None

    def target_statistics(self, target: Tensor, valid: Tensor) -> Tensor:
        """Sums over valid pixels for :meth:`constant_output`; they are added over images.

        Args:
            target: ``(target_channels, H, W)``.
            valid: ``(1, H, W)``.

        Returns:
            ``(K,)`` float64; by default the sum of each channel, then the number of pixels.
        """
        pixels = target.double()[:, valid[0]]
        return torch.cat([pixels.sum(dim=1), pixels.new_tensor([pixels.shape[1]])])

    def constant_output(self, statistics: Tensor) -> Tensor:
        """Raw output of the best constant prediction.

        Args:
            statistics: Sum of :meth:`target_statistics` over the training images.

        Returns:
            ``(channels,)`` float32, for every pixel; by default the mean of the targets.
        """
        return (statistics[:-1] / statistics[-1].clamp(min=1)).float()

    def validate_target(self, target: Tensor, valid: Tensor) -> str | None:
        """Describe what is wrong with a target ``(target_channels, H, W)``; None if nothing is."""
        return None

    def doubts(self, labels: LabelStatistics) -> list[str]:
        """What is implausible about the labels of a data set, although each could be read.

        Args:
            labels: Statistics of all labels, or of many.

        Returns:
            One text per doubt: what was found, in how many files, and the key to set.
        """
        return []

    def empty_target(self, height: int, width: int) -> DenseTarget:
        """Placeholder for a missing label: zeros ``(target_channels, height, width)``."""
        shape = (self.target_channels, height, width)
        return self.target_type(torch.zeros(shape, dtype=self.target_dtype))

    @property
    def storage(self) -> Storage | None:
        """How label files of this task are written; None for arrays (``.npy``) of the values.

        By default class indices are the numbers of a PNG, and everything else is an array.
        """
        if self.target_dtype.is_floating_point or self.target_channels != 1:
            return None
        bits = 8 if self.channels < 256 else 16
        return Storage(missing=2**bits - 1, bits=bits)

    def to_config(self) -> dict[str, Any]:
        """Plain dictionary from which :func:`taskprism.tasks.task_from_config` builds the task.

        ``"kind"`` is the registered name of a built-in class, otherwise ``"module:Class"``.
        """
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        # Fields of later versions are left out at their default, as in earlier files.
        if not self.extra_metrics:
            del fields["extra_metrics"]
        fields["losses"] = losses.losses_to_config(self.losses)
        if not self.losses or self.losses == losses.read_losses(self, self.default_losses):
            del fields["losses"]
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in fields.items()}
        return {"kind": TASKS.name_of(type(self)), **plain}

    def _check_channels(self, *allowed: int) -> None:
        if self.channels not in allowed:
            plural = "" if allowed == (1,) else "s"
            raise InputError(
                f"{self._owner} must have {' or '.join(map(str, allowed))} output channel{plural}, "
                f"got {self.channels}."
            )

    def _check_choice(self, field: str, allowed: tuple[str, ...]) -> None:
        check_choice(f"task {self.name!r}", field, getattr(self, field), allowed)


def check_task_name(name: Any) -> str:
    """Return ``name`` if a task can have it.

    Raises:
        InputError: It does not match :func:`taskprism.checks.check_name`, or PyTorch uses it.

    Example:
        >>> check_task_name("semseg")
        'semseg'
        >>> check_task_name("../semseg")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        taskprism.errors.InputError: Task: name must be ... got '../semseg'.
    """
    check_name("Task", "name", name)
    if name == "training" or hasattr(nn.ModuleDict, name):
        raise InputError(
            f"A task cannot be named {name!r}, because torch.nn.ModuleDict, which holds the layers "
            "of tasks, has an attribute of that name. Choose another name."
        )
    return name


def _complete(metrics: Callable[[Any], MetricCollection]) -> Callable[[Any], MetricCollection]:
    """Wrap the ``metrics`` of a subclass: add ``extra_metrics`` and check shared states."""

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
