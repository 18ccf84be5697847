"""``taskprism data build``: make a data set from the files that its authors publish."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro

from taskprism.data.benchmarks.nyud_build import NyudBuild
from taskprism.metrics.boundaries.progress import tracked

Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]


def build(
    dataset: Annotated[Literal["nyud"], tyro.conf.Positional],
    /,
    *,
    source: Annotated[Path, tyro.conf.arg(name="from")],
    splits: Path,
    classes: Path,
    out: Path,
    thirteen: Path | None = None,
    full: Flag = False,
    workers: int = 1,
) -> None:
    """Make NYUD-v2 from the official file. Stop it at any time; the same command goes on.

    Normals are fitted to depth, and edges are the boundaries of labeled objects: neither is what
    the published archives hold.

    Args:
        dataset: What to make.
        source: nyu_depth_v2_labeled.mat.
        splits: splits.mat, with trainNdxs and testNdxs.
        classes: classMapping40.mat (mapClass) or labels40.mat (labels40).
        out: Folder to write into.
        thirteen: class13Mapping.mat: make nyud13 at 288x384 instead of nyud40.
        full: Keep all 480x640 pixels, with the white frame, instead of the usual 425x560.
        workers: Processes.
    """
    made = NyudBuild(source, splits, classes, out, thirteen, crop=not full)
    name = "nyud40" if thirteen is None else "nyud13"
    made.run(workers, lambda items, total: tracked(items, total, "images"))
    print(f"Written to {out}. Check it with: taskprism data check {name} {out}")
