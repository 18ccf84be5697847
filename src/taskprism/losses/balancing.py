"""Balancing: combine the losses of all tasks into one loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from taskprism.checks import check_number
from taskprism.errors import InputError, UnknownNameError
from taskprism.options import read_options
from taskprism.registry import Registry, check_options, describe_part, options_of
from taskprism.tasks.base import HEAVIEST_LOSS

T = TypeVar("T")


def check_weights(weights: Mapping[str, float]) -> dict[str, float]:
    """Loss weights as a dictionary of floats.

    Raises:
        InputError: ``weights`` is not a mapping, a weight is not from 0 to a million, or all
            weights are 0.

    Example:
        >>> from taskprism.losses import check_weights
        >>> check_weights({"semseg": 1, "depth": 0})
        {'semseg': 1.0, 'depth': 0.0}
    """
    if not isinstance(weights, Mapping) or not weights:
        raise InputError(f"Loss weights must map task names to numbers, got {weights!r}.")
    checked = {
        name: check_number("Loss weights", repr(name), weight, 0, HEAVIEST_LOSS)
        for name, weight in weights.items()
    }
    if not any(checked.values()):
        raise InputError(
            f"The loss weights of all tasks ({', '.join(map(str, checked))}) are 0, so nothing "
            "would be learned. Give at least one task a weight greater than 0."
        )
    return checked


class Balancing(nn.Module, ABC):
    """Combines the losses of the tasks into one loss. It is a module, so it may have parameters.

    A subclass is created as ``MyBalancing(weights, **options)``, where ``weights`` is the loss
    weight of each task by name and options are flat keyword arguments with defaults. Everything
    that changes during training is a parameter, a buffer, or part of ``get_extra_state``, so that
    ``state_dict()`` in a checkpoint resumes exactly. Random numbers come from a generator that is
    seeded by an option and the number of the step, so that all processes draw the same ones.

    A training loop calls :meth:`forward` for each batch, :meth:`finish_step` after each step of the
    optimizer, and :meth:`finish_epoch` after each epoch.

    Attributes:
        name: Name in :data:`BALANCERS`.
        linear: Whether :meth:`forward` is a linear function of the losses, or one plus a constant,
            as long as the state does not change. The sum over accumulated batches is then exactly
            the loss of one large batch. Otherwise :meth:`forward` combines the losses of each batch
            by itself.

    Example:
        >>> import torch
        >>> from taskprism.losses import Balancing, register_balancer
        >>> @register_balancer
        ... class LargestLoss(Balancing):
        ...     name = "largest_loss"
        ...     def __init__(self, weights):
        ...         super().__init__()
        ...         self.weights = weights
        ...     def forward(self, losses):
        ...         return torch.stack([self.weights[t] * loss for t, loss in losses.items()]).max()
        >>> LargestLoss({"a": 1.0, "b": 2.0})({"a": torch.tensor(3.0), "b": torch.tensor(2.0)})
        tensor(4.)
    """

    name: ClassVar[str]
    linear: ClassVar[bool] = False

    @abstractmethod
    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Combine the losses into a scalar that keeps their graph.

        Args:
            losses: Task name -> scalar, for at least one task. A task without a label in the batch
                of any process is left out. The order is the same in every call. The value of a loss
                is that over the labels of all processes. Its gradient is the share of this process:
                the mean of the gradients over processes is the gradient of the value.
        """

    def finish_step(self, losses: Mapping[str, Tensor]) -> None:
        """Update the state that follows the steps. By default nothing.

        Args:
            losses: Task name -> scalar without graph, over the labels of all processes and
                accumulated batches; only tasks that have labels there, maybe none.
        """

    def finish_epoch(self, means: Mapping[str, float]) -> None:
        """Update the state that follows the epochs. By default nothing.

        Args:
            means: Task name -> mean loss of the epoch, the same on all processes; only tasks that
                had labels.
        """


#: Every balancing by :attr:`Balancing.name`.
BALANCERS: Registry[Balancing] = Registry(
    "balancer", Balancing, package="taskprism.losses", factories=True
)
register_balancer = BALANCERS.register


