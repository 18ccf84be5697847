"""``taskprism demo``: a small comparison with a report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from taskprism.cli.arguments import (
    Between,
    Folder,
    Seed,
)
from taskprism.rooms.demo import run_demo


def demo(
    *, out: Folder = Path("demo"), minutes: Annotated[float, Between(0, 1e6)] = 7.0, seed: Seed = 0
) -> None:
    """Train single-task networks, a shared encoder and MTI-Net on rendered rooms, and compare them.

    Needs no data and no download. Prints the table with the gain Δm and writes DIR/report.html with
    curves, held-out rooms and photographs. After Ctrl-C, the same command resumes.

    Args:
        out: Folder for the runs, the table and the report.
        minutes: Time limit for everything; a slow machine trains for fewer epochs.
        seed: Random seed of all runs.
    """
    run_demo(out, minutes, seed)
