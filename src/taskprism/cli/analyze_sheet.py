"""``taskprism analyze sheet``: predictions of several runs, image by image."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from taskprism.analysis.qualitative import Gallery
from taskprism.cli.pictures import write_picture
from taskprism.data.protocol import Split
from taskprism.progress import Reporter
from taskprism.scoring.runs import find_runs
from taskprism.visualization.panels import sheet as stack_panels


def sheet(
    runs: Annotated[tuple[Path, ...], tyro.conf.Positional],
    /,
    *,
    out: Path,
    images: int = 4,
    names: tuple[str, ...] = (),
    split: Split = "test",
    tile_width: int | None = None,
    data_root: Path | None = None,
    device: str | None = None,
) -> None:
    """Draw image, labels and the predictions of several methods, a column per task.

    As in the figures of all papers. Writes OUT/sheet.png. Single-task networks of several tasks are
    one row; of several seeds the lowest is shown.

    Args:
        runs: Run directories, or folders that hold some; single-task runs first.
        out: Folder for the picture.
        images: How many, spread evenly over the split.
        names: Names of images, instead.
        split: Which images.
        tile_width: Pixels of a picture; by default the image's own, between 240 and 360.
        data_root: Folder of the data, if it is no longer where the recipes say.
        device: Such as cpu or cuda:1; by default a GPU if there is one.
    """
    reporter = Reporter()
    gallery = Gallery(find_runs(runs), split, data_root, device)
    chosen = gallery.source.choose(images, names)
    panels = list(reporter.track(gallery.panels(chosen, tile_width), "drawing", len(chosen)))
    reporter.line(f"Written to {write_picture(stack_panels(panels), out / 'sheet.png')}.")
