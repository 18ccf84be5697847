"""Maximum matchings of up to 64 bipartite graphs at a time, one in each bit of a word.

The graphs share their vertices and edges; a vertex has a word that says in which of the graphs it
is present. A *root* is a vertex that is to be covered, a *supply* one that may cover it; callers
give the side with fewer vertices as roots. :meth:`BitMatching.maximize` goes in three steps:

1. Greedy: edges come in classes within which no vertex repeats, so that a class is matched by five
   array operations.
2. Augmenting paths, many at a time (:mod:`~taskprism.metrics.boundaries.bit_layers`), up to a
   length that grows by half from round to round.
3. Paths of any length, by turns with the restriction to the part of the graphs that still matters:
   vertices that can be reached from a free supply and from a free root. Where no such vertex is
   left, the matching is a maximum one (Berge, 1957).

What happens in one bit does not depend on the others, so the matching found for a threshold does
not depend on which other thresholds are asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from taskprism.metrics.boundaries import bit_layers
from taskprism.metrics.boundaries.bits import Adjacency, Indices, Words, nonzero

# Depths of the rounds over the whole graphs; measured on noisy gradient maps.
DEPTHS = (2, 3, 4, 6, 9, 13, 20)


@dataclass
class BitMatching:
    """Matchings in progress; :meth:`empty` makes one.

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
        """No edge matched yet."""
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
        """Make every matching a maximum one; afterwards only the ``free_*`` are up to date.

        Args:
            reverse: Begin with the last class of edges instead of the first. Pairs of the classes
                that come first are preferred; beginning with the most distant pixels leaves fewer
                paths to search for.
        """
        self._greedy(reverse)
        for depth in DEPTHS:
            bit_layers.augment(self, bit_layers.grow(self, depth))
        layers = bit_layers.grow(self, None)
        if not bit_layers.augment(self, layers):
            return
        rest, roots, supplies = self._undecided(layers)
        while bit_layers.augment(rest, layers := bit_layers.grow(rest, None)):
            self.free_root[roots] &= ~rest.root_bits
            self.free_root[roots] |= rest.free_root
            self.free_supply[supplies] &= ~rest.supply_bits
            self.free_supply[supplies] |= rest.free_supply
            rest, some_roots, some_supplies = rest._undecided(layers)
            roots, supplies = roots[some_roots], supplies[some_supplies]

    def _greedy(self, reverse: bool) -> None:
        """Match whatever is free, class after class."""
        classes = list(pairwise(self.cuts.tolist()))
        free_root, free_supply = self.free_root, self.free_supply
        for start, end in reversed(classes) if reverse else classes:
            root, supply = self.root[start:end], self.supply[start:end]
            at_root, at_supply = free_root[root], free_supply[supply]
            both = at_root & at_supply
            free_root[root] = at_root ^ both
            free_supply[supply] = at_supply ^ both
            self.matched[start:end] = both

    def _undecided(self, layers: bit_layers.Layers) -> tuple[BitMatching, Indices, Indices]:
        """The part in which paths may remain, and its roots and supplies in this numbering.

        Args:
            layers: Layers grown to the end from this matching or one before it. What they did not
                reach can never be reached again: the reached supplies have no other neighbors.
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
        back = bit_layers.grow(mirror, None)
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
