"""Arithmetic that gives the same bits on every machine.

IEEE 754 fixes the result of ``+ - * /`` and of the square root; sines, powers and exponentials are
left to each mathematics library and differ in the last bit. The functions here use only the fixed
operations. For the same reason nothing in :mod:`taskprism.rooms` calls matrix products or sums
of floating-point arrays, whose order of additions depends on the processor, or Python's ``sum`` of
floating-point numbers, which rounds differently from Python 3.12 on.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

PI = 3.141592653589793
Vec = tuple[float, float, float]

_SINE_TERMS = 12  # the 13th term is below 1e-17 on [-pi / 2, pi / 2]


def sine(angle: float) -> float:
    """Sine of an angle in radians, from its Taylor series."""
    x = angle - 2.0 * PI * float(round(angle / (2.0 * PI)))
    if x > PI / 2.0:
        x = PI - x
    elif x < -PI / 2.0:
        x = -PI - x
    term = total = x
    for k in range(1, _SINE_TERMS):
        term = -term * x * x / (2.0 * k * (2.0 * k + 1.0))
        total += term
    return total


def cosine(angle: float) -> float:
    """Cosine of an angle in radians."""
    return sine(angle + PI / 2.0)


def radians(degrees: float) -> float:
    """Degrees -> radians."""
    return degrees * (PI / 180.0)


def total(numbers: Iterable[float]) -> float:
    """Sum from the first number to the last, rounded at every step."""
    result = 0.0
    for number in numbers:
        result += number
    return result


def dot(a: Vec, b: Vec) -> float:
    """Inner product."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def unit(a: Vec) -> Vec:
    """Vector of length 1 in the same direction."""
    length = math.sqrt(dot(a, a))
    return (a[0] / length, a[1] / length, a[2] / length)


def smoothstep(x: np.ndarray) -> np.ndarray:
    """``3 x^2 - 2 x^3`` of ``x`` clipped to [0, 1]."""
    x = np.clip(x, 0.0, 1.0)
    return x * x * (3.0 - 2.0 * x)


def fraction(x: np.ndarray) -> np.ndarray:
    """``x - floor(x)``."""
    return x - np.floor(x)


def linear_from_srgb(value: float) -> float:
    """Reflectance or light of an sRGB code in [0, 1], by a cubic within 0.005 of the standard."""
    return value * (value * (value * 0.305306011 + 0.682171111) + 0.012522878)


def srgb_table(size: int = 4096) -> np.ndarray:
    """The sRGB code in [0, 1] of the linear lights ``k / (size - 1)``, float32 ``(size,)``.

    The power 5/12 is taken as ``x^(1/4) * sqrt(x^(1/3))`` with the cube root by Newton's method.
    """
    x = np.arange(size).astype(np.float64) / float(size - 1)
    root = np.ones_like(x)
    safe = np.maximum(x, 1e-12)
    for _ in range(40):
        root = (2.0 * root + safe / (root * root)) / 3.0
    power = np.sqrt(np.sqrt(x)) * np.sqrt(root)
    return np.where(x <= 0.0031308, 12.92 * x, 1.055 * power - 0.055).astype(np.float32)
