"""``taskprism analyze sheet``: predictions of several runs, image by image."""

from __future__ import annotations

from typing import Annotated

import tyro

from taskprism.analysis.qualitative import Gallery
from taskprism.atomic import check_writable, write_picture
from taskprism.cli.arguments import (
    Between,
    DataRoot,
    Device,
    Folder,
    Images,
    Names,
    OptionalSplit,
    RunsArgument,
)
from taskprism.progress import Reporter
from taskprism.scoring.runs import find_runs
from taskprism.visualization.panels import sheet as stack_panels


def sheet(
    runs: RunsArgument,
    /,
    *,
    out: Folder,
    images: Images = 4,
    names: Names = (),
    split: OptionalSplit = None,
    tile_width: Annotated[int | None, tyro.conf.arg(metavar="PIXELS"), Between(1)] = None,
    data_root: DataRoot = None,
    device: Device = None,
) -> None:
    """Draw image, labels and the predictions of several methods, a column per task.

    Writes DIR/sheet.png. Single-task networks of several tasks share one row. Of several seeds, the
    lowest is shown.

    Args:
        runs: Run directories, or folders that contain some; single-task runs first.
        out: Folder for the picture.
        images: Number of images, evenly spaced over the split.
        names: Names of images to draw instead.
        split: Split of the images: train, val or test; by default that on which the run is scored.
        tile_width: Width of each picture; by default that of the image, within 240 to 360.
        data_root: Folder of the data or its URL, if it has moved since training.
        device: Device such as cpu or cuda:1; by default a GPU if available.
    """
    reporter = Reporter()
    check_writable(out)
    gallery = Gallery(find_runs(runs, whole=True), split, data_root, device)
    chosen = gallery.source.choose(images, names)
    panels = list(reporter.track(gallery.panels(chosen, tile_width), "drawing", len(chosen)))
    reporter.line(f"Wrote {write_picture(out / 'sheet.png', stack_panels(panels))}.")
