"""The base class of losses, their registry, and how the options of a task name them."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from torch import Tensor

from taskprism.checks import check_number
from taskprism.errors import InputError
from taskprism.options import read_options
from taskprism.registry import Registry, check_options, options_of

if TYPE_CHECKING:
    from taskprism.tasks.base import Task

#: What the numbers of a label map are: class indices, 0 and 1, distances >= 0, unit vectors, or
#: any other numbers.
LabelKind = Literal["classes", "mask", "distance", "direction", "values"]

_HEAVIEST = 1e6


class LossTask(Protocol):
    """What a loss may ask of the task whose output it judges; every ``Task`` has it.

    Example:
        >>> from taskprism.tasks import create_task
        >>> create_task("edge").label_kind
        'mask'
    """

    label_kind: ClassVar[LabelKind]

    @property
    def weight_of_positives(self) -> float | None:
        """Weight of positive pixels of a mask, or None for the share of negatives."""
        ...

    @property
    def smallest_value(self) -> float:
        """Distances below it are not told apart."""
        ...

    def weights_of_classes(self, output: Tensor) -> Tensor | None:
        """Weight of each class on the device of ``output``; None: all 1."""
        ...


@dataclass(frozen=True, kw_only=True)
class Loss(ABC):
    """One loss of dense prediction; a task adds up those that its option ``losses`` names.

    A subclass is a frozen dataclass in any module, and its fields are its options. Decorate it with
    :func:`register_loss` so that recipes can name it. Call it with ``output`` ``(B, C, H, W)``,
    ``target`` and boolean ``valid`` ``(B, 1, H, W)``. The result is a scalar: a sum of terms that
    each depend on one image only, divided by the number of valid pixels of all images. So the
    losses of several processes and accumulated batches add up exactly. A loss per image is made a
    mean with :func:`~taskprism.tasks.losses.image_mean`. Each loss guarantees:

    * values at invalid pixels of output or target, even infinite or NaN, change nothing;
    * if no pixel is valid, the loss is exactly 0, still has a graph, and its gradient is 0;
    * the computation is in float32 (float64 if the output is), also under autocast.

    :func:`~taskprism.tasks.losses.hide` and :func:`~taskprism.tasks.losses.masked_mean` do this.

    Attributes:
        weight: Factor of the loss in the sum, above 0 and at most a million.
        name: Name in :data:`LOSSES`.
        label_kinds: Kinds of labels that the loss can judge, see ``Task.label_kind``.

    Example:
        >>> from dataclasses import dataclass
        >>> from taskprism.tasks import create_task, register_loss
        >>> from taskprism.tasks.losses import Loss, hide, masked_mean
        >>> @register_loss
        ... @dataclass(frozen=True, kw_only=True)
        ... class SquaredError(Loss):
        ...     name = "squared_error"
        ...     label_kinds = ("values", "distance")
        ...     def __call__(self, output, target, valid, task):
        ...         return masked_mean((hide(output, valid) - hide(target, valid)) ** 2, valid)
        >>> create_task("depth", losses={"l1": 1, "squared_error": 0.5}).losses
        (L1(weight=1.0), SquaredError(weight=0.5))
    """

    weight: float = 1.0

    name: ClassVar[str]
    label_kinds: ClassVar[tuple[LabelKind, ...]]

    def __post_init__(self) -> None:
        owner = f"Loss {self.name!r}"
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        for field, value in read_options(owner, values, type(self)).items():
            object.__setattr__(self, field, value)
        check_number(owner, "weight", self.weight, 0, _HEAVIEST, above=0)

    @abstractmethod
    def __call__(self, output: Tensor, target: Tensor, valid: Tensor, task: LossTask) -> Tensor:
        """The loss, a scalar; see the class.

        Args:
            output: ``(B, C, H, W)``: logits of classes, the one logit of a mask, unit vectors for
                directions, and for everything else the values in the unit of the label.
            target: ``(B, target_channels, H, W)``.
            valid: Boolean ``(B, 1, H, W)``.
            task: The task, whose options a loss may read.
        """


#: Every loss by :attr:`Loss.name`.
LOSSES: Registry[Loss] = Registry("loss", Loss, package="taskprism.tasks.losses")
register_loss = LOSSES.register


def list_losses() -> list[str]:
    """Names that the option ``losses`` of a task accepts, in alphabetical order.

    Example:
        >>> "dice" in list_losses()
        True
    """
    return LOSSES.names()


def read_losses(task: Task, losses: Any) -> tuple[Loss, ...]:
    """The losses that the option ``losses`` of a task names.

    Args:
        task: The task.
        losses: A name or ``"module:Class"``; a mapping from these to a weight, or to the options of
            the loss with its ``weight``; a loss; or a list of losses and names.

    Raises:
        UnknownNameError: There is no such loss or option.
        InputError: A value is not allowed, or the loss does not fit the labels of the task.

    Example:
        >>> from taskprism.tasks import create_task
        >>> create_task("saliency", losses={"dice": 0.5, "focal": {"gamma": 1}}).losses
        (Dice(weight=0.5, smooth=1.0), Focal(weight=1.0, gamma=1.0))
    """
    owner = f"Task {task.name!r}"
    if isinstance(losses, str | Loss):
        losses = [losses]
    if isinstance(losses, Mapping):
        created = [_create(owner, name, options) for name, options in losses.items()]
    elif isinstance(losses, Sequence):
        created = [each if isinstance(each, Loss) else _create(owner, each, 1) for each in losses]
    else:
        raise InputError(
            f"{owner}: losses must be a name, or a mapping of names to weights, got {losses!r}."
        )
    names = [type(loss) for loss in created]
    if len(set(names)) < len(names):
        raise InputError(f"{owner}: losses must name each loss once, got {losses!r}.")
    for loss in created:
        if task.label_kind not in loss.label_kinds:
            fitting = [each.name for each in LOSSES.entries() if _fits(each.part, task)]
            raise InputError(
                f"{owner}: the loss {loss.name!r} is for {' and '.join(loss.label_kinds)} labels, "
                f"but the labels of this task are {task.label_kind}. Losses for it: "
                f"{', '.join(fitting)}."
            )
    return tuple(created)


def _fits(loss: type[Loss], task: Task) -> bool:
    return task.label_kind in loss.label_kinds


def _create(owner: str, name: Any, options: Any) -> Loss:
    if not isinstance(name, str):
        raise InputError(f"{owner}: losses must name losses, got {name!r}.")
    found = LOSSES.find(name)
    if not isinstance(options, Mapping):
        options = {"weight": options}
    check_options(f"loss {name!r}", options, options_of(found))
    return found(**options)


def losses_to_config(losses: Sequence[Loss]) -> dict[str, Any]:
    """Mapping from which :func:`read_losses` makes the same losses.

    Example:
        >>> from taskprism.tasks import create_task
        >>> losses_to_config(create_task("semseg", 3, losses={"focal": 1, "dice": 2}).losses)
        {'focal': {'weight': 1.0, 'gamma': 2.0}, 'dice': {'weight': 2.0, 'smooth': 1.0}}
    """
    config: dict[str, Any] = {}
    for loss in losses:
        fields = {field.name: getattr(loss, field.name) for field in dataclasses.fields(loss)}
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in fields.items()}
        config[LOSSES.name_of(type(loss))] = plain if len(plain) > 1 else plain["weight"]
    return config


def check_saved_losses(losses: Any) -> None:
    """Check that losses of a file are registered or imported already; nothing is imported.

    Raises:
        TaskprismError: One is not.

    Example:
        >>> check_saved_losses({"dice": 0.5})
    """
    names = [losses] if isinstance(losses, str) else losses
    for name in names if isinstance(names, Mapping | list | tuple) else ():
        if isinstance(name, str):
            LOSSES.find_saved(name)


__all__ = [
    "LOSSES",
    "LabelKind",
    "Loss",
    "LossTask",
    "check_saved_losses",
    "list_losses",
    "losses_to_config",
    "read_losses",
    "register_loss",
]
