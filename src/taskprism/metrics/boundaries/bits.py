"""Boolean maps of many thresholds at once: bit ``k`` of a word belongs to threshold ``k``.

Between two thresholds almost nothing changes, and what is done to a mask (thinning, matching) is
and, or and not. So 64 masks travel in one ``uint64`` and cost little more than one.
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
    """The word whose ``count`` lowest bits are set."""
    return _BELOW[count]


def planes_above(values: NDArray[Any], thresholds: NDArray[Any], comparison: str) -> Words:
    """Pack ``values (H, W) > thresholds (K,)`` (or ``>=``) into planes ``(ceil(K / 64), H, W)``.

    Threshold ``k``, in ascending order, is bit ``k % 64`` of plane ``k // 64``. Both arguments must
    share one floating type: 8-bit values tie with thresholds such as 0.2 = 51/255, and comparing
    float32 with float64 would break these ties by rounding noise.
    """
    side = "left" if comparison == ">" else "right"
    passed = np.searchsorted(thresholds, values, side=side)
    starts = range(0, len(thresholds), WORD)
    return np.stack([_BELOW[np.clip(passed - start, 0, WORD)] for start in starts])


def unpack(words: Words, count: int) -> NDArray[np.uint8]:
    """Words ``(n, planes)`` as one 0/1 byte per bit ``(n, count)``."""
    contiguous = np.ascontiguousarray(words.astype("<u8", copy=False))
    return np.unpackbits(contiguous.view(np.uint8), axis=1, count=count, bitorder="little")


def pack(columns: NDArray[np.uint8]) -> Words:
    """Bytes ``(n, count <= 64)`` as words ``(n,)``, the inverse of :func:`unpack`."""
    packed = np.packbits(columns, axis=1, bitorder="little")
    padded = np.zeros((len(columns), WORD // 8), dtype=np.uint8)
    padded[:, : packed.shape[1]] = packed
    return padded.view("<u8")[:, 0].astype(np.uint64, copy=False)


def column_sums(words: Words, count: int) -> NDArray[np.int64]:
    """How many of the words ``(n,)`` have bit ``k`` set, for ``k < count``."""
    return unpack(words[words != 0][:, None], count).sum(axis=0, dtype=np.int64)


def nonzero(words: NDArray[Any]) -> Indices:
    """Positions of non-zero words; through booleans, which NumPy scans faster."""
    return (words != 0).nonzero()[0]


@dataclass(frozen=True)
class Adjacency:
    """Edges by vertex: those of vertex ``v`` lie at ``pointers[v]:pointers[v + 1]``.

    Attributes:
        pointers: ``(vertices + 1,)``.
        edges: Edge numbers, ascending within a vertex.
        neighbors: The other end of each of these edges.
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
        """Positions of the edges of the given vertices, and how many each of them has."""
        return places_of(self.pointers, vertices)


def row_pointers(index: Indices, rows: int) -> Indices:
    """Where each row starts once ``index`` is sorted, ``(rows + 1,)``."""
    pointers = np.zeros(rows + 1, dtype=np.intp)
    np.cumsum(np.bincount(index, minlength=rows), out=pointers[1:])
    return pointers


def places_of(pointers: Indices, rows: Indices) -> tuple[Indices, Indices]:
    """Positions of the given rows of a compressed-row table, and how many each row has."""
    first = pointers[rows]
    sizes = pointers[rows + 1] - first
    ends = sizes.cumsum()
    total = int(ends[-1]) if len(ends) else 0
    return (first - ends + sizes).repeat(sizes) + np.arange(total), sizes
