"""``taskprism report``: one HTML page about a run."""

from __future__ import annotations

import webbrowser
from typing import Annotated

import tyro

from taskprism.analysis.run_report import MOST_IMAGES, write_run_report
from taskprism.cli.arguments import (
    Count,
    DataRoot,
    Device,
    OptionalCount,
    OptionalFile,
    RunArgument,
    Workers,
)
from taskprism.progress import Reporter


def report(
    run: RunArgument,
    /,
    *,
    out: OptionalFile = None,
    images: Count = MOST_IMAGES,
    examples: Count = 1,
    data: Annotated[str | None, tyro.conf.arg(metavar="PROTOCOL")] = None,
    data_root: DataRoot = None,
    batch_size: OptionalCount = None,
    workers: Workers = 0,
    device: Device = None,
    open: bool = False,
) -> None:
    """Write one HTML page about a run: scores, curves, mistakes, and its best and worst images.

    The page needs no other file. The run may still be in progress. If the data or the checkpoint
    are missing, the page shows what the run recorded and says what is missing.

    Args:
        run: A run directory, which `taskprism train` wrote.
        out: The HTML file; by default RUN/report.html.
        images: Number of images behind the error histograms, evenly spaced over the split.
        examples: Number of worst, of median and of best images to show for each task.
        data: The data YAML or protocol, if it is no longer where the recipe says.
        data_root: Folder of the data or its URL, if it has moved since training.
        batch_size: Images per batch; by default that of the recipe.
        workers: Loader processes.
        device: Device such as cpu or cuda:1; by default a GPU if available.
        open: Show the page in a browser.
    """
    reporter = Reporter()
    file = write_run_report(
        run,
        out,
        root=data_root,
        protocol=data,
        images=images,
        examples=examples,
        batch_size=batch_size,
        workers=workers,
        device=device,
        reporter=reporter,
    )
    reporter.line(f"Wrote {file}.")
    if open:
        webbrowser.open(file.absolute().as_uri())
