"""Augmenting paths of bit matchings, many at a time, by whole-array operations.

Layers: layer 0 is the free supplies. A root next to layer ``d`` that was not reached before is
reached at depth ``d``; where it is free, a path has been found, elsewhere its mate joins layer
``d + 1``. Paths are then taken back from the deepest layer to layer 0. When two paths want the same
vertex one of them stops: the roots before it have moved up by one mate, so the matching keeps its
size and the free root has come nearer to a supply.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from taskprism.metrics.boundaries.bits import Indices, Words, nonzero, places_of, row_pointers

if TYPE_CHECKING:
    from taskprism.metrics.boundaries.bit_matching import BitMatching

# A row table is walked row by row while fewer than one row in DENSE takes part.
DENSE = 6
# Below this many edges a loop over Python integers beats one array operation per class.
FEW = 40


@dataclass
class Layers:
    """Layers of a search; every list holds one entry for each depth.

    Attributes:
        supplies: Supplies of the layer and their bits.
        hits: Free roots reached at this depth and their bits.
        reached_supply: Bits of every supply that is in any layer.
        reached_root: Bits of every root that was reached.
    """

    supplies: list[tuple[Indices, Words]]
    hits: list[tuple[Indices, Words]]
    reached_supply: Words
    reached_root: Words


def grow(matching: BitMatching, depths: int | None) -> Layers:
    """Breadth-first search from all free supplies, through ``depths`` layers or to the end."""
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
    """Take vertex-disjoint paths back through the layers; False where none had been found."""
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
