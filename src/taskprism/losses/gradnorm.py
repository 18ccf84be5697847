"""GradNorm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from taskprism.checks import check_number
from taskprism.losses.balancing import register_balancer
from taskprism.losses.gradient_balancing import GradientBalancing, Where

_SMALLEST_LOSS = 1e-8
_SMALLEST_WEIGHT = 1e-3  # weights stay positive


@register_balancer
class GradNorm(GradientBalancing):
    r"""Loss weights with which all tasks train at similar rates.

    Chen et al., "GradNorm: Gradient Normalization for Adaptive Loss Balancing in Deep Multitask
    Networks", ICML 2018. The loss is :math:`\sum_t w_t \lambda_t L_t`. With
    :math:`n_t = \lambda_t \|\nabla L_t\|`, the norm of a task's gradient, and its inverse training
    rate :math:`r_t = \frac{L_t / L_t(0)}{\mathrm{mean}_i\, L_i / L_i(0)}`, the weights follow the
    negative gradient of

    .. math:: \sum_t | n_t - \mathrm{mean}_i(n_i)\, r_t^\alpha |

    with the right-hand term held constant (eq. 2), and are scaled so that they add up to the number
    of tasks. Two choices of this implementation: the gradient is divided by the mean of
    :math:`\|\nabla L_t\|`, so that ``rate`` does not depend on the scale of the losses, and no
    weight falls below 0.001.

    The paper measures the norms at the weights of the last shared layer. Here it is at the shared
    features (the cheapest), or at all shared parameters. The weights change in :meth:`backward`,
    once per batch, by what the labeled tasks give: their weights change and keep their sum, and
    the weight and :math:`L_t(0)` of a missing task stay. :math:`L_t(0)` is the loss of the first
    batch with labels of the task.

    Args:
        weights: Task name -> :math:`w_t`. It multiplies the result; norms are measured without it.
        shared: See :class:`~taskprism.losses.GradientBalancing`.
        alpha: :math:`\alpha`, 0 or more: 0 makes all norms equal, larger values give slow tasks
            larger gradients. The paper uses 1.5 on NYUv2.
        rate: Size of a step of the weights.

    Example:
        >>> import torch
        >>> from taskprism.losses import SharedFeatures, create_balancer
        >>> balancing = create_balancer("gradnorm", {"a": 1, "b": 1}, rate=0.1)
        >>> x = torch.tensor([1.0, 1.0], requires_grad=True)
        >>> shared = SharedFeatures()
        >>> features = shared.cut(1 * x)
        >>> losses = {"a": 3 * features[0], "b": features[1]}
        >>> used = balancing.backward(losses, shared)
        >>> [round(each, 3) for each in balancing.multipliers.tolist()]  # b gets more
        [0.895, 1.105]
    """

    name: ClassVar[str] = "gradnorm"

    multipliers: Tensor
    first: Tensor
    labeled: Tensor

    def __init__(
        self,
        weights: Mapping[str, float],
        shared: Where = "features",
        alpha: Annotated[float, Field(ge=0, le=100)] = 1.5,
        rate: Annotated[float, Field(gt=0, le=1)] = 0.025,
    ) -> None:
        super().__init__(weights, shared)
        self.alpha = check_number("GradNorm", "alpha", alpha, 0, 100)
        self.rate = check_number("GradNorm", "rate", rate, high=1, above=0)
        self.tasks = [name for name, weight in self.weights.items() if weight > 0]
        self.register_buffer("multipliers", torch.ones(len(self.tasks)))
        self.register_buffer("first", torch.ones(len(self.tasks)))
        self.register_buffer("labeled", torch.zeros(len(self.tasks), dtype=torch.bool))

    def factors(self) -> Mapping[str, float]:
        r"""Task name -> :math:`w_t \lambda_t`; 0 for a task without a weight."""
        multipliers = dict(zip(self.tasks, self.multipliers.tolist(), strict=True))
        return {name: w * multipliers.get(name, 0.0) for name, w in self.weights.items()}

    def task_weights(self, gramian: Tensor, losses: Mapping[str, Tensor]) -> Tensor:
        """Update the multipliers for the next batch; the gradients of this one are added up."""
        device = self.multipliers.device
        places = [self.tasks.index(name) for name in losses]
        values = torch.stack([loss.float() for loss in losses.values()]).to(device)
        self.first[places] = torch.where(self.labeled[places], self.first[places], values)
        self.labeled[places] = True

        ratios = values.clamp_min(_SMALLEST_LOSS) / self.first[places].clamp_min(_SMALLEST_LOSS)
        goals = (ratios / ratios.mean()) ** self.alpha
        fixed = torch.tensor([self.weights[name] for name in losses], dtype=gramian.dtype)
        norms = (gramian.diagonal().sqrt() / fixed).to(device, torch.float32)
        before = self.multipliers[places]
        lengths = norms / before  # of the gradients of the losses themselves
        slopes = (norms - norms.mean() * goals).sign() * lengths / lengths.mean()
        after = (before - self.rate * slopes).clamp_min(_SMALLEST_WEIGHT)
        # What the missing tasks leave of T: the sum stays T without rounding errors adding up.
        total = len(self.tasks) - (self.multipliers.sum() - before.sum())
        self.multipliers[places] = after * (total / after.sum())
        return torch.ones(len(losses), dtype=gramian.dtype)
