"""The plot of label affinities: figure 2b of MTI-Net, with what makes it comparable."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from taskprism.analysis.affinity import LabelAffinity
from taskprism.visualization.plotting import LINES, MARKERS, STROKES, plot_style, tidy

#: Property of :class:`~taskprism.analysis.affinity.PairMatch` -> title.
_PANELS = {
    "agreement": "pairs judged alike",
    "beyond_chance": "the same, beyond chance (κ)",
    "similar": "similar in both, of similar in either",
    "dissimilar": "dissimilar in both, of dissimilar in either",
}


def plot_affinity(affinity: LabelAffinity, title: str = "") -> Figure:
    """One line per pair of tasks over the dilation.

    Args:
        affinity: From :func:`~taskprism.analysis.affinity.label_affinity`.
        title: Line above the plot.
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
