"""``taskprism demo``: a small comparison with a report, in minutes."""

from __future__ import annotations

from pathlib import Path

from taskprism.rooms.demo import run_demo


def demo(*, out: Path = Path("demo"), minutes: float = 7.0, seed: int = 0) -> None:
    """Train single-task networks, a shared encoder and MTI-Net on drawn rooms, and compare them.

    Needs no data and no download. Prints the table with Δm and writes DIR/report.html with curves,
    held-out rooms and photographs. Called again after Ctrl-C, it goes on where it stopped.

    Args:
        out: Folder for runs, table and report.
        minutes: How long all of it may take on this machine; a slow one trains for fewer epochs.
        seed: Of all runs.
    """
    run_demo(out, minutes, seed)
