"""How tasks turn numbers into pictures, and the legends that explain the colors."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import matplotlib
import numpy as np
import torch
from torch import Tensor

Rgb = tuple[int, int, int]

DARKEST = 0.1  # where the scale starts in its color map: black is left to missing values


@cache
def class_palette(classes: int = 256) -> np.ndarray:
    """Colors that PASCAL VOC gives to class indices, ``(classes, 3)`` uint8; class 0 is black.

    The bits of an index are dealt out to red, green and blue in turn, lowest first, and fill each
    color from its highest bit down, so that near indices get far colors.
    """
    bits = (np.arange(classes)[:, None] >> np.arange(24)) & 1
    dealt = bits.reshape(classes, 8, 3)
    palette = (dealt << np.arange(7, -1, -1)[:, None]).sum(axis=1).astype(np.uint8)
    palette.setflags(write=False)
    return palette


def color_classes(values: Tensor, valid: Tensor | None, palette: np.ndarray) -> np.ndarray:
    """Class indices ``(1, H, W)`` -> ``(H, W, 3)`` uint8; indices outside the palette are black."""
    indices = values.detach().cpu().long().numpy()[0]
    known = (indices >= 0) & (indices < len(palette))
    picture = palette[np.where(known, indices, 0)]
    return blacken(np.where(known[..., None], picture, np.uint8(0)), valid)


def color_gray(values: Tensor, valid: Tensor | None) -> np.ndarray:
    """``(1, H, W)`` in [0, 1] -> gray picture, 1 white."""
    return color_rgb(values.expand(3, -1, -1), valid)


def color_rgb(values: Tensor, valid: Tensor | None) -> np.ndarray:
    """``(3, H, W)`` in [0, 1] -> the same as a picture; what lies outside is clipped."""
    unit = torch.nan_to_num(values.detach().float()).clamp(0, 1)
    picture = (unit * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    return blacken(picture, valid)


def value_range(values: Tensor, valid: Tensor | None) -> tuple[float, float]:
    """Ends of a color scale: the 1st and 99th percentile of finite, positive, valid values.

    Stray values thus do not squeeze the rest. Without any such value the range is (0, 1).
    """
    numbers = values.detach().cpu().double().numpy()
    usable = np.isfinite(numbers) & (numbers > 0)
    if valid is not None:
        usable &= valid.detach().cpu().numpy()
    if not usable.any():
        return 0.0, 1.0
    low, high = np.percentile(numbers[usable], [1, 99])
    return float(low), float(high)


def scale_colors(unit: np.ndarray, *, reverse: bool) -> np.ndarray:
    """Numbers in [0, 1] -> uint8 RGB on a perceptually even scale from dark to bright.

    Args:
        unit: Any shape; what lies outside [0, 1] is clipped.
        reverse: Whether small values are the bright ones.
    """
    clipped = np.clip(1 - unit if reverse else unit, 0, 1)
    clipped = DARKEST + (1 - DARKEST) * clipped
    return (matplotlib.colormaps["inferno"](clipped)[..., :3] * 255).round().astype(np.uint8)


def color_range(
    values: Tensor, valid: Tensor | None, limits: tuple[float, float], *, reverse: bool
) -> np.ndarray:
    """Numbers ``(1, H, W)`` as colors from ``limits[0]`` to ``limits[1]``; black if not finite."""
    numbers = values.detach().cpu().double().numpy()[0]
    low, high = limits
    finite = np.isfinite(numbers)
    unit = (np.where(finite, numbers, low) - low) / max(high - low, 1e-12)
    picture = scale_colors(unit, reverse=reverse)
    return blacken(np.where(finite[..., None], picture, np.uint8(0)), valid)


def direction_ball(size: int = 96) -> tuple[np.ndarray, np.ndarray]:
    """Unit normals of a ball seen from the camera, x right, y up, z toward it.

    Returns:
        Normals ``(3, size, size)`` float32, 0 outside the ball, and the ball ``(size, size)``.
    """
    steps = (np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1
    x, y = np.meshgrid(steps, -steps)
    inside = x**2 + y**2 < 1
    z = np.sqrt(np.clip(1 - x**2 - y**2, 0, None))
    return np.where(inside, np.stack([x, y, z]), 0).astype(np.float32), inside


def blacken(picture: np.ndarray, valid: Tensor | None) -> np.ndarray:
    """Copy of ``picture`` ``(H, W, 3)`` that is black where ``valid`` ``(1, H, W)`` is False."""
    if valid is None:
        return picture.copy()
    return np.where(valid.detach().cpu().numpy()[0][..., None], picture, np.uint8(0))


@dataclass(frozen=True)
class Swatches:
    """One color per class.

    Attributes:
        entries: Color (uint8 RGB) and class name, in class order.
    """

    entries: tuple[tuple[Rgb, str], ...]


@dataclass(frozen=True, eq=False)
class ColorScale:
    """Colors from the lowest to the highest value.

    Attributes:
        colors: ``(N, 3)`` uint8 RGB, from ``low`` to ``high``.
        low: Value of the first color, in ``unit``.
        high: Value of the last color, in ``unit``.
        unit: Such as ``"m"``; empty for plain numbers.
    """

    colors: np.ndarray
    low: float
    high: float
    unit: str = ""


@dataclass(frozen=True, eq=False)
class DirectionBall:
    """A ball colored by its own normals, seen from the camera.

    Attributes:
        picture: ``(N, N, 3)`` uint8 RGB.
        inside: ``(N, N)`` boolean: the ball, the rest is background.
        axes: Names of the directions to the right, up and toward the viewer.
    """

    picture: np.ndarray
    inside: np.ndarray
    axes: tuple[str, str, str] = ("x", "y", "z")


Legend = Swatches | ColorScale | DirectionBall
