"""Sum of logarithms of the losses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from taskprism.losses.balancing import LossBalancing, register_balancer
from taskprism.losses.geometric import log_losses


@register_balancer
class LogSum(LossBalancing):
    r""":math:`\sum_t w_t \log L_t`, whose gradient is :math:`\sum_t w_t \nabla L_t / L_t`.

    Every task has the same influence, whatever the unit and size of its loss; it is uncertainty
    weighting (without its factor 1/2) whose variances are always optimal. The total can be
    negative. Losses must not be: an :class:`~taskprism.errors.InputError` names one that is. A loss
    below 1e-8 has no gradient.

    Args:
        weights: Task name -> :math:`w_t`.

    Example:
        >>> import torch
        >>> from taskprism.losses import create_balancer
        >>> balancing = create_balancer("log_sum", {"semseg": 1, "depth": 1})
        >>> balancing({"semseg": torch.tensor(0.5), "depth": torch.tensor(2.0)}).item()
        0.0
    """

    name: ClassVar[str] = "log_sum"

    def combine(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Weighted sum of logarithms."""
        logs = log_losses(losses)
        return (logs.new_tensor([self.weights[name] for name in losses]) * logs).sum()
