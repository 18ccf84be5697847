"""Maximum matchings of up to 64 bipartite graphs at a time, one in each bit of a word.

The graphs share their vertices and edges. The word of a vertex has a bit for each graph that
contains the vertex. A *root* is a vertex to match, a *supply* a vertex that it can be matched with;
callers use the side with fewer vertices as roots. :meth:`BitMatching.maximize` has three steps:

1. Greedy: edges are grouped into classes without repeated vertices, so that five array operations
   match a class.
2. Augmenting paths, many at a time, up to a length that grows by half from round to round.
3. Paths of any length, alternating with a restriction to the part of the graphs that still matters:
   vertices that can be reached both from a free supply and from a free root. Without such a vertex
   the matching is maximum (Berge, 1957).

The bits are independent, so the matching of one threshold does not depend on the other thresholds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from taskprism.metrics.boundaries.bits import (
    Adjacency,
    Indices,
    Words,
    nonzero,
    places_of,
    row_pointers,
)

# Depths of the rounds over the whole graphs; measured on noisy gradient maps.
DEPTHS = (2, 3, 4, 6, 9, 13, 20)


@dataclass
class BitMatching:
    """Matchings in progress; create one with :meth:`empty`.

    Attributes:
        root: Root of every edge ``(m,)``.
        supply: Supply of every edge ``(m,)``.
        cuts: Edges ``cuts[c]:cuts[c + 1]`` are class ``c``: no vertex occurs in it twice.
        at_root: Edges by root.
        at_supply: Edges by supply.
        root_bits: Presence of the roots.
        supply_bits: Presence of the supplies.
        free_root: Bits in which a root is present and unmatched.
        free_supply: Bits in which a supply is present and unmatched.
        matched: Bits in which an edge is in the matching ``(m,)``.

    Example:
        >>> ones = np.ones(2, dtype=np.uint64)
        >>> root, supply, cuts = np.array([0, 1]), np.array([0, 0]), np.array([0, 1, 2])
        >>> matching = BitMatching.empty(root, supply, cuts, ones, ones)
        >>> matching.maximize()
        >>> matching.free_root.tolist()  # both roots compete for the first supply
        [0, 1]
    """

    root: Indices
    supply: Indices
    cuts: Indices
    at_root: Adjacency
    at_supply: Adjacency
    root_bits: Words
    supply_bits: Words
    free_root: Words
    free_supply: Words
    matched: Words

    @classmethod
    def empty(
        cls, root: Indices, supply: Indices, cuts: Indices, root_bits: Words, supply_bits: Words
    ) -> BitMatching:
        """Start without matched edges."""
        return cls(
            root,
            supply,
            cuts,
            Adjacency.of(root, supply, len(root_bits)),
            Adjacency.of(supply, root, len(supply_bits)),
            root_bits,
            supply_bits,
            root_bits.copy(),
            supply_bits.copy(),
            np.zeros(len(root), dtype=np.uint64),
        )

    def maximize(self, *, reverse: bool = False) -> None:
        """Make every matching maximum; afterwards only the ``free_*`` attributes are correct.

        Args:
            reverse: Start with the last class of edges instead of the first. Pairs of the classes
                that come first are preferred. Starting with the most distant pixels leaves fewer
                paths to search for.
        """
        self._greedy(reverse)
        for depth in DEPTHS:
            augment(self, grow(self, depth))
        layers = grow(self, None)
        if not augment(self, layers):
            return
        rest, roots, supplies = self._undecided(layers)
        while augment(rest, layers := grow(rest, None)):
            self.free_root[roots] &= ~rest.root_bits
            self.free_root[roots] |= rest.free_root
            self.free_supply[supplies] &= ~rest.supply_bits
            self.free_supply[supplies] |= rest.free_supply
            rest, some_roots, some_supplies = rest._undecided(layers)
            roots, supplies = roots[some_roots], supplies[some_supplies]

    def _greedy(self, reverse: bool) -> None:
        """Match free vertices, class after class."""
        classes = list(pairwise(self.cuts.tolist()))
        free_root, free_supply = self.free_root, self.free_supply
        for start, end in reversed(classes) if reverse else classes:
            root, supply = self.root[start:end], self.supply[start:end]
            at_root, at_supply = free_root[root], free_supply[supply]
            both = at_root & at_supply
            free_root[root] = at_root ^ both
            free_supply[supply] = at_supply ^ both
            self.matched[start:end] = both

    def _undecided(self, layers: Layers) -> tuple[BitMatching, Indices, Indices]:
        """Part of the graphs that may have paths, and the numbers of its roots and supplies.

        Args:
            layers: Complete layers of this matching or of one before it. Vertices that they did not
                reach cannot be reached later: the reached supplies have no other neighbors.
        """
        mirror = replace(
            self,
            root=self.supply,
            supply=self.root,
            at_root=self.at_supply,
            at_supply=self.at_root,
            root_bits=layers.reached_supply,
            free_root=self.free_supply,
            free_supply=self.free_root & layers.reached_root,
        )
        back = grow(mirror, None)
        root_bits, supply_bits = back.reached_supply, back.reached_root
        edges = nonzero(root_bits[self.root] & supply_bits[self.supply])
        roots, supplies = nonzero(root_bits), nonzero(supply_bits)
        root_number = np.cumsum(root_bits != 0) - 1
        supply_number = np.cumsum(supply_bits != 0) - 1
        part = BitMatching.empty(
            root_number[self.root[edges]],
            supply_number[self.supply[edges]],
            np.searchsorted(edges, self.cuts),
            root_bits[roots],
            supply_bits[supplies],
        )
        part.free_root &= self.free_root[roots]
        part.free_supply &= self.free_supply[supplies]
        part.matched = self.matched[edges] & root_bits[self.root[edges]]
        return part, roots, supplies


# A table is read row by row if fewer than one in DENSE rows is used.
DENSE = 6
# For fewer edges a loop over Python integers is faster than one array operation per class.
FEW = 40


@dataclass
class Layers:
    """Layers of a search; every list has one entry per depth.

    Attributes:
        supplies: Supplies of the layer and their bits.
        hits: Free roots reached at this depth and their bits.
        reached_supply: Bits of every supply that is in any layer.
        reached_root: Bits of every root that was reached.

    Example:
        >>> Layers([], [], np.zeros(2, np.uint64), np.zeros(3, np.uint64)).hits
        []
    """

    supplies: list[tuple[Indices, Words]]
    hits: list[tuple[Indices, Words]]
    reached_supply: Words
    reached_root: Words


def grow(matching: BitMatching, depths: int | None) -> Layers:
    """Breadth-first search from all free supplies, through ``depths`` layers or to the end.

    Example:
        >>> one = np.ones(1, dtype=np.uint64)
        >>> zero = np.array([0])
        >>> matching = BitMatching.empty(zero, zero, np.array([0, 1]), one, one)
        >>> len(grow(matching, None).hits)
        1
    """
    at_root, at_supply = matching.at_root, matching.at_supply
    has_edges = at_root.pointers[:-1] < at_root.pointers[1:]
    starts, with_edges = at_root.pointers[:-1][has_edges], nonzero(has_edges)
    matched = matching.matched[at_root.edges]
    mates = nonzero(matched)
    mate_bits, mate_supply = matched[mates], at_root.neighbors[mates]
    mate_root = matching.root[at_root.edges[mates]]
    mate_pointers = row_pointers(mate_root, len(has_edges))

    unreached = matching.root_bits.copy()
    frontier = matching.free_supply.copy()
    layers = Layers([], [], frontier.copy(), unreached)
    while depths is None or len(layers.hits) < depths:
        rows = nonzero(frontier)
        if len(rows) == 0:
            break
        layers.supplies.append((rows, frontier[rows]))
        found = np.zeros_like(unreached)
        if len(rows) * DENSE > len(frontier):
            found[with_edges] = np.bitwise_or.reduceat(frontier[at_root.neighbors], starts)
        else:
            places, sizes = at_supply.places(rows)
            np.bitwise_or.at(found, at_supply.neighbors[places], frontier[rows].repeat(sizes))
        found &= unreached
        unreached ^= found
        rows = nonzero(found)
        free = found[rows] & matching.free_root[rows]
        hit = nonzero(free)
        layers.hits.append((rows[hit], free[hit]))
        found[rows] ^= free
        if len(rows) * DENSE > len(unreached):
            bits, supply = mate_bits & found[mate_root], mate_supply
        else:
            places, sizes = places_of(mate_pointers, rows)
            bits, supply = mate_bits[places] & found[rows].repeat(sizes), mate_supply[places]
        some = nonzero(bits)
        frontier = np.zeros_like(frontier)
        # A root has one mate in each bit, so adding never carries; it is faster than "or".
        np.add.at(frontier, supply[some], bits[some])
        layers.reached_supply |= frontier
    layers.reached_root = matching.root_bits & ~unreached
    return layers


def augment(matching: BitMatching, layers: Layers) -> bool:
    """Follow vertex-disjoint paths back through the layers; False if there are none.

    Example:
        >>> one = np.ones(1, dtype=np.uint64)
        >>> zero = np.array([0])
        >>> matching = BitMatching.empty(zero, zero, np.array([0, 1]), one, one)
        >>> augment(matching, grow(matching, None)), int(matching.free_root[0])
        (True, 0)
    """
    depth = len(layers.hits)
    while depth and len(layers.hits[depth - 1][0]) == 0:
        depth -= 1
    if depth == 0:
        return False
    wanting = np.zeros_like(matching.free_root)
    layer = np.zeros_like(matching.free_supply)
    for level in range(depth - 1, -1, -1):
        hit_rows, hit_bits = layers.hits[level]
        wanting[hit_rows] |= hit_bits
        roots = nonzero(wanting)
        matching.free_root[roots] &= ~wanting[roots]
        supplies, supply_bits = layers.supplies[level]
        layer[supplies] = supply_bits
        if len(roots) * DENSE > len(wanting):
            edges = nonzero(layer[matching.supply] & wanting[matching.root])
        else:
            edges = matching.at_root.edges[matching.at_root.places(roots)[0]]
            edges = edges[nonzero(layer[matching.supply[edges]] & wanting[matching.root[edges]])]
            edges.sort()
        edges, taken = _claim(matching, edges, wanting, layer)
        matching.free_root[roots] |= wanting[roots]
        wanting[roots] = 0
        used = supply_bits ^ layer[supplies]
        layer[supplies] = 0
        some = nonzero(used)
        if level == 0:
            matching.free_supply[supplies[some]] &= ~used[some]
        else:
            places, sizes = matching.at_supply.places(supplies[some])
            mates = matching.at_supply.edges[places]
            loosened = matching.matched[mates] & used[some].repeat(sizes)
            kept = nonzero(loosened)
            mates, loosened = mates[kept], loosened[kept]
            matching.matched[mates] ^= loosened
            np.add.at(wanting, matching.root[mates], loosened)
        matching.matched[edges] |= taken
    return True


def _claim(
    matching: BitMatching, edges: Indices, wanting: Words, layer: Words
) -> tuple[Indices, Words]:
    """Match wanting roots to supplies of the layer, in the order of the edges.

    Clears the bits that were matched in both and returns the edges used with their bits.
    """
    taken = np.zeros(len(edges), dtype=np.uint64)
    root, supply = matching.root[edges], matching.supply[edges]
    if len(edges) < FEW:
        for place, (r, s) in enumerate(zip(root.tolist(), supply.tolist(), strict=True)):
            both = wanting[r] & layer[s]
            wanting[r] ^= both
            layer[s] ^= both
            taken[place] = both
    else:
        cuts = np.unique(np.searchsorted(edges, matching.cuts)).tolist()
        for start, end in pairwise(cuts):
            r, s = root[start:end], supply[start:end]
            at_root, at_supply = wanting[r], layer[s]
            both = at_root & at_supply
            wanting[r] = at_root ^ both
            layer[s] = at_supply ^ both
            taken[start:end] = both
    some = nonzero(taken)
    return edges[some], taken[some]
