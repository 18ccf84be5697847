"""Label affinity: how often tasks agree on which pixels are similar, at several distances.

MTI-Net (Vandenhende et al., ECCV 2020, section 2.2 and figure 2b), after PAP-Net (Zhang et al.,
CVPR 2019, figure 1): in local patches of the label maps each pixel is paired with its neighbors. In
each task a pair is *similar* or *dissimilar*. The analysis counts how many pairs are similar in
both tasks, in one of them, and in none. Larger dilations of the patch compare more distant pixels.

In the papers two pixels are similar if they have the same class, or if the relative difference of
their depths is below a threshold (PAP-Net: normals by root mean square error). They do not publish
the thresholds and the size of the patch. Here the target type of a task defines the difference of
two labels (:meth:`~taskprism.tasks.target.DenseTarget.difference`) and the threshold
(``similar_within``: 5 % of depth, 15 degrees between normals). Patches have 3x3 pixels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from taskprism.checks import check_number
from taskprism.data.sample import Sample
from taskprism.errors import InputError, UnknownNameError
from taskprism.tasks.base import Task
from taskprism.visualization.plotting import LINES, MARKERS, STROKES, plot_style, tidy

DILATIONS = (1, 2, 4, 8, 16, 32)


@dataclass(frozen=True)
class PairMatch:
    """Similar and dissimilar pairs of pixels of two tasks at one dilation.

    Attributes:
        first: Name of the first task.
        second: Name of the second task.
        dilation: Distance of neighbors in the patch in pixels.
        both_similar: Number of pairs that are similar in both tasks.
        first_only: Number of pairs that are similar in the first task only.
        second_only: Number of pairs that are similar in the second task only.
        both_dissimilar: Number of pairs that are dissimilar in both tasks.

    Example:
        >>> match = PairMatch("semseg", "depth", 1, 60, 10, 10, 20)
        >>> match.pairs, match.agreement
        (100, 0.8)
    """

    first: str
    second: str
    dilation: int
    both_similar: int
    first_only: int
    second_only: int
    both_dissimilar: int

    @property
    def pairs(self) -> int:
        """Number of pairs with four valid labels."""
        return self.both_similar + self.first_only + self.second_only + self.both_dissimilar

    @property
    def agreement(self) -> float:
        """Share of pairs that are similar in both tasks, or dissimilar in both."""
        return _ratio(self.both_similar + self.both_dissimilar, self.pairs)

    @property
    def similar(self) -> float:
        """Share of pairs that are similar in both, among those similar in at least one task."""
        return _ratio(self.both_similar, self.pairs - self.both_dissimilar)

    @property
    def dissimilar(self) -> float:
        """Share of pairs dissimilar in both, among those dissimilar in at least one task."""
        return _ratio(self.both_dissimilar, self.pairs - self.both_similar)

    @property
    def beyond_chance(self) -> float:
        """Cohen's kappa: 0 if tasks agree as often as unrelated tasks, 1 if they always agree.

        Neighbors are mostly similar in every task, so the agreement of any two tasks is high.
        """
        first = _ratio(self.both_similar + self.first_only, self.pairs)
        second = _ratio(self.both_similar + self.second_only, self.pairs)
        chance = first * second + (1 - first) * (1 - second)
        return (self.agreement - chance) / (1 - chance) if chance < 1 else float("nan")


@dataclass(frozen=True)
class LabelAffinity:
    """Matches of all pairs of tasks at all dilations.

    Attributes:
        matches: By pair of tasks, then by dilation.
        thresholds: Task -> difference below which two pixels are similar.
        kernel: Side of the patch in pixels.
        images: Number of images.

    Example:
        >>> match = PairMatch("semseg", "depth", 1, 60, 10, 10, 20)
        >>> result = LabelAffinity((match,), {"semseg": 0.5, "depth": 0.05}, kernel=3, images=1)
        >>> result.to_json()["matches"][0]["agreement"]
        0.8
    """

    matches: tuple[PairMatch, ...]
    thresholds: Mapping[str, float]
    kernel: int
    images: int

    def to_json(self) -> dict[str, Any]:
        """Plain values; undefined shares are None."""
        shares = ("agreement", "beyond_chance", "similar", "dissimilar")
        return {
            "images": self.images,
            "kernel": self.kernel,
            "thresholds": dict(self.thresholds),
            "matches": [
                vars(match)
                | {name: _known(getattr(match, name)) for name in shares}
                | {"pairs": match.pairs}
                for match in self.matches
            ],
        }


def label_affinity(
    samples: Iterable[Sample],
    tasks: Sequence[Task],
    dilations: Sequence[int] = DILATIONS,
    kernel: int = 3,
    thresholds: Mapping[str, float] | None = None,
) -> LabelAffinity:
    """Count how pairs of pixels match between tasks.

    Args:
        samples: Labeled images. A pair counts for two tasks if the image has both labels and both
            pixels are valid in both.
        tasks: At least two tasks.
        dilations: Distances in pixels, each at least 1. Pairs that leave the image are left out.
        kernel: Side of the patch, odd, at least 3. Its center is paired with all other pixels.
        thresholds: Task name -> difference below which two pixels are similar; by default
            ``similar_within`` of the target type.

    Raises:
        InputError: There are fewer than two tasks, or a dilation, the kernel or a threshold is out
            of range.
        UnknownNameError: A threshold is for a task that is not in ``tasks``.

    Example:
        >>> import torch
        >>> from taskprism.tasks import create_task
        >>> tasks = [create_task("semseg", 2), create_task("depth")]
        >>> targets = {task.name: task.empty_target(4, 4) for task in tasks}
        >>> valid = {task.name: torch.ones(1, 4, 4, dtype=torch.bool) for task in tasks}
        >>> label_affinity([{"targets": targets, "valid": valid}], tasks, [1]).matches[0].pairs
        42
    """
    if len(tasks) < 2:
        raise InputError(f"Affinity needs at least two tasks, got {len(tasks)}.")
    if kernel < 3 or kernel % 2 == 0:
        raise InputError(f"The kernel must be odd and at least 3, got {kernel}.")
    if not dilations or min(dilations) < 1:
        raise InputError(f"Dilations must be at least 1, got {list(dilations)}.")
    names = [task.name for task in tasks]
    for name, threshold in (thresholds or {}).items():
        if name not in names:
            raise UnknownNameError("task of a threshold", name, names)
        check_number("Affinity", f"the threshold of task {name!r}", threshold, low=0)
    limits = {task.name: task.target_type.similar_within for task in tasks} | dict(thresholds or {})
    dilations = sorted(set(dilations))
    counts: Counter[tuple[str, str, int, bool, bool]] = Counter()
    images = 0
    for sample in samples:
        images += 1
        present = [task for task in tasks if task.name in sample["targets"]]
        for dilation in dilations:
            for offset in _half_patch(kernel, dilation):
                _count(counts, sample, present, limits, dilation, offset)
    matches = (
        PairMatch(*pair, dilation, *(counts[*pair, dilation, a, b] for a, b in _OUTCOMES))
        for pair in combinations(names, 2)
        for dilation in dilations
    )
    return LabelAffinity(tuple(matches), limits, kernel, images)


_OUTCOMES = ((True, True), (True, False), (False, True), (False, False))


def _half_patch(kernel: int, dilation: int) -> list[tuple[int, int]]:
    """Offsets from a pixel to half of its neighbors; the other half has the same pairs."""
    reach = range(-(kernel // 2), kernel // 2 + 1)
    return [(y * dilation, x * dilation) for y in reach for x in reach if (y, x) > (0, 0)]


def _count(
    counts: Counter[tuple[str, str, int, bool, bool]],
    sample: Sample,
    tasks: Sequence[Task],
    limits: Mapping[str, float],
    dilation: int,
    offset: tuple[int, int],
) -> None:
    """Add all pairs of pixels that are ``offset`` apart."""
    judged: dict[str, tuple[Tensor, Tensor]] = {}
    for task in tasks:
        valid = _pair(sample["valid"][task.name].as_subclass(Tensor), offset)
        labels = _pair(sample["targets"][task.name].as_subclass(Tensor), offset)
        similar = task.target_type.difference(*labels) < limits[task.name]
        judged[task.name] = similar, valid[0] & valid[1]
    for first, second in combinations(judged, 2):
        known = judged[first][1] & judged[second][1]
        one, two = judged[first][0][known], judged[second][0][known]
        both, ones, twos = int((one & two).sum()), int(one.sum()), int(two.sum())
        pair = first, second, dilation
        counts[*pair, True, True] += both
        counts[*pair, True, False] += ones - both
        counts[*pair, False, True] += twos - both
        counts[*pair, False, False] += one.numel() - ones - twos + both


def _pair(values: Tensor, offset: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Values ``(C, H, W)`` of all pixels with a neighbor at ``offset``, and of the neighbors."""
    down, right = offset  # down >= 0
    height, width = values.shape[-2:]
    rows, columns = max(height - down, 0), max(width - abs(right), 0)
    left, left_of_other = max(-right, 0), max(right, 0)
    return (
        values[..., :rows, left : left + columns],
        values[..., down : down + rows, left_of_other : left_of_other + columns],
    )


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def _known(value: float) -> float | None:
    return None if value != value else value


