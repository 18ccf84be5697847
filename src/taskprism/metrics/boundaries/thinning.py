"""Thinning of boundaries to lines one pixel wide, of up to 64 masks at a time.

The algorithm of Guo and Hall, "Parallel thinning with two-subiteration algorithms" (1989), with the
conditions in the form that MATLAB documents for ``bwmorph(..., "thin")`` and that
:func:`skimage.morphology.thin` follows. A set pixel with neighbors ``x1 .. x8`` (counted from the
right-hand one, anti-clockwise) is deleted if

* G1: exactly one ``i`` of 1..4 has ``x[2i-1] = 0`` and ``x[2i] or x[2i+1]``;
* G2: ``2 <= min(n1, n2) <= 3`` with ``n1 = sum(x[2i-1] or x[2i])``, ``n2 = sum(x[2i] or x[2i+1])``;
* G3: ``(x2 or x3 or not x8) and x1`` is 0 in the first half of an iteration,
  ``(x6 or x7 or not x4) and x5`` is 0 in the second.

These are Boolean functions, so a word of 64 masks costs what one mask costs. After the first
iteration only pixels whose neighborhood has changed are looked at again.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from taskprism.metrics.boundaries.bits import Indices, Words, nonzero


def thin(mask: NDArray[Any]) -> NDArray[np.bool_]:
    """Thin one mask ``(H, W)``; equal to :func:`skimage.morphology.thin`."""
    return _thin(np.asarray(mask) != 0)


def thin_planes(planes: Words) -> Words:
    """Thin every bit of ``(planes, H, W)`` as a mask of its own."""
    return np.stack([_thin(plane) for plane in planes])


def _thin(image: NDArray[Any]) -> NDArray[Any]:
    """Thin every bit of ``(H, W)``, boolean or unsigned."""
    padded = np.pad(image, 1)
    pixels = padded.ravel()
    width = padded.shape[1]
    steps = (1, 1 - width, -width, -1 - width, -1, width - 1, width, width + 1)
    candidates = nonzero(pixels)
    touched = np.zeros(pixels.size, dtype=bool)
    # Both halves must have seen every pixel; later a half needs to look at a pixel only if a
    # neighbor was deleted since it last did, that is in the two halves before it.
    before: Indices | None = None
    first_half = True
    while True:
        here = pixels[candidates]
        around = [pixels[candidates + step] for step in steps]
        deletable = here & _deletable(around, first_half)
        some = nonzero(deletable)
        deleted = candidates[some]
        pixels[deleted] = here[some] & ~deletable[some]
        first_half = not first_half
        if before is None:
            before = deleted
            continue
        changed = np.concatenate([before, deleted])
        if len(changed) == 0:
            return padded[1:-1, 1:-1]
        before = deleted
        touched[:] = False
        for step in steps:
            touched[changed + step] = True
        candidates = touched.nonzero()[0]
        candidates = candidates[pixels[candidates] != 0]


def _deletable(around: list[NDArray[Any]], first_half: bool) -> NDArray[Any]:
    """Conditions G1, G2 and G3 of the module, bit by bit."""
    x1, x2, x3, x4, x5, x6, x7, x8 = around
    p12, p34, p56, p78 = x1 | x2, x3 | x4, x5 | x6, x7 | x8
    p23, p45, p67, p81 = x2 | x3, x4 | x5, x6 | x7, x8 | x1

    # G1: of an odd number of terms it is one unless a pair of them is complete.
    t1, t2, t3, t4 = ~x1 & p23, ~x3 & p45, ~x5 & p67, ~x7 & p81
    odd = t1 ^ t2 ^ t3 ^ t4
    one = odd & ~((t1 & t2) | (t3 & t4))

    low, high = (p12 | p34) & (p56 | p78), (p12 & p34) | (p56 & p78)
    first_two_or_more = low | high
    low, high = (p23 | p45) & (p67 | p81), (p23 & p45) | (p67 & p81)
    second_two_or_more = low | high
    all_eight = (p12 & p34 & p56 & p78) & (p23 & p45 & p67 & p81)

    keep = (x2 | x3 | ~x8) & x1 if first_half else (x6 | x7 | ~x4) & x5
    return one & first_two_or_more & second_two_or_more & ~all_eight & ~keep
