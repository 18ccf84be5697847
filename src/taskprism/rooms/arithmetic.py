"""Arithmetic that gives the same bits on every machine, random draws and smooth noise.

Sines, cube roots and powers of a mathematics library differ between machines, so they are computed
here from ``+ - * /`` and square roots, which IEEE 754 defines exactly.
"""

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
    """Sine of an angle in radians, from its Taylor series.

    Example:
        >>> from taskprism.rooms.arithmetic import PI, sine
        >>> round(sine(PI / 6), 12)
        0.5
    """
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
    """Cosine of an angle in radians.

    Example:
        >>> from taskprism.rooms.arithmetic import PI, cosine
        >>> round(cosine(PI / 3), 12)
        0.5
    """
    return sine(angle + PI / 2.0)


def radians(degrees: float) -> float:
    """Convert degrees to radians.

    Example:
        >>> from taskprism.rooms.arithmetic import PI, radians
        >>> radians(180.0) == PI
        True
    """
    return degrees * (PI / 180.0)


def total(numbers: Iterable[float]) -> float:
    """Sum from the first number to the last, rounded at every step.

    The built-in ``sum`` compensates rounding errors from Python 3.12 on, which changes bits.

    Example:
        >>> from taskprism.rooms.arithmetic import total
        >>> total([0.5, 0.25])
        0.75
    """
    result = 0.0
    for number in numbers:
        result += number
    return result


@overload
def dot(a: Vec, b: Vec) -> float: ...
@overload
def dot(a: Vec | Triple | np.ndarray, b: Triple | np.ndarray) -> np.ndarray: ...
def dot(a: Vec | Triple | np.ndarray, b: Vec | Triple | np.ndarray) -> float | np.ndarray:
    """Inner product of two vectors of three numbers or arrays, added in order of the axes.

    Example:
        >>> from taskprism.rooms.arithmetic import dot
        >>> dot((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))
        32.0
    """
    return (a[0] * b[0] + a[1] * b[1]) + a[2] * b[2]


def unit(a: Vec) -> Vec:
    """Vector of length 1 in the same direction.

    Example:
        >>> from taskprism.rooms.arithmetic import unit
        >>> unit((0.0, 3.0, 4.0))
        (0.0, 0.6, 0.8)
    """
    length = math.sqrt(dot(a, a))
    return (a[0] / length, a[1] / length, a[2] / length)


def smoothstep(x: np.ndarray) -> np.ndarray:
    """``3 x^2 - 2 x^3`` of ``x`` clipped to [0, 1].

    Example:
        >>> import numpy as np
        >>> from taskprism.rooms.arithmetic import smoothstep
        >>> smoothstep(np.array([-1.0, 0.5, 2.0])).tolist()
        [0.0, 0.5, 1.0]
    """
    x = np.clip(x, 0.0, 1.0)
    return x * x * (3.0 - 2.0 * x)


def fraction(x: np.ndarray) -> np.ndarray:
    """``x - floor(x)``, in [0, 1).

    Example:
        >>> import numpy as np
        >>> from taskprism.rooms.arithmetic import fraction
        >>> fraction(np.array([2.25, -0.25])).tolist()
        [0.25, 0.75]
    """
    return x - np.floor(x)


def linear_from_srgb(value: float) -> float:
    """Linear reflectance or light of an sRGB code, both in [0, 1].

    A cubic approximates the standard within 0.005.

    Example:
        >>> from taskprism.rooms.arithmetic import linear_from_srgb
        >>> round(linear_from_srgb(0.5), 3)
        0.215
    """
    return value * (value * (value * 0.305306011 + 0.682171111) + 0.012522878)


def srgb_table(size: int = 4096) -> np.ndarray:
    """The sRGB codes in [0, 1] of the linear lights ``k / (size - 1)``, float32 ``(size,)``.

    The power 5/12 is ``x^(1/4) * sqrt(x^(1/3))`` with the cube root by Newton's method.

    Example:
        >>> from taskprism.rooms.arithmetic import srgb_table
        >>> srgb_table(3).round(3).tolist()
        [0.0, 0.7350000143051147, 1.0]
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
    """A reproducible stream of random draws.

    Args:
        seed: Any non-negative integer.
        stream: Streams of one seed are independent, so that drawing more from one of them (more
            furniture) does not change another (the camera).

    Example:
        >>> from taskprism.rooms.arithmetic import Dice
        >>> Dice(3).integer(1, 6) == Dice(3).integer(1, 6)
        True
        >>> 2.0 <= Dice(3, stream=1).uniform(2.0, 4.0) < 4.0
        True
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
        """32 random bits, to seed a noise."""
        return self.raw() & 0xFFFFFFFF

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """A number in [low, high)."""
        return low + (high - low) * ((self.raw() >> 11) * 2.0**-53)

    def bell(self, spread: float = 1.0) -> float:
        """A bell-shaped number of mean 0 and standard deviation ``spread``, at most 3.5 spreads."""
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
        """One of the options, all equally likely."""
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

    Example:
        >>> import numpy as np
        >>> from taskprism.rooms.arithmetic import hash_unit
        >>> zero = np.zeros(2)
        >>> first, second = hash_unit(np.arange(2), zero, zero, np.full(2, 7, np.uint32))
        >>> bool(0 <= first < 1 and first != second)
        True
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

    Example:
        >>> import numpy as np
        >>> from taskprism.rooms.arithmetic import value_noise
        >>> x = np.linspace(0, 1, 5, dtype=np.float32)
        >>> zero, seed = np.zeros_like(x), np.full(5, 7, np.uint32)
        >>> value_noise(x, zero, zero, seed).shape
        (5,)
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
    """Two octaves of :func:`value_noise` in [0, 1), float32 ``(N,)``; same arguments.

    Example:
        >>> import numpy as np
        >>> from taskprism.rooms.arithmetic import fractal_noise
        >>> zero = np.zeros(3, np.float32)
        >>> fractal_noise(zero, zero, zero, np.full(3, 7, np.uint32)).dtype
        dtype('float32')
    """
    coarse = value_noise(x, y, z, seed)
    fine = value_noise(x * 2.7 + 0.5, y * 2.7 + 0.5, z * 2.7 + 0.5, seed ^ _MIX)
    return coarse * np.float32(0.65) + fine * np.float32(0.35)


def sensor_noise(count: int, seed: int) -> np.ndarray:
    """Bell-shaped numbers of mean 0 and standard deviation 1, float32 ``(count,)``.

    Example:
        >>> from taskprism.rooms.arithmetic import sensor_noise
        >>> sensor_noise(4, seed=1).shape
        (4,)
    """
    index = np.arange(count, dtype=np.uint32) * _Y + np.uint32(seed & 0xFFFFFFFF)
    h = (index ^ (index >> np.uint32(16))) * _MIX
    h = (h ^ (h >> np.uint32(13))) * _X
    h ^= h >> np.uint32(16)
    total = (h & np.uint32(255)) + ((h >> np.uint32(8)) & np.uint32(255))
    total += ((h >> np.uint32(16)) & np.uint32(255)) + (h >> np.uint32(24))
    return (total.astype(np.float32) - np.float32(510.0)) * np.float32(1.0 / 147.8)
