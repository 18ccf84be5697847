"""Uncertainty weighting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from taskprism.losses.balancing import LossBalancing, register_balancer


@register_balancer
class UncertaintyWeights(LossBalancing):
    r"""Learned variances: :math:`\sum_t w_t \frac{1}{2} (e^{-s_t} L_t + s_t)`.

    Kendall, Gal and Cipolla, "Multi-Task Learning Using Uncertainty to Weigh Losses for Scene
    Geometry and Semantics", CVPR 2018, with :math:`s_t = \log \sigma_t^2`. The paper derives
    :math:`L / (2 \sigma^2) + \log \sigma` for regression (eq. 5) and :math:`L / \sigma^2 + \log
    \sigma` for classification (eq. 10). Here, as in common practice, all tasks have the first form.
    At its optimum :math:`\sigma_t^2 = L_t`; the second form only doubles :math:`\sigma_t^2`.

    The :math:`s_t` are parameters of this module, which start at 0: give them to your optimizer.
    The optimizer of a recipe updates them with the learning rate and weight decay of the heads. The
    variance of a task that is missing gets no gradient, so it does not move.

    Args:
        weights: Task name -> :math:`w_t`.

    Example:
        >>> import torch
        >>> from taskprism.losses import create_balancer
        >>> balancing = create_balancer("uncertainty", {"semseg": 1, "depth": 1})
        >>> balancing({"semseg": torch.tensor(2.0), "depth": torch.tensor(4.0)}).item()
        3.0
    """

    name: ClassVar[str] = "uncertainty"
    linear: ClassVar[bool] = True

    def __init__(self, weights: Mapping[str, float]) -> None:
        super().__init__(weights)
        # One parameter per task: in a joint vector, momentum would move that of a missing task.
        self.log_variances = nn.ParameterList([torch.zeros(()) for _ in self.tasks])

    def combine(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Weighted sum with the current variances."""
        terms = []
        for place, (name, loss) in zip(self.places(losses), losses.items(), strict=True):
            log_variance = self.log_variances[place]
            terms.append(self.weights[name] * ((-log_variance).exp() * loss + log_variance) / 2)
        return torch.stack(terms).sum()
