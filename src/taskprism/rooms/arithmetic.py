"""Arithmetic with the same bits on every machine, hashed random numbers, and smooth noise."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TypeVar, overload

import numpy as np

PI = 3.141592653589793
Vec = tuple[float, float, float]
Triple = Sequence[np.ndarray]
"""Three coordinates, each an array."""

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


@overload
def dot(a: Vec, b: Vec) -> float: ...
@overload
def dot(a: Vec | Triple | np.ndarray, b: Triple | np.ndarray) -> np.ndarray: ...
def dot(a: Vec | Triple | np.ndarray, b: Vec | Triple | np.ndarray) -> float | np.ndarray:
    """Inner product of two vectors of three numbers or arrays, added up in order of the axes."""
    return (a[0] * b[0] + a[1] * b[1]) + a[2] * b[2]


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


T = TypeVar("T")

_BLOCK = 512


class Dice:
    """A stream of random draws from non-negative integers.

    Args:
        seed: Any non-negative integer.
        stream: Streams of one seed are independent, so that drawing more from one of them (more
            furniture) does not change another (the camera).
    """

    def __init__(self, seed: int, stream: int = 0) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(stream,)))
        self._block: list[int] = []

    def raw(self) -> int:
        """64 random bits."""
        if not self._block:
            self._block = self._bits.random_raw(_BLOCK).tolist()
        return self._block.pop()

    def seed(self) -> int:
        """32 random bits, as the seed of a noise."""
        return self.raw() & 0xFFFFFFFF

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """A number in [low, high)."""
        return low + (high - low) * ((self.raw() >> 11) * 2.0**-53)

    def bell(self, spread: float = 1.0) -> float:
        """A number around 0 with standard deviation ``spread``, never beyond 3.5 of them."""
        four = self.uniform() + self.uniform() + self.uniform() + self.uniform()
        return (four - 2.0) * 1.7320508075688772 * spread

    def integer(self, low: int, high: int) -> int:
        """An integer in [low, high], both included."""
        return low + self.raw() % (high - low + 1)

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.uniform() < probability

    def sign(self) -> float:
        """-1 or 1."""
        return 1.0 if self.raw() & 1 else -1.0

    def choice(self, options: Sequence[T]) -> T:
        """One of the options, all alike likely."""
        return options[self.raw() % len(options)]

    def shuffled(self, options: Sequence[T]) -> list[T]:
        """The options in random order."""
        rest = list(options)
        return [rest.pop(self.raw() % len(rest)) for _ in range(len(rest))]


_X, _Y, _Z = np.uint32(0x8DA6B343), np.uint32(0xD8163841), np.uint32(0xCB1AB31F)
_MIX = np.uint32(0x2C1B3C6D)
_TO_UNIT = np.float32(2.0**-24)


def hash_unit(x: np.ndarray, y: np.ndarray, z: np.ndarray, seed: np.ndarray) -> np.ndarray:
    """Hash integer cells to float32 numbers in [0, 1).

    Args:
        x: Cell indices, any integral values (also of float type) within +-2^31.
        y: Likewise.
        z: Likewise.
        seed: uint32.
    """
    return _scramble(_key(x, _X) ^ _key(y, _Y) ^ _key(z, _Z) ^ seed)


def _key(cell: np.ndarray, prime: np.uint32) -> np.ndarray:
    return cell.astype(np.int32).view(np.uint32) * prime


def _scramble(h: np.ndarray) -> np.ndarray:
    h = (h ^ (h >> np.uint32(15))) * _MIX
    h = (h ^ (h >> np.uint32(12))) * _X
    return ((h ^ (h >> np.uint32(15))) >> np.uint32(8)).astype(np.float32) * _TO_UNIT


def value_noise(x: np.ndarray, y: np.ndarray, z: np.ndarray, seed: np.ndarray) -> np.ndarray:
    """Smooth noise in [0, 1) with one random value per integer point, float32.

    Args:
        x: float32 ``(N,)``; neighboring integers hold independent values.
        y: Likewise.
        z: Likewise.
        seed: uint32 ``(N,)``.
    """
    fx, fy, fz = np.floor(x), np.floor(y), np.floor(z)
    sx, sy, sz = smoothstep(x - fx), smoothstep(y - fy), smoothstep(z - fz)
    x0, y0, z0 = _key(fx, _X), _key(fy, _Y), _key(fz, _Z) ^ seed
    x1, y1 = x0 + _X, y0 + _Y
    planes = []
    for zk in (z0, _key(fz + 1.0, _Z) ^ seed):
        rows = []
        for yk in (y0 ^ zk, y1 ^ zk):
            a, b = _scramble(x0 ^ yk), _scramble(x1 ^ yk)
            rows.append(a + (b - a) * sx)
        planes.append(rows[0] + (rows[1] - rows[0]) * sy)
    return planes[0] + (planes[1] - planes[0]) * sz


def fractal_noise(x: np.ndarray, y: np.ndarray, z: np.ndarray, seed: np.ndarray) -> np.ndarray:
    """Two octaves of :func:`value_noise`, in [0, 1)."""
    coarse = value_noise(x, y, z, seed)
    fine = value_noise(x * 2.7 + 0.5, y * 2.7 + 0.5, z * 2.7 + 0.5, seed ^ _MIX)
    return coarse * np.float32(0.65) + fine * np.float32(0.35)


def sensor_noise(count: int, seed: int) -> np.ndarray:
    """Bell-shaped numbers of mean 0 and standard deviation 1, float32 ``(count,)``."""
    index = np.arange(count, dtype=np.uint32) * _Y + np.uint32(seed & 0xFFFFFFFF)
    h = (index ^ (index >> np.uint32(16))) * _MIX
    h = (h ^ (h >> np.uint32(13))) * _X
    h ^= h >> np.uint32(16)
    total = (h & np.uint32(255)) + ((h >> np.uint32(8)) & np.uint32(255))
    total += ((h >> np.uint32(16)) & np.uint32(255)) + (h >> np.uint32(24))
    return (total.astype(np.float32) - np.float32(510.0)) * np.float32(1.0 / 147.8)
