"""Dynamic task prioritization."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from taskprism.checks import check_number
from taskprism.losses.balancing import LossBalancing, register_balancer

_SMALLEST_LOSS = 1e-8
_LOWEST_PERFORMANCE = 1e-6  # its logarithm is finite


@register_balancer
class DynamicTaskPriority(LossBalancing):
    r"""Larger weights for tasks that perform worse (DTP).

    Guo et al., "Dynamic Task Prioritization for Multitask Learning", ECCV 2018, eq. 3 to 5: with a
    performance :math:`k_t` in (0, 1] of each task,

    .. math:: L = \sum_t w_t \lambda_t L_t, \quad
        \lambda_t = -(1 - \bar k_t)^\gamma \log \bar k_t, \quad
        \bar k_t \leftarrow \alpha k_t + (1 - \alpha) \bar k_t.

    The paper takes accuracy or average precision as :math:`k_t`. A metric of every task in every
    step would be costly and not every metric is bounded, so here :math:`k_t = \exp(-L_t / L_t(0))`
    with the loss of the task in its first labeled step, :math:`L_t(0)`. It is 0.37 at the start,
    rises to 1 as the loss falls to 0, and does not depend on the unit of the loss. The weights are
    0.63 to the power of :math:`\gamma` at the start and become smaller as all tasks improve.

    :math:`\bar k_t` moves in :meth:`finish_step`, only for tasks that are labeled in the step.

    Args:
        weights: Task name -> :math:`w_t`.
        gamma: :math:`\gamma`, 0 or more: how strongly easy tasks are left behind.
        rate: :math:`\alpha`, above 0 and at most 1: share of the newest performance in the moving
            average.

    Example:
        >>> import torch
        >>> from taskprism.losses import create_balancer
        >>> balancing = create_balancer("dynamic_priority", {"semseg": 1, "depth": 1}, rate=1.0)
        >>> balancing.finish_step({"semseg": torch.tensor(2.0), "depth": torch.tensor(8.0)})
        >>> balancing.finish_step({"semseg": torch.tensor(1.0), "depth": torch.tensor(8.0)})
        >>> [round(each, 3) for each in balancing.task_weights().tolist()]  # depth is behind
        [0.197, 0.632]
    """

    name: ClassVar[str] = "dynamic_priority"
    linear: ClassVar[bool] = True

    first: Tensor
    performance: Tensor
    labeled: Tensor

    def __init__(
        self,
        weights: Mapping[str, float],
        gamma: Annotated[float, Field(ge=0, le=100)] = 1.0,
        rate: Annotated[float, Field(gt=0, le=1)] = 0.05,
    ) -> None:
        super().__init__(weights)
        self.gamma = check_number("DynamicTaskPriority", "gamma", gamma, 0, 100)
        self.rate = check_number("DynamicTaskPriority", "rate", rate, high=1, above=0)
        size = len(self.tasks)
        self.register_buffer("first", torch.ones(size))
        self.register_buffer("performance", torch.full((size,), -1.0).exp())
        self.register_buffer("labeled", torch.zeros(size, dtype=torch.bool))

    def task_weights(self) -> Tensor:
        r""":math:`\lambda_t` of each of :attr:`tasks`, ``(T,)``."""
        return -((1 - self.performance) ** self.gamma) * self.performance.log()

    def combine(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Weighted sum with the current weights."""
        return self.weighted_sum(losses, self.task_weights())

    def finish_step(self, losses: Mapping[str, Tensor]) -> None:
        """Update the performance of the labeled tasks."""
        losses = self.active(losses)
        if not losses:
            return
        places = self.places(losses)
        values = torch.stack([loss.detach().float() for loss in losses.values()])
        values = values.to(self.first.device)
        self.first[places] = torch.where(self.labeled[places], self.first[places], values)
        self.labeled[places] = True
        newest = (-values / self.first[places].clamp_min(_SMALLEST_LOSS)).exp()
        average = torch.lerp(self.performance[places], newest, self.rate)
        self.performance[places] = average.clamp(_LOWEST_PERFORMANCE, 1)
