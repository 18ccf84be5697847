"""Dynamic weight averaging."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from taskprism.checks import check_number
from taskprism.losses.balancing import LossBalancing, register_balancer

_SMALLEST_LOSS = 1e-8


@register_balancer
class DynamicWeightAverage(LossBalancing):
    r"""Weights from how fast each loss fell from epoch to epoch (DWA).

    Liu, Johns and Davison, "End-to-End Multi-Task Learning with Attention", CVPR 2019, eq. 7: with
    the mean losses :math:`\bar L_t` of the last two epochs and the number of tasks K,

    .. math:: r_t = \bar L_t(k - 1) / \bar L_t(k - 2), \quad
        \lambda_t = K \frac{\exp(r_t / \tau)}{\sum_i \exp(r_i / \tau)}, \quad
        L = \sum_t w_t \lambda_t L_t.

    :math:`r_t = 1` until a task has been labeled in two epochs. An epoch without labels of a task
    does not count for that task. The weights change in :meth:`finish_epoch`.

    Args:
        weights: Task name -> :math:`w_t`.
        temperature: :math:`\tau` > 0: the larger, the more equal are the weights.

    Example:
        >>> import torch
        >>> from taskprism.losses import create_balancer
        >>> balancing = create_balancer("dwa", {"semseg": 1, "depth": 1})
        >>> balancing.finish_epoch({"semseg": 2.0, "depth": 1.0})
        >>> balancing.finish_epoch({"semseg": 1.0, "depth": 1.0})  # depth did not improve
        >>> [round(each, 3) for each in balancing.task_weights().tolist()]
        [0.876, 1.124]
    """

    name: ClassVar[str] = "dwa"
    linear: ClassVar[bool] = True

    means: Tensor
    epochs: Tensor

    def __init__(
        self,
        weights: Mapping[str, float],
        temperature: Annotated[float, Field(gt=0, le=1e6)] = 2.0,
    ) -> None:
        super().__init__(weights)
        check_number("DynamicWeightAverage", "temperature", temperature, high=1e6, above=0)
        self.temperature = temperature
        self.register_buffer("means", torch.ones(len(self.tasks), 2))  # the older one first
        self.register_buffer("epochs", torch.zeros(len(self.tasks), dtype=torch.int64))

    def task_weights(self) -> Tensor:
        r""":math:`\lambda_t` of each of :attr:`tasks`, ``(T,)``; their sum is T."""
        older, newer = self.means.clamp_min(_SMALLEST_LOSS).unbind(1)
        ratios = torch.where(self.epochs > 1, newer / older, 1.0)
        return len(self.tasks) * (ratios / self.temperature).softmax(0)

    def combine(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Weighted sum with the weights of this epoch."""
        return self.weighted_sum(losses, self.task_weights())

    def finish_epoch(self, means: Mapping[str, float]) -> None:
        """Remember the mean losses of the last two epochs of each task."""
        means = self.active(means)
        for place, mean in zip(self.places(means), means.values(), strict=True):
            if math.isfinite(mean):
                self.means[place, 0] = self.means[place, 1].clone()
                self.means[place, 1] = mean
                self.epochs[place] += 1
