"""``taskprism analyze resources``: performance against parameters and multiply-adds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import torch
import tyro

from taskprism.analysis.resource_plot import plot_resources, resource_points, resource_table
from taskprism.atomic import check_writable, write_text
from taskprism.cli.arguments import Device, Folder, RunsArgument
from taskprism.errors import InputError
from taskprism.models.hub import load
from taskprism.progress import Reporter
from taskprism.scoring.compare import compare
from taskprism.scoring.resources import profile
from taskprism.scoring.runs import RunResult, find_runs
from taskprism.visualization.plotting import save_figure


def resources(
    runs: RunsArgument,
    /,
    *,
    out: Folder,
    baseline: Annotated[str | None, tyro.conf.arg(metavar="METHOD")] = None,
    latency: bool = False,
    device: Device = None,
) -> None:
    """Plot Δm over parameters and over multiply-adds, and print both as a table.

    As in figure 5 of ASTMT, table 7 of MTI-Net and table 5 of CTAL. Writes DIR/resources.png and
    DIR/resources.md.

    Args:
        runs: Run directories, or folders that contain some, including single-task runs.
        out: Folder for the results.
        baseline: Method to compute all Δm against, on any backbone; by default each method is
            compared with the single-task networks of the same backbone.
        latency: Also measure the time for one image on this machine.
        device: Device for latency, such as cpu or cuda:1; by default a GPU if available.
    """
    reporter = Reporter()
    found = find_runs(runs)
    comparison = compare(found)
    check_writable(out)
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
    reporter.line(f"Wrote {file} and {out / 'resources.md'}.")


def _latencies(runs: Sequence[RunResult], device: str, reporter: Reporter) -> dict[str, float]:
    """Method -> seconds of all its networks for one image; each method is measured once."""
    timed: dict[tuple[str, str, tuple[str, ...]], int] = {}
    for run in reporter.track(runs, "measuring"):
        kind = run.name, run.backbone, tuple(run.metrics)
        if kind in timed:
            continue
        if run.input_size is None:
            raise InputError(
                f"{run.path} does not record the input size it was scored at; evaluate it again."
            )
        height, width = run.input_size
        seconds = profile(load(run.path, device), (height, width)).latency_s
        timed[kind] = round(1e9 * (seconds or 0))
    # compare() adds the operations of a method's networks; nanoseconds are added in their place.
    kinds = [(run.name, run.backbone, tuple(run.metrics)) for run in runs]
    rows = compare([replace(r, macs=timed[k]) for r, k in zip(runs, kinds, strict=True)]).rows
    return {row.name: row.macs / 1e9 for row in rows if row.macs is not None}
