"""xTAM: DenseMTL's exchange between tasks, by correlation and by self-attention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from taskprism.distillation.attention import attend, to_tokens
from taskprism.distillation.base import Distillation, register_distillation
from taskprism.distillation.projection import projection
from taskprism.distillation.spatial_attention import GatedMessage
from taskprism.errors import InputError
from taskprism.layers.containers import ModuleDict


@register_distillation
class XTAM(Distillation):
    r"""Cross-task attention (Lopes et al., "Cross-task Attention Mechanism", WACV 2023; DenseMTL).

    For each target t and each other source s, with :math:`E = \mathrm{ReLU}(conv_{3x3}(F_s))`:

    1. self-attention :math:`(B * E) \odot \sigma(A * E)`, 3x3 convolutions to C/2 channels;
    2. correlation: :math:`\alpha \odot \uparrow (P_V(\downarrow E)\, M^T)` with
       :math:`M = \mathrm{softmax}(P_Q(\downarrow F_t)^T P_K(\downarrow E) / \sqrt C)` over source
       positions, and α per channel, 0 at first;
    3. both concatenated and projected to C.

    :math:`F_t' = F_t + P(\mathrm{concat}_s)`. P are 1x1 convolution, BN, ReLU. The target shrinks
    by nearest neighbor, the source by maximum, and the result grows by nearest neighbor.

    As published with "SxTAM, SA, add". The released code concatenates sources in the order of a
    Python set, which differs from run to run; here it is the order of ``sources``. A task with no
    other source keeps its features.

    Args:
        tasks: Names of the tasks whose features are refined.
        channels: C, at least 2.
        sources: Names of the tasks whose features are read (main and auxiliary).
        downscale: How much smaller the maps are on which correlation works. 4 at the place where
            the paper uses one block (stride 2): a grid of stride 8 at all scales.
    """

    name: ClassVar[str] = "xtam"

    def __init__(
        self,
        tasks: Sequence[str],
        channels: int,
        sources: Sequence[str] | None = None,
        downscale: int = 4,
    ) -> None:
        super().__init__(tasks, channels, sources)
        if downscale < 1:
            raise InputError(f"XTAM: downscale={downscale} must be at least 1.")
        if channels < 2:
            raise InputError(f"XTAM: channels={channels} must be at least 2.")
        others = len(self.sources) - 1
        self.messages = ModuleDict(
            {
                task: ModuleDict(
                    {
                        source: CorrelatedMessage(channels, downscale)
                        for source in self.sources
                        if source != task
                    }
                )
                for task in self.tasks
            }
        )
        self.merge = ModuleDict(
            {task: projection(others * channels, channels) for task in self.tasks if others}
        )

    @classmethod
    def options_at(cls, stride: int) -> dict[str, Any]:
        """Correlation on the grid of stride 8, or on the map itself where that is coarser."""
        return {"downscale": max(1, 8 // stride)}

    def forward(
        self, features: Mapping[str, Tensor], predictions: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Refine ``(B, C, H, W)`` per source into the same per task."""
        refined = {task: features[task] for task in self.tasks}
        for task, merge in self.merge.items():
            told = [
                message(features[task], features[source])
                for source, message in self.messages[task].items()
            ]
            refined[task] = features[task] + merge(torch.cat(told, dim=1))
        return refined


class CorrelatedMessage(nn.Module):
    """What one source tells one target, ``(B, C, H, W)`` both: steps 1 to 3 of :class:`XTAM`."""

    def __init__(self, channels: int, downscale: int) -> None:
        super().__init__()
        self.downscale = downscale
        half = channels // 2
        self.extract = nn.Sequential(
            nn.Conv2d(channels, channels, kernel_size=3, padding=1), nn.ReLU(inplace=True)
        )
        self.own = GatedMessage(channels, half)
        self.query = projection(channels, channels)
        self.key = projection(channels, channels)
        self.value = projection(channels, channels)
        self.alpha = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.project = projection(channels + half, channels)

    def forward(self, target: Tensor, source: Tensor) -> Tensor:
        """Maps of target and source -> the message, at their size."""
        extracted = self.extract(source)
        correlated = self.alpha * self.correlate(target, extracted)
        return self.project(torch.cat([self.own(extracted), correlated], dim=1))

    def correlate(self, target: Tensor, source: Tensor) -> Tensor:
        """Source's values at each position of the target, weighted by similarity."""
        size = target.shape[-2:]
        factor = min(self.downscale, *size)
        source = F.max_pool2d(source, factor)
        small = source.shape[-2:]
        target = F.interpolate(target, size=small, mode="nearest")
        key, value = to_tokens(self.key(source)), to_tokens(self.value(source))
        mixed = attend(to_tokens(self.query(target)), key, value).mT
        return F.interpolate(mixed.unflatten(2, small), size=size, mode="nearest")
