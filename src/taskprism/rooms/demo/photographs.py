"""Photographs that come with scikit-image: real pictures without a download."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from skimage import data
from torch import Tensor

# Middlebury 2014 "Motorcycle", as skimage.data.stereo_motorcycle() documents it.
_FOCAL_PIXELS, _BASELINE_METERS, _OFFSET_PIXELS = 994.978, 0.193001, 31.086


@dataclass(frozen=True)
class Photograph:
    """A picture with its origin.

    Attributes:
        name: For captions.
        image: ``(3, H, W)`` float32 RGB in [0, 1].
        origin: Who made it, under which terms.
        targets: Task name -> measured label ``(C, H, W)``, where there is one.
        valid: Task name -> boolean ``(1, H, W)``.
    """

    name: str
    image: Tensor
    origin: str
    targets: dict[str, Tensor] = field(default_factory=dict)
    valid: dict[str, Tensor] = field(default_factory=dict)


def photographs() -> list[Photograph]:
    """Four photographs; the motorcycle has a measured depth."""
    left, _, disparity = data.stereo_motorcycle()
    known = np.isfinite(disparity)
    pixels = np.where(known, disparity, 0) + _OFFSET_PIXELS
    depth = (_FOCAL_PIXELS * _BASELINE_METERS / pixels).astype(np.float32)
    return [
        Photograph(
            "motorcycle",
            _as_tensor(left),
            "Middlebury Stereo 2014 (Scharstein et al., GCPR 2014), with depth from structured "
            "light; shipped by scikit-image",
            {"depth": torch.from_numpy(depth)[None]},
            {"depth": torch.from_numpy(known)[None]},
        ),
        Photograph("coffee", _as_tensor(data.coffee()), "Rachel Michetti, CC0"),
        Photograph("astronaut", _as_tensor(data.astronaut()), "NASA, public domain"),
        Photograph("chelsea", _as_tensor(data.chelsea()), "Stefan van der Walt, CC0"),
    ]


def _as_tensor(picture: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1).float() / 255
