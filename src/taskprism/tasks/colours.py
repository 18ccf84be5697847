"""Colour tables and the few ways in which tasks turn numbers into pictures."""

from __future__ import annotations

from functools import cache

import matplotlib
import numpy as np
import torch
from torch import Tensor


@cache
def class_palette(classes: int = 256) -> np.ndarray:
    """Colours that PASCAL VOC gives to class indices, ``(classes, 3)`` uint8; class 0 is black.

    The bits of an index are dealt out to red, green and blue in turn, lowest first, and fill each
    colour from its highest bit down, so that near indices get far colours.
    """
    bits = (np.arange(classes)[:, None] >> np.arange(24)) & 1
    dealt = bits.reshape(classes, 8, 3)
    palette = (dealt << np.arange(7, -1, -1)[:, None]).sum(axis=1).astype(np.uint8)
    palette.setflags(write=False)
    return palette


def colour_classes(values: Tensor, valid: Tensor | None) -> np.ndarray:
    """Class indices ``(1, H, W)`` -> ``(H, W, 3)`` uint8 in :func:`class_palette`."""
    indices = values.detach().cpu().long().numpy()[0]
    palette = class_palette(max(256, int(indices.max(initial=0)) + 1))
    return blacken(palette[np.maximum(indices, 0)], valid)


def colour_grey(values: Tensor, valid: Tensor | None) -> np.ndarray:
    """``(1, H, W)`` in [0, 1] -> grey picture, 1 white."""
    return colour_rgb(values.expand(3, -1, -1), valid)


def colour_rgb(values: Tensor, valid: Tensor | None) -> np.ndarray:
    """``(3, H, W)`` in [0, 1] -> the same as a picture; what lies outside is clipped."""
    unit = torch.nan_to_num(values.detach().float()).clamp(0, 1)
    picture = (unit * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    return blacken(picture, valid)


def colour_range(
    values: Tensor,
    valid: Tensor | None,
    reference: Tensor | None,
    *,
    reverse: bool,
    colormap: str = "inferno",
) -> np.ndarray:
    """Numbers ``(1, H, W)`` on a perceptually even colour scale, black where not finite.

    The scale goes from the 1st to the 99th percentile of the finite positive values of
    ``reference`` (by default of ``values``) at valid pixels, so that stray ones do not set it.

    Args:
        values: ``(1, H, W)``.
        valid: Boolean ``(1, H, W)`` or None for all.
        reference: ``(1, H, W)`` or None.
        reverse: Whether small values are bright.
        colormap: Name of a matplotlib colour map, dark to bright.
    """
    numbers = values.detach().cpu().double().numpy()[0]
    scale = numbers if reference is None else reference.detach().cpu().double().numpy()[0]
    usable = np.isfinite(scale) & (scale > 0)
    if valid is not None and scale.shape == numbers.shape:
        usable &= valid.detach().cpu().numpy()[0]
    low, high = np.percentile(scale[usable], [1, 99]) if usable.any() else (0.0, 1.0)
    finite = np.isfinite(numbers)
    unit = (np.where(finite, numbers, low) - low) / max(high - low, 1e-12)
    unit = np.clip(1 - unit if reverse else unit, 0, 1)
    picture = (matplotlib.colormaps[colormap](unit)[..., :3] * 255).round().astype(np.uint8)
    picture[~finite] = 0
    return blacken(picture, valid)


def blacken(picture: np.ndarray, valid: Tensor | None) -> np.ndarray:
    """Copy of ``picture`` ``(H, W, 3)`` that is black where ``valid`` ``(1, H, W)`` is False."""
    if valid is None:
        return picture.copy()
    return np.where(valid.detach().cpu().numpy()[0][..., None], picture, np.uint8(0))