class LossBalancing(Balancing):
    """Base of balancings that need the values of the losses only.

    A subclass defines :meth:`combine`. It never sees a task whose weight is 0.

    Args:
        weights: Task name -> factor, for every task that has a loss; see :func:`check_weights`.

    Attributes:
        weights: The factors.
        tasks: Names of the tasks with a weight greater than 0.

    Raises:
        InputError: A weight is out of range, or all are 0.

    Example:
        >>> import torch
        >>> from taskprism.losses import LossBalancing
        >>> class LargestLoss(LossBalancing):
        ...     name = "largest_loss"
        ...     def combine(self, losses):
        ...         return torch.stack([self.weights[t] * loss for t, loss in losses.items()]).max()
        >>> LargestLoss({"a": 1.0, "b": 0.0})({"a": torch.tensor(3.0), "b": torch.tensor(9.0)})
        tensor(3.)
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        super().__init__()
        self.weights = check_weights(weights)
        self.tasks = [name for name, weight in self.weights.items() if weight > 0]

    @abstractmethod
    def combine(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Combine the losses of at least one task of :attr:`tasks` into a scalar."""

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Combine ``losses`` into a scalar; see :meth:`Balancing.forward`.

        Raises:
            InputError: There is no loss.
            UnknownNameError: A task has no weight.
        """
        if not losses:
            raise InputError("Expected the loss of at least one task, got none.")
        unknown = [name for name in losses if name not in self.weights]
        if unknown:
            raise UnknownNameError("task without a loss weight", unknown[0], self.weights)
        active = self.active(losses)
        # Every loss stays in the graph, so that all processes reach the same parameters.
        parts = [0 * loss for name, loss in losses.items() if name not in active]
        if active:
            parts.append(self.combine(active))
        return sum(parts[1:], start=parts[0])

    def active(self, losses: Mapping[str, T]) -> dict[str, T]:
        """The entries of :attr:`tasks`."""
        return {name: loss for name, loss in losses.items() if name in self.tasks}

    def weighted_sum(self, losses: Mapping[str, Tensor], factors: Tensor) -> Tensor:
        """``sum_t w_t f_t L_t`` with one factor for each of :attr:`tasks`, ``(T,)``."""
        terms = [
            self.weights[name] * factors[place] * loss
            for place, (name, loss) in zip(self.places(losses), losses.items(), strict=True)
        ]
        return torch.stack(terms).sum()

    def places(self, losses: Mapping[str, Any]) -> list[int]:
        """Place in :attr:`tasks` of each entry, which is its place in buffers."""
        return [self.tasks.index(name) for name in losses]


@register_balancer
class FixedWeights(LossBalancing):
    """``sum_t w_t L_t`` with constant weights, as in PAD-Net and MTI-Net.

    Args:
        weights: Task name -> factor, for every task that has a loss. 0 to a million, at least one
            greater than 0.

    Raises:
        InputError: A weight is out of range, or all are 0.

    Example:
        >>> import torch
        >>> balancing = FixedWeights({"semseg": 1.0, "depth": 0.5})
        >>> balancing({"semseg": torch.tensor(2.0), "depth": torch.tensor(3.0)})
        tensor(3.5000)
    """

    name: ClassVar[str] = "fixed"
    linear: ClassVar[bool] = True

    def combine(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Weighted sum."""
        terms = [self.weights[name] * loss for name, loss in losses.items()]
        return sum(terms[1:], start=terms[0])


def list_balancers() -> list[str]:
    """Names that :func:`create_balancer` accepts, in alphabetical order.

    Example:
        >>> from taskprism.losses import list_balancers
        >>> "fixed" in list_balancers()
        True
    """
    return BALANCERS.names()


def create_balancer(
    balancer: str | Balancing | type[Balancing], weights: Mapping[str, float], **options: Any
) -> Balancing:
    """Create a balancing.

    Args:
        balancer: One of :func:`list_balancers`, ``"module:Class"``, a class or factory, or an
            instance, which is returned as it is and keeps its own weights.
        weights: Task name -> loss weight; see :func:`check_weights`.
        **options: Options of the class.

    Raises:
        UnknownNameError: No balancing or option has this name.
        InputError: A weight is out of range, all weights are 0, options were given for an instance,
            or the factory does not return a balancing.

    Example:
        >>> from taskprism.losses import create_balancer
        >>> create_balancer("fixed", {"semseg": 1, "depth": 0.5}).weights
        {'semseg': 1.0, 'depth': 0.5}
    """
    if isinstance(balancer, Balancing):
        if options:
            raise InputError(
                f"{type(balancer).__name__} is an instance, so {', '.join(options)} cannot be set; "
                "give the class instead."
            )
        return balancer
    found = BALANCERS.find(balancer)
    name = balancer if isinstance(balancer, str) else describe_part(found)
    check_options(f"balancer {name!r}", options, options_of(found))
    options = read_options(f"Balancer {name!r}", options, found)
    created = found(check_weights(weights), **options)
    if not isinstance(created, Balancing):
        raise InputError(f"Expected a Balancing from the factory, got {type(created).__name__}.")
    return created
