"""``taskprism data check``: open every file of a data set and say what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro
from PIL import Image

from taskprism.cli.words import options_of
from taskprism.data import create_protocol
from taskprism.data.checking import CheckReport, check_protocol, data_count
from taskprism.errors import DataError
from taskprism.metrics.boundaries.progress import tracked
from taskprism.visualization import panel, sheet


def check(
    protocol: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PROTOCOL")],
    root: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="ROOT")] = None,
    /,
    *,
    tasks: tuple[str, ...] = (),
    options: tuple[str, ...] = (),
    samples: int | None = None,
    picture: Path | None = None,
) -> None:
    """Say which variant a folder is, count, open every file, look at values, draw some samples.

    Ends with status 2 if anything is missing, broken or out of range.

    Args:
        protocol: A name of `taskprism list protocols`, or a data YAML.
        root: Folder of the data.
        tasks: Check these only.
        options: Options of the protocol, as KEY=VALUE.
        samples: Open so many of each split instead of all.
        picture: Where to draw some samples with their labels; by default PROTOCOL_check.png here.
    """
    made = create_protocol(protocol, root=root, tasks=list(tasks) or None, **options_of(options))
    report = check_protocol(
        made, samples, lambda indices, total: tracked(indices, total, "samples")
    )
    print(summary(report))
    file = picture or Path(f"{made.name}_check.png")
    if draw(report, file):
        print(f"Pictures in {file}; hatched pixels have no label.")
    if report.problems:
        raise DataError(f"{made.name}: {len(report.problems)} problem(s), listed above.")


def summary(report: CheckReport) -> str:
    """The report as text."""
    lines = [report.protocol.name + (f", variant {report.variant}" if report.variant else "")]
    for split, count in report.splits.items():
        known = data_count(report.protocol, split)
        of = f" of {known}" if known else ""
        lines.append(f"  {split}: {count}{of} samples, {report.opened.get(split, 0)} opened")
    sizes = ", ".join(f"{h}x{w} ({n})" for (h, w), n in report.sizes.most_common(3))
    if sizes:
        more = f" and {len(report.sizes) - 3} more" if len(report.sizes) > 3 else ""
        lines.append(f"  sizes (height x width): {sizes}{more}")
    for one in report.labels:
        if not one.labeled:
            continue
        text = f"  {one.task.name}: {one.images} images, {one.share:.1%} of pixels labeled, "
        if one.classes is not None:
            seen = int((one.classes > 0).sum())
            text += f"{seen} of {one.task.channels} classes"
        else:
            text += f"{one.low:.4g} to {one.high:.4g}, mean "
            text += " ".join(f"{value:.3g}" for value in one.mean.tolist())
        if one.ground_pixels:
            text += f", mean n_y on the floor {one.ground[1].item() / one.ground_pixels:.2f}"
        lines.append(text)
    lines += [f"  note: {note}" for note in report.notes]
    lines += [f"  PROBLEM: {problem}" for problem in report.problems]
    if not report.problems:
        lines.append("  nothing wrong was found")
    return "\n".join(lines)


def draw(report: CheckReport, file: Path) -> bool:
    """Write a sheet of samples with their labels; False if there is none to draw."""
    panels = [
        panel(
            sample["image"],
            {},
            sample["targets"],
            sample["valid"],
            tasks=report.protocol.tasks,
            title=f"{report.protocol.name}: {sample['name']}",
        )
        for sample in report.samples
        if sample["targets"]
    ]
    if panels:
        try:
            Image.fromarray(sheet(panels)).save(file)
        except (OSError, ValueError) as error:
            raise DataError(f"{file}: the pictures cannot be written ({error}).") from None
    return bool(panels)
