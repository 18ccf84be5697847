"""A weighted sum with weights that never change."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from taskprism.errors import InputError, UnknownNameError
from taskprism.losses.balancing import Balancing


class FixedWeights(Balancing):
    """``sum_t w_t L_t``, as in PAD-Net and MTI-Net.

    Args:
        weights: Task name -> factor, for every task that will have a loss.

    Raises:
        InputError: A weight is negative.
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        super().__init__()
        self.weights = dict(weights)
        for name, weight in self.weights.items():
            if weight < 0:
                raise InputError(f"The loss weight of task {name!r} is {weight}; give 0 or more.")

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Weighted sum; see :class:`Balancing`."""
        unknown = [name for name in losses if name not in self.weights]
        if unknown:
            raise UnknownNameError("task without a loss weight", unknown[0], self.weights)
        terms = [self.weights[name] * loss for name, loss in losses.items()]
        return sum(terms[1:], start=terms[0])
