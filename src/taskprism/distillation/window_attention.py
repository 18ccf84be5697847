"""Attention between the tasks inside windows of the feature maps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from taskprism.checks import check_integer
from taskprism.distillation.base import Distillation, register_distillation
from taskprism.layers.containers import ModuleDict

_RATIO = 4  # hidden features of the MLP / channels


@register_distillation
class WindowAttention(Distillation):
    """All tasks attend to each other inside windows, with a residual path that keeps each.

    Maps are cut into windows, after a layer norm per source. In each window, the tokens of the
    tasks attend to the tokens of all sources, and an MLP follows. Both have residual paths, so the
    features of a task pass unchanged where the module adds nothing. Pixels that fill up the last
    windows are not attended to.

    The layer is that of M2H (arXiv 2510.17363) with one difference: there the
    residual path starts after the first norm and ends in another one, so it has no identity path.

    Args:
        tasks: Names of the tasks whose features are refined.
        channels: Channels of every task's feature map.
        sources: Names of the tasks whose features are read (main and auxiliary).
        window: Side of the windows in pixels of the map.
        heads: Heads of the attention, at most; the greatest common divisor of this number and
            ``channels`` is used.

    Example:
        >>> import torch
        >>> from taskprism.distillation import WindowAttention
        >>> module = WindowAttention(["depth"], channels=8, sources=["depth", "edge"], window=4)
        >>> features = {"depth": torch.rand(1, 8, 6, 5), "edge": torch.rand(1, 8, 6, 5)}
        >>> module(features)["depth"].shape
        torch.Size([1, 8, 6, 5])
    """

    name: ClassVar[str] = "window_attention"

    def __init__(
        self,
        tasks: Sequence[str],
        channels: int,
        sources: Sequence[str] | None = None,
        window: Annotated[int, Field(ge=1, le=256)] = 7,
        heads: Annotated[int, Field(ge=1, le=1024)] = 4,
    ) -> None:
        super().__init__(tasks, channels, sources)
        self.window = check_integer("WindowAttention", "window", window, 1, 256)
        self.heads = math.gcd(check_integer("WindowAttention", "heads", heads, 1, 1024), channels)
        self.norms = ModuleDict({source: nn.LayerNorm(channels) for source in self.sources})
        self.query = nn.Linear(channels, channels)
        self.key_value = nn.Linear(channels, 2 * channels)
        self.project = nn.Linear(channels, channels)
        self.mlp_norms = ModuleDict({task: nn.LayerNorm(channels) for task in self.tasks})
        self.mlp = nn.Sequential(
            nn.Linear(channels, _RATIO * channels),
            nn.GELU(),
            nn.Linear(_RATIO * channels, channels),
        )

    def forward(
        self, features: Mapping[str, Tensor], predictions: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Refine ``(B, channels, H, W)`` per source into the same per task."""
        normed = {
            source: norm(features[source].permute(0, 2, 3, 1))
            for source, norm in self.norms.items()
        }
        height, width = features[self.tasks[0]].shape[-2:]
        read = self._windows(torch.stack([normed[source] for source in self.sources], dim=1))
        asking = self._windows(torch.stack([normed[task] for task in self.tasks], dim=1))
        query = self._split(self.query(asking.flatten(3, 5)))
        key, value = (self._split(x) for x in self.key_value(read.flatten(3, 5)).chunk(2, dim=-1))
        ones = torch.ones_like(normed[self.tasks[0]][:, None, :, :, :1])
        inside = self._windows(ones.expand(-1, len(self.sources), -1, -1, -1)).flatten(3, 6) > 0
        mixed = F.scaled_dot_product_attention(
            query, key, value, attn_mask=inside[:, :, :, None, None]
        )
        mixed = self.project(mixed.transpose(3, 4).flatten(4))
        w = self.window
        maps = mixed.unflatten(3, (len(self.tasks), w, w)).permute(0, 3, 1, 4, 2, 5, 6)
        maps = maps.flatten(4, 5).flatten(2, 3)[:, :, :height, :width]
        refined = {}
        for place, task in enumerate(self.tasks):
            x = features[task].permute(0, 2, 3, 1) + maps[:, place]
            x = x + self.mlp(self.mlp_norms[task](x))
            refined[task] = x.permute(0, 3, 1, 2)
        return refined

    def _windows(self, x: Tensor) -> Tensor:
        """``(B, S, H, W, C) -> (B, rows, columns, S, window, window, C)``, zeros added."""
        w = self.window
        x = F.pad(x, (0, 0, 0, -x.shape[3] % w, 0, -x.shape[2] % w))
        return x.unflatten(3, (-1, w)).unflatten(2, (-1, w)).permute(0, 2, 4, 1, 3, 5, 6)

    def _split(self, tokens: Tensor) -> Tensor:
        """``(..., N, C) -> (..., heads, N, C / heads)``."""
        return tokens.unflatten(-1, (self.heads, -1)).transpose(-3, -2)
