"""How tasks turn numbers into pictures, and the legends that explain the colors."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import matplotlib
import numpy as np
import torch
from torch import Tensor

Rgb = tuple[int, int, int]

DARKEST = 0.1  # start of the scale in its color map: black means a missing value


@cache
def class_palette(classes: int = 256) -> np.ndarray:
    """Colors of class indices in PASCAL VOC, ``(classes, 3)`` uint8; class 0 is black.

    The bits of an index, lowest first, go to red, green and blue in turn, and fill each color from
    its highest bit down. So neighboring indices get very different colors.

    Example:
        >>> class_palette()[:3].tolist()
        [[0, 0, 0], [128, 0, 0], [0, 128, 0]]
    """
    bits = (np.arange(classes)[:, None] >> np.arange(24)) & 1
    dealt = bits.reshape(classes, 8, 3)
    palette = (dealt << np.arange(7, -1, -1)[:, None]).sum(axis=1).astype(np.uint8)
    palette.setflags(write=False)
    return palette


def color_classes(values: Tensor, valid: Tensor | None, palette: np.ndarray) -> np.ndarray:
    """Class indices ``(1, H, W)`` as ``(H, W, 3)`` uint8; indices outside the palette are black.

    Example:
        >>> color_classes(torch.ones(1, 1, 1), None, class_palette()).tolist()
        [[[128, 0, 0]]]
    """
    indices = values.detach().cpu().long().numpy()[0]
    known = (indices >= 0) & (indices < len(palette))
    picture = palette[np.where(known, indices, 0)]
    return blacken(np.where(known[..., None], picture, np.uint8(0)), valid)


def color_gray(values: Tensor, valid: Tensor | None) -> np.ndarray:
    """``(1, H, W)`` in [0, 1] as a gray picture; 1 is white.

    Example:
        >>> color_gray(torch.full((1, 1, 1), 0.5), None).tolist()
        [[[128, 128, 128]]]
    """
    return color_rgb(values.expand(3, -1, -1), valid)


def color_rgb(values: Tensor, valid: Tensor | None) -> np.ndarray:
    """``(3, H, W)`` in [0, 1] as a picture ``(H, W, 3)`` uint8; other values are clipped.

    Example:
        >>> color_rgb(torch.ones(3, 4, 6), None).shape
        (4, 6, 3)
    """
    unit = torch.nan_to_num(values.detach().float()).clamp(0, 1)
    picture = (unit * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    return blacken(picture, valid)


def value_range(values: Tensor, valid: Tensor | None) -> tuple[float, float]:
    """Ends of a color scale: the 1st and 99th percentile of finite, positive, valid values.

    Percentiles keep a few outliers from compressing the scale. Without such a value the range is
    (0, 1).

    Example:
        >>> value_range(torch.tensor([0.0, 3.0]), None)
        (3.0, 3.0)
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
    """Numbers in [0, 1] as uint8 RGB on a perceptually uniform scale from dark to bright.

    Args:
        unit: Any shape; values outside [0, 1] are clipped.
        reverse: Whether small values are bright.

    Example:
        >>> scale_colors(np.linspace(0, 1, 256), reverse=False).shape
        (256, 3)
    """
    clipped = np.clip(1 - unit if reverse else unit, 0, 1)
    clipped = DARKEST + (1 - DARKEST) * clipped
    return (matplotlib.colormaps["inferno"](clipped)[..., :3] * 255).round().astype(np.uint8)


def color_range(
    values: Tensor, valid: Tensor | None, limits: tuple[float, float], *, reverse: bool
) -> np.ndarray:
    """Numbers ``(1, H, W)`` as colors from ``limits[0]`` to ``limits[1]``; black if not finite.

    Example:
        >>> color_range(torch.full((1, 1, 1), torch.nan), None, (0, 1), reverse=False).tolist()
        [[[0, 0, 0]]]
    """
    numbers = values.detach().cpu().double().numpy()[0]
    low, high = limits
    finite = np.isfinite(numbers)
    unit = (np.where(finite, numbers, low) - low) / max(high - low, 1e-12)
    picture = scale_colors(unit, reverse=reverse)
    return blacken(np.where(finite[..., None], picture, np.uint8(0)), valid)


def direction_ball(size: int = 96) -> tuple[np.ndarray, np.ndarray]:
    """Unit normals of a ball seen from the camera, x right, y up, z toward it.

    Returns:
        Normals ``(3, size, size)`` float32, 0 outside the ball, and the mask of the ball
        ``(size, size)``.

    Example:
        >>> normals, inside = direction_ball(9)
        >>> normals[2, 4, 4].item()  # toward the camera in the middle
        1.0
    """
    steps = (np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1
    x, y = np.meshgrid(steps, -steps)
    inside = x**2 + y**2 < 1
    z = np.sqrt(np.clip(1 - x**2 - y**2, 0, None))
    return np.where(inside, np.stack([x, y, z]), 0).astype(np.float32), inside


def blacken(picture: np.ndarray, valid: Tensor | None) -> np.ndarray:
    """Copy of ``picture`` ``(H, W, 3)`` that is black where ``valid`` ``(1, H, W)`` is False.

    Example:
        >>> blacken(np.full((1, 1, 3), 255, np.uint8), torch.zeros(1, 1, 1, dtype=torch.bool)).max()
        np.uint8(0)
    """
    if valid is None:
        return picture.copy()
    return np.where(valid.detach().cpu().numpy()[0][..., None], picture, np.uint8(0))


@dataclass(frozen=True)
class Swatches:
    """Legend with one color per class.

    Attributes:
        entries: Color (uint8 RGB) and class name, in class order.

    Example:
        >>> Swatches((((0, 0, 0), "background"), ((128, 0, 0), "cat"))).entries[1]
        ((128, 0, 0), 'cat')
    """

    entries: tuple[tuple[Rgb, str], ...]


@dataclass(frozen=True, eq=False)
class ColorScale:
    """Legend with the colors from the lowest to the highest value.

    Attributes:
        colors: ``(N, 3)`` uint8 RGB, from ``low`` to ``high``.
        low: Value of the first color, in ``unit``.
        high: Value of the last color, in ``unit``.
        unit: Such as ``"m"``; empty for plain numbers.

    Example:
        >>> ColorScale(np.zeros((256, 3), np.uint8), low=0.5, high=8.0, unit="m").unit
        'm'
    """

    colors: np.ndarray
    low: float
    high: float
    unit: str = ""


@dataclass(frozen=True, eq=False)
class DirectionBall:
    """Legend with a ball that has the colors of its normals, seen from the camera.

    Attributes:
        picture: ``(N, N, 3)`` uint8 RGB.
        inside: ``(N, N)`` boolean, True on the ball.
        axes: Names of the directions to the right, up and toward the viewer.

    Example:
        >>> normals, inside = direction_ball(9)
        >>> DirectionBall(color_rgb((torch.from_numpy(normals) + 1) / 2, None), inside).axes
        ('x', 'y', 'z')
    """

    picture: np.ndarray
    inside: np.ndarray
    axes: tuple[str, str, str] = ("x", "y", "z")


Legend = Swatches | ColorScale | DirectionBall
