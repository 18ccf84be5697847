"""TPIM: every pair of tasks interacts by self-attention and iterated global attention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from taskprism.distillation.attention import to_tokens
from taskprism.distillation.base import Distillation, register_distillation
from taskprism.distillation.projection import projection
from taskprism.distillation.spatial_attention import GatedMessage
from taskprism.distillation.tpim_fusion import Fusion, IterativeFusion, attention
from taskprism.errors import InputError
from taskprism.layers.containers import ModuleDict


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

    with 3x3 convolutions A, B without bias and projections P of 1x1 convolution, BN, ReLU. Without
    V this is PAD-Net's and MTI-Net's :class:`SpatialAttention`, which the paper says too.

    No code was released. What the paper leaves open is set here as follows: Co's rows are target
    positions and sum to 1 over the source's (the only reading in which "Co V" mixes source values);
    both resizings are bilinear; d is half of C and V has C, as in non-local blocks; α is one scalar
    per block for all iterations. ``downscale`` is not given: (4, 2, 1, 1) at strides 4 to 32, a
    common grid of stride 16, fits the memory of the authors' GPU, and 4 is what remains at stride
    4, the single-scale place.

    Args:
        tasks: Names of the tasks whose features are refined.
        channels: C.
        sources: Names of the tasks whose features are read (main and auxiliary).
        fusion: Iterative Fusion Block: ``"A"``, ``"B"``, ``"C"`` (the published one), or ``"none"``
            for a single attention.
        iterations: Of the fusion; 18 on NYUD-v2, 4 on PASCAL-Context.
        alpha_init: First value of the learned α.
        downscale: How much smaller the maps are on which attention works.
        key_channels: d; by default half of ``channels``, at least 1.
        clamp_alpha: Keep α in [0, 1], outside of which iterations can grow without bound.
        store_affinity: Keep the attention matrix between iterations. By default it is recomputed
            and never held; keeping it is faster while it is small.
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
        if downscale < 1:
            raise InputError(f"TPIM: downscale={downscale} must be at least 1.")
        self.downscale = downscale
        keys = max(1, channels // 2) if key_channels is None else key_channels
        self.blocks = ModuleDict(
            {
                task: ModuleDict(
                    {
                        source: CrossTaskInteraction(
                            channels,
                            keys,
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
        """Attention on the grid of stride 16, or on the map itself where that is coarser."""
        return {"downscale": max(1, 16 // stride)}

    def forward(
        self, features: Mapping[str, Tensor], predictions: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Refine ``(B, C, H, W)`` per source into the same per task."""
        small = {source: self._shrunk(features[source]) for source in self.sources}
        refined = {}
        for task, blocks in self.blocks.items():
            total = features[task]
            for source, block in blocks.items():
                total = total + block(features[source], small[task], small[source])
            refined[task] = total
        return refined

    def _shrunk(self, maps: Tensor) -> Tensor:
        if self.downscale == 1:
            return maps
        height, width = (max(1, side // self.downscale) for side in maps.shape[-2:])
        return F.interpolate(maps, size=(height, width), mode="bilinear")


class CrossTaskInteraction(nn.Module):
    """What one source tells one target: its own gated features, and its attended ones.

    Args:
        channels: C.
        key_channels: d, of queries and keys.
        fusion: What is done with values and attention.
        store_affinity: See :func:`~taskprism.distillation.tpim_fusion.attention`.
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
            attended = F.interpolate(attended, size=source.shape[-2:], mode="bilinear")
        return self.own(source) + attended
