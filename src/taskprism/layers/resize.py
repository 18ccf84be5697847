"""The one way in which feature maps and outputs change size."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor


def resize(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear, corners not aligned, not antialiased: ``(B, C, h, w) -> (B, C, *size)``.

    Giving the size and not a factor makes odd sizes come out right.
    """
    height, width = size
    if tuple(maps.shape[-2:]) == (height, width):
        return maps
    return F.interpolate(maps, size=(height, width), mode="bilinear", align_corners=False)
