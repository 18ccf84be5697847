"""Balancing: losses per task in, one loss out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from taskprism.errors import InputError, UnknownNameError
from taskprism.registry import Registry, check_options, describe_part, options_of


class Balancing(nn.Module, ABC):
    """Combines the losses of the tasks into one loss; a module, so it may have parameters.

    A subclass is created as ``MyBalancing(weights, **options)``, with ``weights`` the loss weight
    of each task by name and flat keyword options that have defaults.

    Attributes:
        name: Name in :data:`BALANCERS`.

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

    @abstractmethod
    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Combine scalar ``losses`` (task name -> loss) into a scalar that keeps their graph."""


#: Every balancing by :attr:`Balancing.name`.
BALANCERS: Registry[Balancing] = Registry(
    "balancer", Balancing, package="taskprism.losses", factories=True
)
register_balancer = BALANCERS.register


@register_balancer
class FixedWeights(Balancing):
    """``sum_t w_t L_t`` with constant weights, as in PAD-Net and MTI-Net.

    Args:
        weights: Task name -> factor, for every task that has a loss.

    Raises:
        InputError: A weight is negative.

    Example:
        >>> import torch
        >>> balancing = FixedWeights({"semseg": 1.0, "depth": 0.5})
        >>> balancing({"semseg": torch.tensor(2.0), "depth": torch.tensor(3.0)})
        tensor(3.5000)
    """

    name: ClassVar[str] = "fixed"

    def __init__(self, weights: Mapping[str, float]) -> None:
        super().__init__()
        self.weights = dict(weights)
        for name, weight in self.weights.items():
            if weight < 0:
                raise InputError(f"The loss weight of task {name!r} is {weight}; give 0 or more.")

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Weighted sum of ``losses``, a scalar."""
        unknown = [name for name in losses if name not in self.weights]
        if unknown:
            raise UnknownNameError("task without a loss weight", unknown[0], self.weights)
        terms = [self.weights[name] * loss for name, loss in losses.items()]
        return sum(terms[1:], start=terms[0])


def list_balancers() -> list[str]:
    """Names that :func:`create_balancer` accepts, in alphabetical order."""
    return BALANCERS.names()


def create_balancer(
    balancer: str | Balancing | type[Balancing], weights: Mapping[str, float], **options: Any
) -> Balancing:
    """Create a balancing.

    Args:
        balancer: One of :func:`list_balancers`, ``"module:Class"``, a class or factory, or a
            balancing, which is returned as it is (its own weights apply).
        weights: Task name -> loss weight.
        **options: Options of the class.

    Raises:
        UnknownNameError: No balancing or option has this name.
        InputError: Options were given for a balancing that is built already.
    """
    if isinstance(balancer, Balancing):
        if options:
            raise InputError(
                f"{type(balancer).__name__} is built already, so {', '.join(options)} cannot be "
                "set; give the class instead."
            )
        return balancer
    found = BALANCERS.find(balancer)
    check_options(f"balancer {describe_part(found)!r}", options, options_of(found))
    return found(weights, **options)
