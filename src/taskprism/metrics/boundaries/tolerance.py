"""Which predicted and which true boundary pixels are near enough to be one another's match."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taskprism.metrics.boundaries.bits import Indices


def disc(radius: float) -> tuple[Indices, Indices]:
    """Offsets ``(rows, columns)`` of length at most ``radius`` pixels, nearest first."""
    reach = int(radius)
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    squares = rows**2 + columns**2
    order = np.argsort(squares, axis=None, kind="stable")
    order = order[squares.ravel()[order] <= radius**2]
    return rows.ravel()[order], columns.ravel()[order]


@dataclass(frozen=True)
class ToleranceGraph:
    """Pairs of a predicted and a true pixel within tolerance.

    Attributes:
        predicted: Predicted pixel of every pair, as a number into ``pixels``.
        truth: True pixel of every pair, counted in raster order.
        offset: Class of every pair, ascending: pairs of one offset share no pixel, and the offsets
            grow with distance.
        offsets: Number of classes.
        pixels: Predicted pixels that have a pair, as positions in the flattened image, ascending.
        truths: Number of true pixels.
    """

    predicted: Indices
    truth: Indices
    offset: NDArray[np.uint16]
    offsets: int
    pixels: Indices
    truths: int

    @classmethod
    def between(
        cls, predicted: NDArray[np.bool_], truth: NDArray[np.bool_], radius: float
    ) -> ToleranceGraph:
        """All pairs of pixels of two masks ``(H, W)`` that lie at most ``radius`` apart."""
        height, width = truth.shape
        reach = int(radius)
        padded_width = width + 2 * reach
        # Numbers of the predicted pixels, -1 elsewhere; the margin spares every bounds check.
        inside = np.zeros((height + 2 * reach, padded_width), dtype=bool)
        inside[reach : reach + height, reach : reach + width] = predicted
        inside = inside.ravel()
        row, column = truth.nonzero()
        at = (row + reach) * padded_width + column + reach
        rows, columns = disc(radius)
        found, truths = [], []
        for step in (rows * padded_width + columns).tolist():
            places = at + step
            some = inside[places].nonzero()[0]
            found.append(places[some])
            truths.append(some)
        places = np.concatenate(found)
        used = np.zeros(inside.size, dtype=bool)
        used[places] = True
        numbered = used.nonzero()[0]
        number = np.zeros(inside.size, dtype=np.intp)
        number[numbered] = np.arange(len(numbered))
        row, column = np.divmod(numbered, padded_width)
        sizes = [len(part) for part in truths]
        return cls(
            predicted=number[places],
            truth=np.concatenate(truths),
            offset=np.repeat(np.arange(len(rows), dtype=np.uint16), sizes),
            offsets=len(rows),
            pixels=(row - reach) * width + column - reach,
            truths=len(at),
        )
