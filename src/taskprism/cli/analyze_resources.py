"""``taskprism analyze resources``: performance against parameters and multiply-adds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import tyro

from taskprism.analysis.resource_plot import plot_resources, resource_points, resource_table
from taskprism.atomic import write_text
from taskprism.errors import InputError
from taskprism.models.hub import load
from taskprism.progress import Reporter
from taskprism.scoring.compare import compare
from taskprism.scoring.resources import profile
from taskprism.scoring.runs import RunResult, find_runs
from taskprism.visualization.plotting import save_figure


def resources(
    runs: Annotated[tuple[Path, ...], tyro.conf.Positional],
    /,
    *,
    out: Path,
    baseline: str | None = None,
    latency: bool = False,
    device: str | None = None,
) -> None:
    """Plot Δm over parameters and over multiply-adds, and print both as a table.

    ASTMT, figure 5; MTI-Net, table 7; CTAL, table 5. Writes OUT/resources.png and
    OUT/resources.md.

    Args:
        runs: Run directories, or folders that hold some; single-task runs among them.
        out: Folder for the results.
        baseline: Method to take all Δm against, whatever its backbone; by default each method is
            compared with the single-task networks of its own backbone.
        latency: Also measure the time for one image, on this machine.
        device: For latency, such as cpu or cuda:1; by default a GPU if there is one.
    """
    reporter = Reporter()
    found = find_runs(runs)
    comparison = compare(found)
    points = resource_points(comparison, baseline)
    seconds: dict[str, float] = {}
    if latency:
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        seconds = _latencies(found, device, reporter)
    table = resource_table(points, seconds)
    write_text(out / "resources.md", table)
    title = f"{comparison.protocol} {comparison.split}"
    file = save_figure(plot_resources(points, title), out / "resources.png")
    print(table)
    for note in comparison.notes:
        print(note)
    reporter.line(f"Written to {file} and {out / 'resources.md'}.")


def _latencies(runs: Sequence[RunResult], device: str, reporter: Reporter) -> dict[str, float]:
    """Method -> seconds of all its networks for one image; each method is measured once."""
    timed: dict[tuple[str, str, tuple[str, ...]], int] = {}
    for run in reporter.track(runs, "measuring"):
        kind = run.name, run.backbone, tuple(run.metrics)
        if kind in timed:
            continue
        if run.input_size is None:
            raise InputError(f"{run.path} does not say at which size it was scored.")
        height, width = run.input_size
        seconds = profile(load(run.path, device), (height, width)).latency_s
        timed[kind] = round(1e9 * (seconds or 0))
    # compare() adds the operations of a method's networks; nanoseconds are added in their place.
    kinds = [(run.name, run.backbone, tuple(run.metrics)) for run in runs]
    rows = compare([replace(r, macs=timed[k]) for r, k in zip(runs, kinds, strict=True)]).rows
    return {row.name: row.macs / 1e9 for row in rows if row.macs is not None}
