"""Geometric mean of the losses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from taskprism.errors import InputError
from taskprism.losses.balancing import LossBalancing, register_balancer

_SMALLEST_LOSS = 1e-8


def log_losses(losses: Mapping[str, Tensor]) -> Tensor:
    """Logarithms ``(T,)`` of T losses; a loss below 1e-8 counts as 1e-8 and has no gradient.

    Raises:
        InputError: A loss is negative.

    Example:
        >>> log_losses({"a": torch.tensor(1.0), "b": torch.tensor(2.0)})
        tensor([0.0000, 0.6931])
    """
    values = torch.stack(list(losses.values()))
    if (values < 0).any():
        names = ", ".join(name for name, loss in losses.items() if loss < 0)
        raise InputError(
            f"The loss of {names} is negative, so it has no logarithm. Use another balancing, or a "
            "loss of at least 0."
        )
    return values.clamp_min(_SMALLEST_LOSS).log()


@register_balancer
class GeometricMean(LossBalancing):
    r"""Geometric mean :math:`\prod_t L_t^{a_t}` with :math:`a_t = w_t / \sum_i w_i`.

    Chennupati et al., "MultiNet++: Multi-Stream Feature Aggregation and Geometric Loss Strategy for
    Multi-Task Learning", CVPR Workshops 2019, with equal weights. A loss in another unit gives the
    same gradient up to a factor that is common to all tasks. The mean is over the tasks that are
    labeled in the batch. Losses must not be negative.

    Args:
        weights: Task name -> :math:`w_t`.

    Example:
        >>> import torch
        >>> from taskprism.losses import create_balancer
        >>> balancing = create_balancer("geometric", {"semseg": 1, "depth": 1})
        >>> round(balancing({"semseg": torch.tensor(2.0), "depth": torch.tensor(8.0)}).item(), 4)
        4.0
    """

    name: ClassVar[str] = "geometric"

    def combine(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Weighted geometric mean."""
        logs = log_losses(losses)
        exponents = logs.new_tensor([self.weights[name] for name in losses])
        return (exponents / exponents.sum() * logs).sum().exp()
