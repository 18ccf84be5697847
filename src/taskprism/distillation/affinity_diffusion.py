"""PAP-Net: each task's features diffuse along a learned mixture of all tasks' affinities."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from taskprism.checks import check_choice, check_integer, check_number
from taskprism.distillation.base import Distillation, register_distillation

Normalize = Literal["positions", "channels"]
DiffusionMethod = Literal["auto", "linear", "direct"]

# Affinities are signed, so their sums can vanish. Sums closer to 0 than this are set to it.
_SMALLEST_SUM = 1e-6
_MOST_ITERATIONS = 10_000


@register_distillation
class AffinityDiffusion(Distillation):
    r"""Pattern-affinitive propagation (Zhang et al., "PAP-Net", CVPR 2019).

    With X_s the normalized features of source s, ``(HW, C)``:

    1. affinity :math:`A_s = X_s X_s^T`, divided by its sums;
    2. mixture :math:`P_t = \sum_s \mathrm{softmax}(w_t)_s A_s` with learned w, equal at first;
    3. diffusion :math:`D \leftarrow \beta P_t D + (1 - \beta) F_t`, repeated ``iterations`` times
       from :math:`D = F_t`.

    The product P D is computed as X (X^T D) unless forming P takes fewer operations, so memory
    grows with HW and not with its square. The result is the same.

    The published numbers on today's benchmarks come from the re-implementation by the authors of
    CTAL, and the defaults follow it. It normalizes each *channel over positions* and makes
    *columns* of A sum to 1 (``normalize="positions"``), whereas the papers normalize each position
    over channels and make rows sum to 1 (``"channels"``). Its configurations run 1 iteration, but
    the operation counts in CTAL's table 5 are those of 2.

    Args:
        tasks: Names of the tasks whose features are refined.
        channels: C.
        sources: Names of the tasks whose affinities are read.
        beta: Share of the diffused features, 0 to 1; at 0 the features pass unchanged.
        iterations: Diffusion steps, at least 1.
        normalize: ``"positions"`` or ``"channels"``, see above.
        method: ``"direct"`` forms HW x HW matrices, ``"linear"`` never does, and ``"auto"`` selects
            the one with fewer operations.

    Parameters: ``mixing`` w, ``(tasks, sources)``. The 1x1 convolutions that precede the module in
    the paper belong to the model.

    Raises:
        InputError: An option has the wrong type or is out of range.
        UnknownNameError: ``normalize`` or ``method`` does not exist.

    Example:
        >>> import torch
        >>> from taskprism.distillation import AffinityDiffusion
        >>> module = AffinityDiffusion(["depth"], channels=8, sources=["depth", "edge"], beta=0.1)
        >>> features = {"depth": torch.rand(1, 8, 6, 5), "edge": torch.rand(1, 8, 6, 5)}
        >>> module(features)["depth"].shape
        torch.Size([1, 8, 6, 5])
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
        owner = "AffinityDiffusion"
        self.beta = check_number(owner, "beta", beta, 0, 1)
        self.iterations = check_integer(owner, "iterations", iterations, 1, _MOST_ITERATIONS)
        self.normalize = check_choice(owner, "normalize", normalize, get_args(Normalize))
        self.method = check_choice(owner, "method", method, get_args(DiffusionMethod))
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
        """Two ``(B, HW, N, C)``; A of a source is the first times the second, transposed."""
        x = F.normalize(stacked, dim=1 if self.normalize == "positions" else 3)
        # The product of x with itself is symmetric, so row and column sums are equal.
        sums = (x * x.sum(1, keepdim=True)).sum(3, keepdim=True)
        # Not copysign, which the exporters to ONNX do not know.
        tiny = torch.full_like(sums, _SMALLEST_SUM)
        tiny = torch.where(sums < 0, -tiny, tiny)
        scaled = x / torch.where(sums.abs() < _SMALLEST_SUM, tiny, sums)
        return (x, scaled) if self.normalize == "positions" else (scaled, x)

    def _use_direct(self, positions: int) -> bool:
        if self.method != "auto":
            return self.method == "direct"
        targets, sources = self.mixing.shape
        products = positions * (sources + targets * self.iterations)
        return products < 2 * targets * self.iterations * sources * self.channels


def _matrices(left: Tensor, right: Tensor, mixing: Tensor) -> Iterator[Callable[[Tensor], Tensor]]:
    """For each target task, the product with its mixture, which is formed as a matrix."""
    affinities = left.transpose(1, 2) @ right.permute(0, 2, 3, 1)
    for weights in mixing:
        mixture = (weights[:, None, None] * affinities).sum(1)
        yield partial(torch.matmul, mixture)


def _factored(left: Tensor, right: Tensor, mixing: Tensor) -> Iterator[Callable[[Tensor], Tensor]]:
    """For each target task, the product with its mixture, which is never formed."""
    for weights in mixing:
        weighted = (right * weights[:, None]).flatten(2).mT
        yield lambda state, factor=weighted: left.flatten(2) @ (factor @ state)


def _no_autocast(device: str) -> AbstractContextManager[object]:
    """Switch autocast off; the meta device, which counts operations, does not support it."""
    if torch.amp.is_autocast_available(device):
        return torch.autocast(device, enabled=False)
    return nullcontext()
