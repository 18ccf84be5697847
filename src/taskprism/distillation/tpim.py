r"""TPIM: every pair of tasks interacts by self-attention and iterated global attention.

The iterations are those of :class:`IterativeFusion`: values are mixed repeatedly by the same
row-stochastic matrix Co of :math:`\mathrm{softmax}(Q K^T / \sqrt d)`, whose rows are target
positions and whose columns are source positions:

.. math::
    A: &\quad V \leftarrow Co\,V \\
    B: &\quad V \leftarrow \alpha\,Co\,V + V \\
    C: &\quad V \leftarrow \alpha\,Co\,V + (1 - \alpha)\,V

Because the rows sum to 1, constant values are a fixed point of A and C, and B scales them by
:math:`(1 + \alpha)^n`. C is the identity for :math:`\alpha = 0` and equals A for
:math:`\alpha = 1`. For :math:`\alpha \in [0, 1]` no iteration of C exceeds the largest value (its
spectral radius is at most 1). The paper says that values fade under A; in fact they become
constant.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from taskprism.checks import (
    LONGEST_SIDE,
    check_channels,
    check_choice,
    check_flag,
    check_integer,
    check_number,
)
from taskprism.distillation.attention import attend, projection, to_tokens
from taskprism.distillation.base import Distillation, register_distillation
from taskprism.distillation.spatial_attention import GatedMessage
from taskprism.layers import ModuleDict, resize

Fusion = Literal["none", "A", "B", "C"]
#: Largest number of iterations; more would only repeat a value that no longer changes.
_MOST_ITERATIONS = 10_000


@register_distillation
class TPIM(Distillation):
    r"""Task Pair Interaction Module, TPIM (https://doi.org/10.1007/978-981-99-8126-7_8).

    A Cross-task Interaction Block for each ordered pair of source s and target t; the block of a
    task with itself is the identity (equations 1 to 5):

    .. math::
        F_t' &= F_t + \sum_{s \ne t} (self_{s \to t} + V_{s \to t}) \\
        self_{s \to t} &= (B * F_s) \odot \sigma(A * F_s) \\
        V_{s \to t} &= \uparrow \mathrm{IFB}(P_V(\downarrow F_s), Co), \quad
        Co = \mathrm{softmax}(P_Q(\downarrow F_t)\, P_K(\downarrow F_s)^T / \sqrt d)

    with 3x3 convolutions A and B without bias, and projections P of 1x1 convolution, batch norm,
    ReLU. Without V this is :class:`SpatialAttention` of PAD-Net and MTI-Net, as the paper notes.

    No code was released. Where the paper is silent, this implementation chooses as follows. The
    rows of Co are target positions and sum to 1 over source positions (the only reading in which
    "Co V" mixes source values). Both resizings are bilinear. As in non-local blocks, d is half of C
    and V has C channels. α is one scalar per block for all iterations. The factors of ``downscale``
    are 4, 2, 1, 1 at strides 4 to 32, a common grid of stride 16 that fits the memory of the
    authors' GPU; the default of 4 is that of stride 4, where single-scale models distill.

    Args:
        tasks: Names of the tasks whose features are refined.
        channels: C.
        sources: Names of the tasks whose features are read (main and auxiliary).
        fusion: Iterative Fusion Block: ``"A"``, ``"B"``, ``"C"`` (the published one), or ``"none"``
            for a single attention.
        iterations: Iterations of the fusion, 0 or more; 18 on NYUD-v2, 4 on PASCAL-Context.
        alpha_init: Initial value of the learned α, -10 to 10.
        downscale: Factor by which maps are downscaled before attention, at least 1.
        key_channels: d; by default half of ``channels``, at least 1.
        clamp_alpha: Clamp α to [0, 1]; outside, iterations can grow without bound.
        store_affinity: Keep the attention matrix between iterations, which is faster while it is
            small. By default it is recomputed and never stored.

    Raises:
        InputError: An option has the wrong type or is out of range.
        UnknownNameError: ``fusion`` does not exist.

    Example:
        >>> import torch
        >>> from taskprism.distillation import TPIM
        >>> module = TPIM(["depth"], channels=8, sources=["depth", "edge"], iterations=4)
        >>> features = {"depth": torch.rand(2, 8, 12, 16), "edge": torch.rand(2, 8, 12, 16)}
        >>> module(features)["depth"].shape
        torch.Size([2, 8, 12, 16])
    """

    name: ClassVar[str] = "tpim"

    def __init__(
        self,
        tasks: Sequence[str],
        channels: int,
        sources: Sequence[str] | None = None,
        fusion: Fusion = "C",
        iterations: int = 18,
        alpha_init: float = 0.3,
        downscale: int = 4,
        key_channels: int | None = None,
        clamp_alpha: bool = False,
        store_affinity: bool = False,
    ) -> None:
        super().__init__(tasks, channels, sources)
        self.downscale = check_integer("TPIM", "downscale", downscale, 1, LONGEST_SIDE)
        check_flag("TPIM", "store_affinity", store_affinity)
        if key_channels is None:
            key_channels = max(1, channels // 2)
        check_channels("TPIM", "key_channels", key_channels)
        self.blocks = ModuleDict(
            {
                task: ModuleDict(
                    {
                        source: CrossTaskInteraction(
                            channels,
                            key_channels,
                            IterativeFusion(fusion, iterations, alpha_init, clamp_alpha),
                            store_affinity,
                        )
                        for source in self.sources
                        if source != task
                    }
                )
                for task in self.tasks
            }
        )

    @classmethod
    def options_at(cls, stride: int) -> dict[str, Any]:
        """Attend on a grid of stride 16, or on the map itself if that is coarser."""
        return {"downscale": max(1, 16 // stride)}

    def forward(
        self, features: Mapping[str, Tensor], predictions: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Refine ``(B, C, H, W)`` per source into the same per task."""
        small = {source: self._downscaled(features[source]) for source in self.sources}
        refined = {}
        for task, blocks in self.blocks.items():
            total = features[task]
            for source, block in blocks.items():
                total = total + block(features[source], small[task], small[source])
            refined[task] = total
        return refined

    def _downscaled(self, maps: Tensor) -> Tensor:
        if self.downscale == 1:
            return maps
        height, width = (max(1, side // self.downscale) for side in maps.shape[-2:])
        return resize(maps, (height, width))


class CrossTaskInteraction(nn.Module):
    """Message from one source to one target: gated features plus attended features.

    Args:
        channels: C.
        key_channels: d, the channels of queries and keys.
        fusion: Fusion of values and attention.
        store_affinity: See :func:`attention`.
    """

    def __init__(
        self,
        channels: int,
        key_channels: int,
        fusion: IterativeFusion,
        store_affinity: bool = False,
    ) -> None:
        super().__init__()
        self.own = GatedMessage(channels)
        self.query = projection(channels, key_channels)
        self.key = projection(channels, key_channels)
        self.value = projection(channels, channels)
        self.fusion = fusion
        self.store_affinity = store_affinity

    def forward(self, source: Tensor, small_target: Tensor, small_source: Tensor) -> Tensor:
        """Source's map ``(B, C, H, W)``, both maps ``(B, C, h, w)`` -> ``(B, C, H, W)``."""
        query = to_tokens(self.query(small_target))
        key, value = to_tokens(self.key(small_source)), to_tokens(self.value(small_source))
        fused = self.fusion(value, attention(query, key, self.store_affinity))
        attended = fused.mT.unflatten(2, small_source.shape[-2:])
        if small_source is not source:
            attended = resize(attended, source.shape[-2:])
        return self.own(source) + attended


class IterativeFusion(nn.Module):
    """Iterative Fusion Block (Task Pair Interaction Module, equations 6 to 8).

    Args:
        fusion: ``"A"``, ``"B"``, ``"C"``, or ``"none"`` for a single ``Co V``.
        iterations: Number of iterations; 0 returns the values unchanged. ``"none"`` ignores it.
        alpha_init: Initial value of α, a learned scalar of B and C.
        clamp_alpha: Clamp α to [0, 1] in use, so that C cannot grow.
    """

    def __init__(
        self,
        fusion: Fusion = "C",
        iterations: int = 18,
        alpha_init: float = 0.3,
        clamp_alpha: bool = False,
    ) -> None:
        super().__init__()
        self.fusion = check_choice("TPIM", "fusion", fusion, get_args(Fusion))
        check_integer("TPIM", "iterations", iterations, 0, _MOST_ITERATIONS)
        check_number("TPIM", "alpha_init", alpha_init, -10, 10)
        self.iterations = 1 if fusion == "none" else iterations
        self.clamp_alpha = check_flag("TPIM", "clamp_alpha", clamp_alpha)
        learned = fusion in ("B", "C")
        self.alpha = nn.Parameter(torch.tensor(float(alpha_init))) if learned else None

    def forward(self, values: Tensor, attend: Callable[[Tensor], Tensor]) -> Tensor:
        """Mix the values.

        Args:
            values: ``(B, n, C)``.
            attend: ``V -> Co V``.

        Returns:
            ``(B, n, C)``.
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
        query: Queries at the target's positions.
        key: Keys at the source's positions.
        store: Compute the ``(B, n, n)`` matrix once and keep it: faster for many iterations on few
            positions. Otherwise every call is a fused attention that never stores the matrix.
    """
    if not store:
        return partial(attend, query, key)
    matrix = (query @ key.mT * query.shape[-1] ** -0.5).softmax(dim=-1)
    return partial(torch.matmul, matrix)
