"""``taskprism compare``: one table of several trained runs."""

from __future__ import annotations

from rich.console import Console

from taskprism.cli.arguments import OptionalFile, RunsArgument
from taskprism.errors import InputError
from taskprism.scoring.compare import compare as compare_runs
from taskprism.scoring.runs import find_runs
from taskprism.scoring.tables import check_format, text_table, write


def compare(
    runs: RunsArgument,
    /,
    *,
    all_metrics: bool = False,
    out: OptionalFile = None,
) -> None:
    """Print a table of runs: metrics of every task, parameters, operations, Δm, spread over seeds.

    Runs with the same name are seeds of one method. Δm is the mean relative gain over single-task
    networks, so it needs single-task runs among RUN.

    Args:
        runs: Run directories, or folders that contain some.
        all_metrics: Show every metric of each task instead of the primary one only.
        out: Also write the table to this .md, .csv or .json file.
    """
    if not runs:
        raise InputError("Name at least one run: `taskprism compare RUN [RUN ...]`.")
    if out is not None:
        check_format(out)
    comparison = compare_runs(find_runs(runs))
    console = Console()
    text_table(comparison, all_metrics).print(console)
    if out is not None:
        write(comparison, out, all_metrics)
        console.print(f"Wrote {out}.")
