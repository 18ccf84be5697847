"""A discriminator that cannot tell which task a gradient comes from (ASTMT, section 4)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from taskprism.losses.processes import ratio_over_processes

_EPSILON = 1e-10  # gradients of a pixel are 1e-7 to 1e-5 long, too small for float16 and bfloat16
_STEEPNESS = 10.0


class Adversary(nn.Module):
    r"""Adversarial loss on the gradients that a task sends into shared layers.

    Maninis et al., CVPR 2019, section 4 and eq. 3, by double back-propagation. With :math:`L_t` the
    weighted loss of task t and x the features where layers of one task begin:

    .. math::
        g = \partial L_t / \partial x, \quad \hat g_p = g_p / (\|g_p\|_2 + 10^{-10}), \quad
        L = (1 - w) L_t + w\, \mathrm{CE}(D(R_\alpha(\hat g)), t)

    :math:`R_\alpha` is the identity that multiplies gradients by :math:`-\alpha` in the backward
    pass (Ganin and Lempitsky, ICML 2015), so one step teaches the discriminator D to tell tasks
    apart and the network to prevent it. D is two convolutions with a ReLU between; it belongs to
    training and is never part of a saved model. Everything is done in full precision.

    Args:
        tasks: Names of the tasks.
        channels: Of the features.
        kernel_size: Of both convolutions, 1 or 3 (the paper: 1; released: 1 on PASCAL, 3 on NYUD).
        weight: w (the paper: 0.1; released, and in the names of the released models: 0.01).

    Example:
        >>> sum(p.numel() for p in Adversary(["depth", "edge"], channels=8).parameters())
        82
    """

    def __init__(
        self, tasks: Sequence[str], channels: int, kernel_size: int = 1, weight: float = 0.01
    ) -> None:
        super().__init__()
        self.tasks = list(tasks)
        self.weight = weight
        padding = kernel_size // 2
        self.discriminator = nn.Sequential(
            nn.Conv2d(channels, channels, kernel_size, padding=padding, bias=False),
            nn.ReLU(),
            nn.Conv2d(channels, len(self.tasks), kernel_size, padding=padding),
        )
        for module in self.discriminator:
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.01)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(
        self,
        loss: Tensor,
        features: Tensor,
        task: str,
        valid: Tensor,
        reversal: float,
        processes: int = 1,
    ) -> tuple[Tensor, Tensor]:
        """Total to descend on, and the discriminator's part of it.

        Args:
            loss: Weighted loss of ``task``, a scalar that depends on ``features``.
            features: ``(B, channels, h, w)``, not in half precision.
            task: Whose loss it is.
            valid: ``(B, 1, H, W)`` boolean; gradients of pixels without a label are not judged.
            reversal: :math:`alpha`, see :func:`reversal_strength`.
            processes: Number of processes whose mean gradient is that of ``loss``, as the criterion
                computes it. All of them must call the adversary together.

        Returns:
            ``L`` and the cross-entropy, both scalars. Their values are those over the pixels of all
            processes.
        """
        (gradient,) = torch.autograd.grad(loss, features, create_graph=True)
        if processes > 1:
            gradient = gradient / processes
        logits = self.discriminator(reverse_gradient(normalized(gradient), reversal))
        label = torch.full_like(logits[:, 0], self.tasks.index(task), dtype=torch.long)
        judged = F.interpolate(valid.float(), size=logits.shape[-2:], mode="nearest").bool()
        per_pixel = F.cross_entropy(logits, label, reduction="none").unsqueeze(1)
        judgments = (per_pixel * judged).sum()
        adversarial = (
            ratio_over_processes(judgments, judged.sum())
            if processes > 1
            else judgments / judged.sum().clamp(min=1)
        )
        return (1 - self.weight) * loss + self.weight * adversarial, adversarial


def normalized(gradient: Tensor) -> Tensor:
    """Gradient ``(B, C, H, W)`` of length 1 at every pixel, so only its direction counts."""
    return gradient / (torch.linalg.vector_norm(gradient, dim=1, keepdim=True) + _EPSILON)


def reverse_gradient(values: Tensor, strength: float) -> Tensor:
    """``values`` as they are; their gradient comes back multiplied by ``-strength``."""
    return _Reversal.apply(values, strength)


def reversal_strength(epoch: int, epochs: int) -> float:
    r"""Strength :math:`2 / (1 + e^{-10 (e + 1) / E}) - 1` of the reversal in epoch e of E, from 0.

    It grows to 1, so that the discriminator learns before the network works against it (Ganin et
    al., JMLR 2016).
    """
    return 2 / (1 + math.exp(-_STEEPNESS * (epoch + 1) / epochs)) - 1


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradients[0], None
