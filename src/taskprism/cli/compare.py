"""``taskprism compare``: trained runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from taskprism.scoring.compare import compare as compare_runs
from taskprism.scoring.runs import find_runs
from taskprism.scoring.tables import check_format, print_table, write


def compare(
    runs: Annotated[tuple[Path, ...], tyro.conf.Positional],
    /,
    *,
    all_metrics: bool = False,
    out: Path | None = None,
) -> None:
    """Print the table of some runs: every task, parameters, operations, Δm, spread over seeds.

    Runs of one name are seeds of one method. Δm needs single-task runs among those given.

    Args:
        runs: Run directories, or folders that hold some.
        all_metrics: Show every metric of each task instead of the primary one.
        out: Also write the table here; the ending says how (.md, .csv or .json).
    """
    if out is not None:
        check_format(out)
    comparison = compare_runs(find_runs(runs))
    console = Console()
    print_table(comparison, console, all_metrics)
    if out is not None:
        write(comparison, out, all_metrics)
        console.print(f"Written to {out}.")
