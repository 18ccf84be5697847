"""Random draws that stay the same in every version of NumPy.

NumPy promises the raw bits of its bit generators for ever, but not what ``Generator.normal`` and
its like make of them, so the few distributions needed are made from the bits here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

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
