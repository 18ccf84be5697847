"""Boolean maps of many thresholds at once: bit ``k`` of a word belongs to threshold ``k``.

Thinning and matching use only the operations and, or and not. So 64 masks are processed in one
``uint64`` at little more than the cost of one mask.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

WORD = 64
Words = NDArray[np.uint64]
Indices = NDArray[np.intp]

# _BELOW[n] has its n lowest bits set; n = 64 needs Python's integers.
_BELOW = np.array([(1 << n) - 1 for n in range(WORD + 1)], dtype=np.uint64)


def all_ones(count: int) -> np.uint64:
    """The word whose ``count`` lowest bits are set.

    Example:
        >>> int(all_ones(3))
        7
    """
    return _BELOW[count]


def planes_above(values: NDArray[Any], thresholds: NDArray[Any], comparison: str) -> Words:
    """Pack ``values (H, W) > thresholds (K,)`` (or ``>=``) into planes ``(ceil(K / 64), H, W)``.

    Threshold ``k``, in ascending order, is bit ``k % 64`` of plane ``k // 64``. Both arguments must
    share one floating type: 8-bit values tie with thresholds such as 0.2 = 51/255, and comparing
    float32 with float64 would break these ties by rounding noise.

    Example:
        >>> values = np.array([[0.1, 0.5, 0.9]], dtype=np.float32)
        >>> planes_above(values, np.array([0.3, 0.6], dtype=np.float32), ">").tolist()
        [[[0, 1, 3]]]
    """
    side = "left" if comparison == ">" else "right"
    passed = np.searchsorted(thresholds, values, side=side)
    starts = range(0, len(thresholds), WORD)
    return np.stack([_BELOW[np.clip(passed - start, 0, WORD)] for start in starts])


def unpack(words: Words, count: int) -> NDArray[np.uint8]:
    """Words ``(n, planes)`` as one 0/1 byte per bit ``(n, count)``.

    Example:
        >>> unpack(np.array([[5]], dtype=np.uint64), 4).tolist()
        [[1, 0, 1, 0]]
    """
    contiguous = np.ascontiguousarray(words.astype("<u8", copy=False))
    return np.unpackbits(contiguous.view(np.uint8), axis=1, count=count, bitorder="little")


def pack(columns: NDArray[np.uint8]) -> Words:
    """Bytes ``(n, count <= 64)`` as words ``(n,)``, the inverse of :func:`unpack`.

    Example:
        >>> pack(np.array([[1, 0, 1, 0]], dtype=np.uint8)).tolist()
        [5]
    """
    packed = np.packbits(columns, axis=1, bitorder="little")
    padded = np.zeros((len(columns), WORD // 8), dtype=np.uint8)
    padded[:, : packed.shape[1]] = packed
    return padded.view("<u8")[:, 0].astype(np.uint64, copy=False)


def column_sums(words: Words, count: int) -> NDArray[np.int64]:
    """Number of words ``(n,)`` with bit ``k`` set, for ``k < count``.

    Example:
        >>> column_sums(np.array([1, 3], dtype=np.uint64), 3).tolist()
        [2, 1, 0]
    """
    return unpack(words[words != 0][:, None], count).sum(axis=0, dtype=np.int64)


def nonzero(words: NDArray[Any]) -> Indices:
    """Positions of nonzero words; NumPy scans booleans faster.

    Example:
        >>> nonzero(np.array([0, 4, 0, 1], dtype=np.uint64)).tolist()
        [1, 3]
    """
    return (words != 0).nonzero()[0]


@dataclass(frozen=True)
class Adjacency:
    """Edges by vertex: those of vertex ``v`` lie at ``pointers[v]:pointers[v + 1]``.

    Attributes:
        pointers: ``(vertices + 1,)``.
        edges: Edge numbers, ascending within a vertex.
        neighbors: The other end of each of these edges.

    Example:
        >>> ends, others = np.array([1, 0, 1]), np.array([5, 6, 7])
        >>> Adjacency.of(ends, others, vertices=2).neighbors.tolist()
        [6, 5, 7]
    """

    pointers: Indices
    edges: Indices
    neighbors: Indices

    @classmethod
    def of(cls, ends: Indices, others: Indices, vertices: int) -> Adjacency:
        """Sort the edges ``(ends[i], others[i])`` by ``ends``."""
        # NumPy sorts 16-bit integers by radix, several times faster.
        keys = ends.astype(np.uint16) if vertices <= 1 << 16 else ends
        edges = np.argsort(keys, kind="stable")
        return cls(row_pointers(ends, vertices), edges, others[edges])

    def places(self, vertices: Indices) -> tuple[Indices, Indices]:
        """Positions of the edges of the given vertices, and the number of edges of each."""
        return places_of(self.pointers, vertices)


def row_pointers(index: Indices, rows: int) -> Indices:
    """Start of each row after sorting ``index``, ``(rows + 1,)``.

    Example:
        >>> row_pointers(np.array([0, 2, 2]), rows=3).tolist()
        [0, 1, 1, 3]
    """
    pointers = np.zeros(rows + 1, dtype=np.intp)
    np.cumsum(np.bincount(index, minlength=rows), out=pointers[1:])
    return pointers


def places_of(pointers: Indices, rows: Indices) -> tuple[Indices, Indices]:
    """Positions of the entries of the given rows of a compressed-row table, and the row sizes.

    Example:
        >>> places, sizes = places_of(np.array([0, 1, 1, 3]), np.array([2]))
        >>> places.tolist(), sizes.tolist()
        ([1, 2], [2])
    """
    first = pointers[rows]
    sizes = pointers[rows + 1] - first
    ends = sizes.cumsum()
    total = int(ends[-1]) if len(ends) else 0
    return (first - ends + sizes).repeat(sizes) + np.arange(total), sizes
