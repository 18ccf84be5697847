"""Random loss weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from taskprism.checks import check_integer
from taskprism.losses.balancing import LossBalancing, register_balancer
from taskprism.losses.draws import MOST_SEED, draw_generator


@register_balancer
class RandomWeights(LossBalancing):
    r"""New random weights in every step (RLW).

    Lin et al., "Reasonable Effectiveness of Random Weighting: A Litmus Test for Multi-Task
    Learning", TMLR 2022: :math:`L = \sum_t w_t \lambda_t L_t` with :math:`\lambda = K\,
    \mathrm{softmax}(z)`, :math:`z \sim N(0, I)`, for K tasks. The factor K, which the paper does
    not have, makes 1 the mean weight, so that the learning rate of fixed weights fits.

    The weights are those of the step: they are equal on all processes and for all accumulated
    batches, and do not depend on which tasks are labeled. They change in :meth:`finish_step`, so
    call it in your own loop.

    Args:
        weights: Task name -> :math:`w_t`.
        seed: Of the draws, 0 or more.

    Example:
        >>> import torch
        >>> from taskprism.losses import create_balancer
        >>> balancing = create_balancer("random", {"semseg": 1, "depth": 1}, seed=3)
        >>> losses = {"semseg": torch.tensor(1.0), "depth": torch.tensor(1.0)}
        >>> round(balancing(losses).item(), 4)  # the weights add up to the number of tasks
        2.0
        >>> balancing.finish_step(losses)
    """

    name: ClassVar[str] = "random"
    linear: ClassVar[bool] = True

    steps: Tensor

    def __init__(
        self,
        weights: Mapping[str, float],
        seed: Annotated[int, Field(ge=0, le=MOST_SEED)] = 0,
    ) -> None:
        super().__init__(weights)
        self.seed = check_integer("RandomWeights", "seed", seed, 0, MOST_SEED)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def task_weights(self) -> Tensor:
        r""":math:`\lambda_t` of each of :attr:`tasks` in this step, ``(T,)`` on the CPU."""
        generator = draw_generator(self.seed, int(self.steps))
        return len(self.tasks) * torch.randn(len(self.tasks), generator=generator).softmax(0)

    def combine(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Weighted sum with the weights of this step."""
        return self.weighted_sum(losses, self.task_weights())

    def finish_step(self, losses: Mapping[str, Tensor]) -> None:
        """Advance to the weights of the next step."""
        self.steps += 1