#: Property of :class:`~taskprism.analysis.affinity.PairMatch` -> title.
_PANELS = {
    "agreement": "agreement",
    "beyond_chance": "agreement beyond chance (κ)",
    "similar": "similar in both / similar in either",
    "dissimilar": "dissimilar in both / dissimilar in either",
}


def plot_affinity(affinity: LabelAffinity, title: str = "") -> Figure:
    """Plot one line per pair of tasks over the dilation.

    Args:
        affinity: Result of :func:`~taskprism.analysis.affinity.label_affinity`.
        title: Line above the plot.

    Example:
        >>> match = PairMatch("semseg", "depth", 1, 60, 10, 10, 20)
        >>> result = LabelAffinity((match,), {"semseg": 0.5, "depth": 0.05}, kernel=3, images=1)
        >>> len(plot_affinity(result).axes)
        4
    """
    dilations = sorted({match.dilation for match in affinity.matches})
    pairs = list(dict.fromkeys((match.first, match.second) for match in affinity.matches))
    with plot_style():
        figure = Figure(figsize=(9.4, 5.6), layout="constrained")
        limits = ", ".join(f"{task} {limit:g}" for task, limit in affinity.thresholds.items())
        size = f"{affinity.kernel}x{affinity.kernel}"
        note = f"{affinity.images} images, {size} patches; similar if closer than: {limits}"
        figure.suptitle(f"{title}\n{note}" if title else note, fontsize=9, x=0.01, ha="left")
        axes = figure.subplots(2, 2, sharex=True)
        for axis, (share, name) in zip(axes.flat, _PANELS.items(), strict=True):
            for index, pair in enumerate(pairs):
                matches = [m for m in affinity.matches if (m.first, m.second) == pair]
                axis.plot(
                    [m.dilation for m in matches],
                    [getattr(m, share) for m in matches],
                    label=" – ".join(pair),
                    color=LINES[index % len(LINES)],
                    linestyle=STROKES[index // len(LINES) % len(STROKES)],
                    marker=MARKERS[index % len(MARKERS)],
                    markersize=4,
                    lw=1.3,
                )
            axis.set_title(name, loc="left", fontsize=9, fontweight="bold")
            _scales(axis, dilations)
        for axis in axes[-1]:
            axis.set_xlabel("dilation in pixels")
        handles, labels = axes.flat[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right upper", frameon=False)
    return figure


def _scales(axis: Axes, dilations: list[int]) -> None:
    axis.set_ylim(min(axis.get_ylim()[0], 0), 1.04)
    if len(dilations) > 1:
        axis.set_xscale("log", base=2)
    axis.set_xticks(dilations, [str(dilation) for dilation in dilations])
    axis.minorticks_off()
    tidy(axis)
