r"""Iterative fusion: values mixed by one attention matrix again and again (TPIM's IFB).

With the row-stochastic matrix Co of :math:`\mathrm{softmax}(Q K^T / \sqrt d)`, rows being target
and columns source positions:

.. math::
    A: &\quad V \leftarrow Co\,V \\
    B: &\quad V \leftarrow \alpha\,Co\,V + V \\
    C: &\quad V \leftarrow \alpha\,Co\,V + (1 - \alpha)\,V

What follows from the rows summing to 1: constant values are a fixed point of A and C, and B scales
them by :math:`(1 + \alpha)^n`; C with :math:`\alpha = 0` is the identity and with 1 is A; for
:math:`\alpha \in [0, 1]` no iteration of C can exceed the largest value (its spectral radius is at
most 1). The paper's remark that values fade under A is not so: they become constant.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from taskprism.distillation.attention import attend
from taskprism.errors import InputError, UnknownNameError

Fusion = Literal["none", "A", "B", "C"]


class IterativeFusion(nn.Module):
    """Iterative Fusion Block (Task Pair Interaction Module, equations 6 to 8).

    Args:
        fusion: ``"A"``, ``"B"``, ``"C"``, or ``"none"`` for a single ``Co V``.
        iterations: How many times; 0 leaves the values as they are. Not used by ``"none"``.
        alpha_init: First value of α, a learned scalar of B and C.
        clamp_alpha: Keep α in [0, 1] when it is used, so that C cannot grow.
    """

    def __init__(
        self,
        fusion: Fusion = "C",
        iterations: int = 18,
        alpha_init: float = 0.3,
        clamp_alpha: bool = False,
    ) -> None:
        super().__init__()
        if fusion not in get_args(Fusion):
            raise UnknownNameError("fusion of TPIM", fusion, get_args(Fusion))
        if iterations < 0:
            raise InputError(f"TPIM: iterations={iterations} must not be negative.")
        self.fusion = fusion
        self.iterations = 1 if fusion == "none" else iterations
        self.clamp_alpha = clamp_alpha
        learned = fusion in ("B", "C")
        self.alpha = nn.Parameter(torch.tensor(float(alpha_init))) if learned else None

    def forward(self, values: Tensor, attend: Callable[[Tensor], Tensor]) -> Tensor:
        """Iterate.

        Args:
            values: ``(B, n, C)``.
            attend: ``V -> Co V``.
        """
        new, old = 1.0, 0.0
        if self.alpha is not None:
            new = self.alpha.clamp(0, 1) if self.clamp_alpha else self.alpha
            old = 1.0 if self.fusion == "B" else 1 - new
        for _ in range(self.iterations):
            attended = attend(values)
            values = attended if self.alpha is None else new * attended + old * values
        return values


def attention(query: Tensor, key: Tensor, store: bool = False) -> Callable[[Tensor], Tensor]:
    """``V -> softmax(Q K^T / sqrt d) V`` for ``(B, n, d)`` queries and keys, ``(B, n, C)`` values.

    Args:
        query: At the target's positions.
        key: At the source's positions.
        store: Compute the ``(B, n, n)`` matrix once and keep it: faster for many iterations on few
            positions. Otherwise every call is a fused attention that never holds it.
    """
    if not store:
        return partial(attend, query, key)
    matrix = (query @ key.mT * query.shape[-1] ** -0.5).softmax(dim=-1)
    return partial(torch.matmul, matrix)
