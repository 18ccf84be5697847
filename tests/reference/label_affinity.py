"""Label affinity by definition: every pixel, every neighbor, one pair at a time."""

from __future__ import annotations

import math

import numpy as np


def similar(kind: str, first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two pixels' labels ``(C,)`` are similar, by the rules in the docs."""
    if kind in ("semseg", "human_parts"):
        return int(first[0]) == int(second[0])
    if kind in ("depth", "disparity"):
        return abs(first[0] - second[0]) / max(first[0], second[0], 1e-30) < 0.05
    if kind == "normals":
        cosine = (
            float(np.dot(first, second)) / math.sqrt(first @ first) / math.sqrt(second @ second)
        )
        return math.degrees(math.acos(min(max(cosine, -1.0), 1.0))) < 15
    if kind == "edge":
        return (first[0] >= 0.5) == (second[0] >= 0.5)
    raise ValueError(kind)


def count(
    labels: dict[str, np.ndarray], valid: dict[str, np.ndarray], dilation: int, kernel: int = 3
) -> dict[tuple[str, str], list[int]]:
    """Pair of tasks -> unordered pairs similar in both, in the first, in the second, in none.

    Args:
        labels: Name of a task -> ``(C, H, W)``.
        valid: Name of a task -> ``(H, W)``.
        dilation: Distance of neighbors.
        kernel: Side of the patch.
    """
    names = list(labels)
    height, width = valid[names[0]].shape
    reach = kernel // 2
    found = {(a, b): [0, 0, 0, 0] for i, a in enumerate(names) for b in names[i + 1 :]}
    seen = set()
    for y in range(height):
        for x in range(width):
            for dy in range(-reach, reach + 1):
                for dx in range(-reach, reach + 1):
                    v, u = y + dy * dilation, x + dx * dilation
                    if (v, u) == (y, x) or not (0 <= v < height and 0 <= u < width):
                        continue
                    pair = frozenset([(y, x), (v, u)])
                    if pair in seen:
                        continue
                    seen.add(pair)
                    for (a, b), numbers in found.items():
                        if all(valid[t][y, x] and valid[t][v, u] for t in (a, b)):
                            one = similar(a, labels[a][:, y, x], labels[a][:, v, u])
                            two = similar(b, labels[b][:, y, x], labels[b][:, v, u])
                            numbers[[(1, 1), (1, 0), (0, 1), (0, 0)].index((one, two))] += 1
    return found
