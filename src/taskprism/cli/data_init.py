"""``taskprism data init``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import tyro

from taskprism.atomic import write_text
from taskprism.cli.arguments import Count, OptionalFile
from taskprism.cli.data_check import print_check
from taskprism.data import create_protocol
from taskprism.data.checking import check_protocol
from taskprism.data.proposing import propose
from taskprism.errors import InputError
from taskprism.progress import tracked


def init(
    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")],
    /,
    *,
    out: OptionalFile = None,
    samples: Count = 50,
) -> int:
    """Look at a folder of images and labels, propose its data YAML, and check it.

    The YAML says in comments what was assumed: read them. The exit status is that of
    `taskprism data check`.

    Args:
        folder: Folder with images and labels, in any usual layout.
        out: File for the YAML, which must not exist; by default data.yaml in the folder.
        samples: Number of samples to open per split for the check at the end.
    """
    file = out or folder / "data.yaml"
    if file.exists():
        raise InputError(f"{file} exists already. Give another file with --out, or remove it.")
    proposal = propose(folder, lambda items, total: tracked(items, total, "label files"))
    inside = file.resolve().parent == folder.resolve()
    text = proposal.to_yaml("." if inside else str(folder.resolve()))
    write_text(file, text)
    print(text)
    protocol = create_protocol(str(file))
    report = check_protocol(
        protocol, samples, lambda items, total: tracked(items, total, "samples")
    )
    print_check(report)
    shown = shlex.quote(str(file))
    print(f"\nWrote {file}. Read its comments, then:")
    print(f"  taskprism data check {shown}")
    print(f"  taskprism train multi_task --data {shown} --out runs/{protocol.name}")
    if report.problems:
        return 2
    return 1 if report.doubts else 0
