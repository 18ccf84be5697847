"""Maximum matching of predicted with true boundary pixels, all thresholds and annotators at once.

Per annotator and threshold, a predicted and a true pixel may be matched if they are within the
tolerance, each pixel once, and the matching has as many pairs as possible. The Berkeley benchmark
solves a similar problem: it minimizes the sum of distances plus a cost for each unmatched pixel,
which is so high that few pairs are lost.

With one annotator only the number of pairs counts. With several, a predicted pixel is correct if it
is matched with any annotator, so it matters *which* pixels are matched. Pairs are then made in
order of distance, which the costs of the benchmark also prefer, and completed along shortest
augmenting paths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taskprism.metrics.boundaries.bit_matching import BitMatching
from taskprism.metrics.boundaries.bits import (
    WORD,
    Indices,
    Words,
    all_ones,
    column_sums,
    nonzero,
    pack,
    unpack,
)


def disc(radius: float) -> tuple[Indices, Indices]:
    """Offsets ``(rows, columns)`` of length at most ``radius`` pixels, nearest first.

    Example:
        >>> rows, columns = disc(1)
        >>> sorted(zip(rows.tolist(), columns.tolist()))
        [(-1, 0), (0, -1), (0, 0), (0, 1), (1, 0)]
    """
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

    Example:
        >>> mask = np.eye(3, dtype=bool)
        >>> graph = ToleranceGraph.between(mask, mask, radius=1)
        >>> graph.predicted.tolist(), graph.truth.tolist()
        ([0, 1, 2], [0, 1, 2])
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
        """All pairs of pixels of two masks ``(H, W)`` with a distance of at most ``radius``."""
        height, width = truth.shape
        reach = int(radius)
        padded_width = width + 2 * reach
        # The margin makes bounds checks unnecessary.
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


Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Matched:
    """Matched pixels at each threshold, ``(K,)``.

    Attributes:
        truth: Matched true pixels, summed over annotators.
        predicted: Predicted pixels that are matched with at least one annotator.

    Example:
        >>> Matched(truth=np.array([3, 2]), predicted=np.array([3, 1])).truth.tolist()
        [3, 2]
    """

    truth: Counts
    predicted: Counts


def match(
    planes: Words, annotations: Sequence[NDArray[np.bool_]], radius: float, thresholds: int
) -> Matched:
    """Match the predicted pixels of every threshold with each annotation.

    Args:
        planes: Predicted boundaries, bit ``k % 64`` of plane ``k // 64`` ``(planes, H, W)``.
        annotations: True boundaries of every annotator ``(H, W)``.
        radius: Tolerance in pixels.
        thresholds: Number of thresholds K.

    Example:
        >>> mask = np.eye(3, dtype=bool)
        >>> planes = mask[None].astype(np.uint64)  # one threshold, the lowest bit
        >>> match(planes, [mask], radius=1, thresholds=1).truth.tolist()
        [3]
    """
    words = planes.reshape(len(planes), -1)
    predicted = words.any(axis=0).reshape(planes.shape[1:])
    several = len(annotations) > 1
    truth = np.zeros(thresholds, dtype=np.int64)
    right = np.zeros((predicted.size if several else 0, thresholds), dtype=bool)
    for annotation in annotations:
        graph = ToleranceGraph.between(predicted, annotation, radius)
        blocks = _blocks(graph, unpack(words[:, graph.pixels].T, thresholds))
        # With one annotator any maximum matching is correct.
        matched = _maximum(blocks, reverse=not several)
        for block, (roots, supplies) in zip(blocks, matched, strict=True):
            size = len(block.thresholds)
            truth[block.thresholds] += column_sums(roots, size)
            if several:
                pixels = unpack((supplies if block.truths_are_roots else roots)[:, None], size)
                right[graph.pixels[:, None], block.thresholds] |= pixels.astype(bool)
    return Matched(truth, right.sum(axis=0, dtype=np.int64) if several else truth)


@dataclass(frozen=True)
class _Block:
    """The problem of one annotator at up to 64 thresholds.

    The roots are the side with fewer pixels: the true pixels if there are more predicted ones,
    otherwise the predicted pixels.
    """

    thresholds: Indices
    truths_are_roots: bool
    root: Indices
    supply: Indices
    offset: NDArray[np.uint16]
    root_bits: Words
    supply_bits: Words


def _blocks(graph: ToleranceGraph, present: NDArray[np.uint8]) -> list[_Block]:
    """Split the thresholds by the side that has fewer pixels, 64 to a block.

    Args:
        graph: Pairs of predicted and true pixels.
        present: Whether each predicted pixel is present at each threshold ``(pixels, K)``.
    """
    crowded = present.sum(axis=0) > graph.truths
    blocks = []
    for truths_are_roots in (True, False):
        chosen = np.flatnonzero(crowded == truths_are_roots)
        for start in range(0, len(chosen), WORD):
            thresholds = chosen[start : start + WORD]
            predicted_bits = pack(present[:, thresholds])
            pairs = nonzero(predicted_bits[graph.predicted])
            predicted, truth = graph.predicted[pairs], graph.truth[pairs]
            truth_bits = np.zeros(graph.truths, dtype=np.uint64)
            truth_bits[truth] = all_ones(len(thresholds))
            ends = (truth, predicted, graph.offset[pairs], truth_bits, predicted_bits)
            if not truths_are_roots:
                ends = (predicted, truth, graph.offset[pairs], predicted_bits, truth_bits)
            blocks.append(_Block(thresholds, truths_are_roots, *ends))
    return blocks


def _maximum(blocks: Sequence[_Block], *, reverse: bool) -> list[tuple[Words, Words]]:
    """Bits of the matched roots and supplies of each block.

    The blocks are solved together as one problem: the same work in fewer and larger operations.
    """
    roots = np.cumsum([0, *(len(block.root_bits) for block in blocks)])
    supplies = np.cumsum([0, *(len(block.supply_bits) for block in blocks)])
    offset = np.concatenate([block.offset for block in blocks])
    order = np.argsort(offset, kind="stable")
    root = [block.root + first for block, first in zip(blocks, roots, strict=False)]
    supply = [block.supply + first for block, first in zip(blocks, supplies, strict=False)]
    matching = BitMatching.empty(
        np.concatenate(root)[order],
        np.concatenate(supply)[order],
        np.concatenate([[0], np.cumsum(np.bincount(offset))]),
        np.concatenate([block.root_bits for block in blocks]),
        np.concatenate([block.supply_bits for block in blocks]),
    )
    matching.maximize(reverse=reverse)
    covered = np.split(matching.root_bits & ~matching.free_root, roots[1:-1])
    used = np.split(matching.supply_bits & ~matching.free_supply, supplies[1:-1])
    return list(zip(covered, used, strict=True))
