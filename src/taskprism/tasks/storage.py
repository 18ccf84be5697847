"""How the labels of a task are stored in files."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal


@dataclass(frozen=True)
class Storage:
    """Labels as whole numbers of a PNG file: ``value = number * scale + offset``.

    Attributes:
        missing: Number, in all channels, of a pixel without a label.
        scale: Unit of the value per number, or a fraction such as ``"2/255"``.
        offset: Value of the number 0.
        bits: 8 or 16; a PNG of three channels has 8.
        positive: For masks: the number that means yes; 0 means no.

    Example:
        >>> millimeters = Storage(missing=0, scale="1/1000", bits=16)
        >>> millimeters.step, millimeters.largest
        (0.001, 65535)
    """

    missing: int
    scale: str = "1"
    offset: float = 0.0
    bits: Literal[8, 16] = 8
    positive: int | None = None

    @property
    def step(self) -> float:
        """The scale as a number."""
        return float(Fraction(self.scale))

    @property
    def largest(self) -> int:
        """Largest number."""
        return 2**self.bits - 1
