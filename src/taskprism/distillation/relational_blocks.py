r"""The contexts of ATRC: what a target task reads from a source task, and where it looks.

Every block maps target and source features ``(B, C, H, W)`` to ``(B, M, H, W)``. Queries come from
the target, keys and values from the source; queries and keys by two layers of 1x1 convolution, BN,
ReLU, values by one.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from taskprism.distillation.attention import attend, to_tokens
from taskprism.distillation.projection import projection


class GlobalContext(nn.Module):
    r"""Attention to all positions, linear in their number.

    .. math:: out = (V \varphi(K)^T)\, \varphi(Q) / \textstyle\sum_p \varphi(K_p)^T \varphi(Q)

    with softplus for φ in place of the last ReLU.
    """

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.query = projection(channels, inner, layers=2)[:-1]
        self.key = projection(channels, inner, layers=2)[:-1]
        self.value = projection(channels, inner)

    def forward(self, target: Tensor, source: Tensor) -> Tensor:
        """``(B, C, H, W)`` twice -> ``(B, M, H, W)``."""
        query = F.softplus(self.query(target)).flatten(2)
        key = F.softplus(self.key(source)).flatten(2)
        value = self.value(source).flatten(2)
        mixed = (value @ key.mT) @ query
        total = key.sum(2)[:, None] @ query
        return (mixed / total.clamp(min=1e-12)).unflatten(2, target.shape[-2:])


class LocalContext(nn.Module):
    """Attention to a window around each position.

    Positions outside of the image have score 0 and value 0 but stay in the softmax, as in the
    original. Window positions are visited one by one, so that no unfolded map is held.
    """

    def __init__(self, channels: int, inner: int, window: int = 9) -> None:
        super().__init__()
        self.window = window
        self.query = projection(channels, inner, layers=2)
        self.key = projection(channels, inner, layers=2)
        self.value = projection(channels, inner)

    def forward(self, target: Tensor, source: Tensor) -> Tensor:
        """``(B, C, H, W)`` twice -> ``(B, M, H, W)``."""
        query = self.query(target)
        query = query * query.shape[1] ** -0.5
        keys, values = self._moved(self.key(source)), self._moved(self.value(source))
        scores = torch.stack([(query * key).sum(1, keepdim=True) for key in keys])
        weights = scores.softmax(dim=0)
        mixed = torch.zeros_like(query)
        for weight, value in zip(weights, values, strict=True):
            mixed = mixed + weight * value
        return mixed

    def _moved(self, maps: Tensor) -> list[Tensor]:
        """The map moved to each place of the window, as views of one padded map."""
        height, width = maps.shape[-2:]
        padded = F.pad(maps, [self.window // 2] * 4)
        return [
            padded[..., y : y + height, x : x + width]
            for y in range(self.window)
            for x in range(self.window)
        ]


class LabelContext(nn.Module):
    """Attention to regions: the source's mean feature in each class of a label map.

    Region l's feature is the mean of the source's features, weighted by the softmax of class l's
    logits over all positions (Yuan et al., "Object-contextual representations", ECCV 2020).
    """

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.query = projection(channels, inner, layers=2)
        self.key = projection(channels, inner, layers=2)
        self.value = projection(channels, inner)

    def forward(self, target: Tensor, source: Tensor, labels: Tensor) -> Tensor:
        """``(B, C, H, W)`` twice, class logits ``(B, L, H, W)`` -> ``(B, M, H, W)``."""
        weights = labels.flatten(2).softmax(dim=2)
        regions = (source.flatten(2) @ weights.mT).unsqueeze(3)  # (B, C, L, 1)
        key, value = to_tokens(self.key(regions)), to_tokens(self.value(regions))
        mixed = attend(to_tokens(self.query(target)), key, value).mT
        return mixed.unflatten(2, target.shape[-2:])
