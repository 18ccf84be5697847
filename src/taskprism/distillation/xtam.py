"""xTAM: DenseMTL's exchange of features by correlation and self-attention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from taskprism.checks import LONGEST_SIDE, check_channels, check_integer
from taskprism.distillation.attention import attend, projection, to_tokens
from taskprism.distillation.base import Distillation, register_distillation
from taskprism.distillation.spatial_attention import GatedMessage
from taskprism.layers.containers import ModuleDict


@register_distillation
class XTAM(Distillation):
    r"""Cross-task attention (Lopes et al., "Cross-task Attention Mechanism", WACV 2023; DenseMTL).

    For each target t and each other source s, with :math:`E = \mathrm{ReLU}(conv_{3x3}(F_s))`:

    1. self-attention :math:`(B * E) \odot \sigma(A * E)`, 3x3 convolutions to C/2 channels;
    2. correlation: :math:`\alpha \odot \uparrow (P_V(\downarrow E)\, M^T)` with
       :math:`M = \mathrm{softmax}(P_Q(\downarrow F_t)^T P_K(\downarrow E) / \sqrt C)` over source
       positions, and α per channel, initially 0;
    3. both are concatenated and projected to C.

    :math:`F_t' = F_t + P(\mathrm{concat}_s)`. Each P is 1x1 convolution, batch norm, ReLU. The
    target is downscaled by nearest neighbor, the source by max pooling, and the result is upscaled
    by nearest neighbor.

    This is the variant that the paper calls "SxTAM, SA, add". The released code concatenates
    sources in the order of a Python set, which differs from run to run; here it is the order of
    ``sources``. A task without another source keeps its features.

    Args:
        tasks: Names of the tasks whose features are refined.
        channels: C, at least 2.
        sources: Names of the tasks whose features are read (main and auxiliary).
        downscale: Factor by which maps are downscaled before correlation, at least 1. The default
            of 4 suits the stride at which the paper uses one block (stride 2): correlation then
            always works on a grid of stride 8.

    Raises:
        InputError: ``channels`` or ``downscale`` is too small.

    Example:
        >>> import torch
        >>> from taskprism.distillation import XTAM
        >>> module = XTAM(["depth"], channels=8, sources=["depth", "edge"], downscale=2)
        >>> features = {"depth": torch.rand(2, 8, 6, 5), "edge": torch.rand(2, 8, 6, 5)}
        >>> module(features)["depth"].shape
        torch.Size([2, 8, 6, 5])
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
        check_channels("XTAM", "channels", channels, low=2)
        check_integer("XTAM", "downscale", downscale, 1, LONGEST_SIDE)
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
        """Correlate on a grid of stride 8, or on the map itself if that is coarser."""
        return {"downscale": max(1, 8 // stride)}

    def forward(
        self, features: Mapping[str, Tensor], predictions: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Refine ``(B, C, H, W)`` per source into the same per task."""
        refined = {task: features[task] for task in self.tasks}
        for task, merge in self.merge.items():
            received = [
                message(features[task], features[source])
                for source, message in self.messages[task].items()
            ]
            refined[task] = features[task] + merge(torch.cat(received, dim=1))
        return refined


class CorrelatedMessage(nn.Module):
    """Message from one source to one target: steps 1 to 3 of :class:`XTAM`.

    Args:
        channels: C, of both maps ``(B, C, H, W)`` and of the message.
        downscale: See :class:`XTAM`.
    """

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
        """Maps ``(B, C, H, W)`` of target and source -> message ``(B, C, H, W)``."""
        extracted = self.extract(source)
        correlated = self.alpha * self.correlate(target, extracted)
        return self.project(torch.cat([self.own(extracted), correlated], dim=1))

    def correlate(self, target: Tensor, source: Tensor) -> Tensor:
        """Mean of the source's values for each position of the target, weighted by similarity."""
        size = target.shape[-2:]
        factor = min(self.downscale, *size)
        source = F.max_pool2d(source, factor)
        small = source.shape[-2:]
        target = F.interpolate(target, size=small, mode="nearest")
        key, value = to_tokens(self.key(source)), to_tokens(self.value(source))
        mixed = attend(to_tokens(self.query(target)), key, value).mT
        return F.interpolate(mixed.unflatten(2, small), size=size, mode="nearest")
