"""``taskprism edges``: score edge maps of any detector against human boundaries."""

from __future__ import annotations

import json as json_format
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from taskprism.cli.arguments import (
    MOST_WORKERS,
    Between,
    OptionalFile,
)
from taskprism.errors import DataError, InputError
from taskprism.metrics.boundaries import (
    HED_THRESHOLDS,
    BoundaryConvention,
    BoundaryScores,
    convention,
    evenly_spaced,
    read_names,
    score_folders,
)

Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]


def edges(
    predictions: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="PREDICTIONS")],
    ground_truth: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="GROUND_TRUTH")],
    /,
    *,
    preset: Annotated[str, tyro.conf.arg(metavar="NAME")] = "default",
    thresholds: Annotated[int | None, tyro.conf.arg(metavar="COUNT"), Between(1, 10_000)] = None,
    hed_thresholds: Flag = False,
    no_nms: Flag = False,
    no_thin: Flag = False,
    max_dist: Annotated[float | None, tyro.conf.arg(metavar="FRACTION"), Between(0, 1)] = None,
    gt: Literal["raw", "seism"] | None = None,
    at_least: Flag = False,
    subset: Annotated[Path | None, tyro.conf.arg(name="list", metavar="FILE")] = None,
    workers: Annotated[int, Between(1, MOST_WORKERS)] = 1,
    json: OptionalFile = None,
    plot: OptionalFile = None,
) -> None:
    """Print odsF, oisF and AP of edge maps. Files are matched by name without extension.

    Args:
        predictions: Folder of edge maps (PNG, or .npy in [0, 1]), or a single file.
        ground_truth: Folder of boundaries (PNG, .npy, or BSDS .mat with several annotators).
        preset: Convention: default, bsds, pascal, pascal_survey or nyud. The other options override
            parts of it.
        thresholds: Use N evenly spaced thresholds, k / (N + 1).
        hed_thresholds: Use the 101 thresholds of HED and SEISM.
        no_nms: Skip non-maximum suppression, for maps that are thin already.
        no_thin: Skip thinning of the thresholded maps.
        max_dist: Tolerance as a fraction of the image diagonal (BSDS, PASCAL 0.0075, NYUD 0.011).
        gt: Whether the ground truth holds boundaries (raw) or label maps (seism).
        at_least: Count a pixel equal to the threshold as boundary (>= instead of >).
        subset: File with the names of the images to score, one per line.
        workers: Number of processes.
        json: Write the scores and the curve to this file.
        plot: Draw the precision-recall curve to this .png, .pdf or .svg file.
    """
    chosen = _changed(
        convention(preset), thresholds, hed_thresholds, no_nms, no_thin, max_dist, gt, at_least
    )
    for output in (json, plot):
        # Fail now, not after an hour of counting.
        if output is not None and not output.parent.is_dir():
            raise DataError(f"Cannot write {output.name}: there is no folder {output.parent}.")
    scores = score_folders(
        predictions,
        ground_truth,
        chosen,
        names=None if subset is None else read_names(subset),
        workers=workers,
        progress=True,
    )
    print(_summary(scores, chosen))
    if json is not None:
        record = {**scores.as_json(), "convention": asdict(chosen)}
        json.write_text(json_format.dumps(record, indent=1) + "\n", encoding="utf-8")
        print(f"Wrote {json}.")
    if plot is not None:
        from taskprism.metrics.boundaries import (
            plot_curves,
        )  # imported late: matplotlib starts slowly

        plot_curves({predictions.stem: scores}, plot)
        print(f"Wrote {plot}.")


def _changed(
    base: BoundaryConvention,
    thresholds: int | None,
    hed_thresholds: bool,
    no_nms: bool,
    no_thin: bool,
    max_dist: float | None,
    gt: Literal["raw", "seism"] | None,
    at_least: bool,
) -> BoundaryConvention:
    """Apply the options to the preset."""
    if thresholds is not None and hed_thresholds:
        raise InputError("--thresholds and --hed-thresholds are mutually exclusive.")
    changes: dict[str, Any] = {}
    if thresholds is not None:
        changes["thresholds"] = evenly_spaced(thresholds)
    if hed_thresholds:
        changes["thresholds"] = HED_THRESHOLDS
    if no_nms:
        changes["nms"] = False
    if no_thin:
        changes["thin"] = False
    if max_dist is not None:
        changes["max_distance"] = max_dist
    if gt is not None:
        changes["ground_truth"] = gt
    if at_least:
        changes["comparison"] = ">="
    return replace(base, **changes)


def _summary(scores: BoundaryScores, chosen: BoundaryConvention) -> str:
    steps = [
        "non-maximum suppression" if chosen.nms else "no non-maximum suppression",
        f"{len(chosen.thresholds)} thresholds ({chosen.comparison})",
        "thinning" if chosen.thin else "no thinning",
        f"tolerance {chosen.max_distance:g} of the diagonal",
        f"ground truth {chosen.ground_truth}",
    ]
    return "\n".join(
        [
            f"odsF {scores.ods_f:.4f} at threshold {scores.best_threshold:.3g}",
            f"oisF {scores.ois_f:.4f}",
            f"AP   {scores.average_precision:.4f}",
            f"{scores.images} images; {', '.join(steps)}",
        ]
    )
