"""At which stride of an image a map lies."""

from __future__ import annotations

from collections.abc import Sequence


def stride_of(image: Sequence[int], maps: Sequence[int]) -> int:
    """Stride at which an image has maps of a size, which is rounded up: a power of two if one is.

    At stride 32 an image of 144 x 192 has a map of 5 x 6, at which 29 would be the nearest number.

    Args:
        image: ``(H, W)``.
        maps: ``(h, w)``.
    """
    steps = range(1, max(image) + 1)
    fitting = [s for s in steps if all(-(-i // s) == m for i, m in zip(image, maps, strict=True))]
    powers = [stride for stride in fitting if stride.bit_count() == 1]
    return (powers or fitting or [max(round(image[0] / maps[0]), 1)])[0]
