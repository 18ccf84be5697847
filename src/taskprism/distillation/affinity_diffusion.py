"""PAP-Net: each task's features diffuse along a learned mixture of all tasks' affinities."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from taskprism.distillation.base import Distillation, register_distillation
from taskprism.errors import InputError, UnknownNameError

Normalize = Literal["positions", "channels"]
DiffusionMethod = Literal["auto", "linear", "direct"]

# Affinities are signed, so their sums can vanish; nearer to 0 than this they are set to this.
_SMALLEST_SUM = 1e-6


@register_distillation
class AffinityDiffusion(Distillation):
    r"""Pattern-affinitive propagation (Zhang et al., "PAP-Net", CVPR 2019).

    With X_s the normalized features of source s, ``(HW, C)``:

    1. affinity :math:`A_s = X_s X_s^T`, divided by its sums;
    2. mixture :math:`P_t = \sum_s \mathrm{softmax}(w_t)_s A_s` with learned w, equal at first;
    3. diffusion :math:`D \leftarrow \beta P_t D + (1 - \beta) F_t`, ``iterations`` times from
       :math:`D = F_t`.

    The product P D is computed as X (X^T D) unless the matrix is smaller than that, so that memory
    grows with HW and not with its square; the numbers are the same.

    The published numbers that exist for today's benchmarks come from the re-implementation by the
    authors of CTAL, whose choices are the defaults. It normalizes each *channel over positions* and
    makes *columns* of A sum to 1 (``normalize="positions"``), where the papers say each position
    over channels and rows (``"channels"``). Its configurations run 1 iteration, but the operations
    in CTAL's table 5 are those of 2.

    Args:
        tasks: Names of the tasks whose features are refined.
        channels: C.
        sources: Names of the tasks whose affinities are read.
        beta: Share of the diffused features; at 0 the features pass unchanged.
        iterations: Diffusion steps, at least 1.
        normalize: ``"positions"`` or ``"channels"``, see above.
        method: ``"auto"`` takes what needs fewer operations; ``"direct"`` forms HW x HW matrices,
            ``"linear"`` never does.

    Parameters: ``mixing`` w, ``(tasks, sources)``. The 1x1 convolutions before belong to the model.
    """

    name: ClassVar[str] = "affinity_diffusion"

    def __init__(
        self,
        tasks: Sequence[str],
        channels: int,
        sources: Sequence[str] | None = None,
        beta: float = 0.05,
        iterations: int = 2,
        normalize: Normalize = "positions",
        method: DiffusionMethod = "auto",
    ) -> None:
        super().__init__(tasks, channels, sources)
        if iterations < 1:
            raise InputError(f"AffinityDiffusion: iterations={iterations} must be at least 1.")
        if normalize not in get_args(Normalize):
            raise UnknownNameError("normalize of AffinityDiffusion", normalize, get_args(Normalize))
        if method not in get_args(DiffusionMethod):
            raise UnknownNameError("method of AffinityDiffusion", method, get_args(DiffusionMethod))
        self.beta, self.iterations = beta, iterations
        self.normalize, self.method = normalize, method
        count = len(self.sources)
        self.mixing = nn.Parameter(torch.full((len(self.tasks), count), 1 / count))

    def forward(
        self, features: Mapping[str, Tensor], predictions: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Refine ``(B, C, H, W)`` per source into the same per task."""
        stacked = torch.stack([features[source].flatten(2).mT for source in self.sources], dim=2)
        # Sums over all positions lose too much in half precision.
        stacked = stacked.to(torch.promote_types(stacked.dtype, torch.float32))
        with _no_autocast(stacked.device.type):
            left, right = self._factors(stacked)
            mixing = self.mixing.softmax(dim=1).to(stacked)
            mixtures = _matrices if self._use_direct(stacked.shape[1]) else _factored
            refined = {}
            for task, mixture in zip(self.tasks, mixtures(left, right, mixing), strict=True):
                start = state = stacked[:, :, self.sources.index(task)]
                for _ in range(self.iterations):
                    state = self.beta * mixture(state) + (1 - self.beta) * start
                refined[task] = state.mT.view_as(features[task]).to(features[task])
        return refined

    def _factors(self, stacked: Tensor) -> tuple[Tensor, Tensor]:
        """Two ``(B, HW, N, C)``: per source the first times the second, transposed, is A."""
        x = F.normalize(stacked, dim=1 if self.normalize == "positions" else 3)
        # Row and column sums are the same, as the product of x with itself is symmetric.
        sums = (x * x.sum(1, keepdim=True)).sum(3, keepdim=True)
        tiny = torch.full_like(sums, _SMALLEST_SUM).copysign(sums)
        scaled = x / torch.where(sums.abs() < _SMALLEST_SUM, tiny, sums)
        return (x, scaled) if self.normalize == "positions" else (scaled, x)

    def _use_direct(self, positions: int) -> bool:
        if self.method != "auto":
            return self.method == "direct"
        targets, sources = self.mixing.shape
        products = positions * (sources + targets * self.iterations)
        return products < 2 * targets * self.iterations * sources * self.channels


def _matrices(left: Tensor, right: Tensor, mixing: Tensor) -> Iterator[Callable[[Tensor], Tensor]]:
    """Products with the mixture of each target task, which is formed."""
    affinities = left.transpose(1, 2) @ right.permute(0, 2, 3, 1)
    for weights in mixing:
        mixture = (weights[:, None, None] * affinities).sum(1)
        yield partial(torch.matmul, mixture)


def _factored(left: Tensor, right: Tensor, mixing: Tensor) -> Iterator[Callable[[Tensor], Tensor]]:
    """Products with the mixture of each target task, which is not formed."""
    for weights in mixing:
        weighted = (right * weights[:, None]).flatten(2).mT
        yield lambda state, own=weighted: left.flatten(2) @ (own @ state)


def _no_autocast(device: str) -> AbstractContextManager[object]:
    """Autocast switched off; the meta device, on which operations are counted, has none."""
    if torch.amp.is_autocast_available(device):
        return torch.autocast(device, enabled=False)
    return nullcontext()
