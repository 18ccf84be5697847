"""The demonstration from beginning to end."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from taskprism.analysis import find_runs
from taskprism.errors import CheckpointError
from taskprism.progress import Reporter
from taskprism.rooms.demo.plan import (
    Plan,
    draw_rooms,
    fit_into,
    load_plan,
    read_plan,
    write_plan,
)
from taskprism.rooms.demo.report import write_demo_report
from taskprism.scoring.compare import compare
from taskprism.scoring.tables import print_table, write
from taskprism.training.baseline import score_baseline
from taskprism.training.run import train
from taskprism.training.run_directory import RunDirectory

SMALL = (
    "This is a small demonstration: small networks, small pictures, few of them, one seed, minutes "
    "of training. It shows how to read a comparison, not which method is better."
)


def run_demo(
    out: Path,
    minutes: float = 7.0,
    seed: int = 0,
    overrides: Mapping[str, Any] | None = None,
    reporter: Reporter | None = None,
) -> Path:
    """Train, compare, report; what was done before in ``out`` is not done again.

    Args:
        out: Folder for runs, table and report.
        minutes: How long all of it may take; a slow machine trains for fewer epochs.
        seed: Of all runs.
        overrides: Dotted recipe keys with other values, for all runs.
        reporter: Progress for people; by default on standard error.

    Returns:
        The report's path.

    Raises:
        TaskprismError: The folder belongs to other settings, or cannot be written.
        KeyboardInterrupt: After Ctrl-C; the same call goes on where it stopped.
    """
    started = time.monotonic()
    reporter = reporter or Reporter()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(f"{out} cannot be made: {error}; name another --out.") from error
    try:
        plan = _plan(out, minutes, seed, overrides or {}, reporter, started)
        folders = _train_all(plan, out, reporter)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"Stopped and saved. Go on with: taskprism demo --out {shlex.quote(str(out))}"
        ) from None
    comparison = compare(find_runs(folders.values()))
    console = Console()
    print_table(comparison, console)
    console.print(SMALL, soft_wrap=True)
    for note in plan.notes:
        console.print(note, soft_wrap=True, markup=False)
    write(comparison, out / "table.md", all_metrics=True)
    report = out / "report.html"
    trained = {recipe.name: folders[recipe.name] for recipe in plan.recipes}
    write_demo_report(report, comparison, plan, trained, [SMALL, *plan.notes])
    elapsed = (time.monotonic() - started) / 60
    reporter.line(f"Report in {report} ({elapsed:.1f} minutes).")
    return report


def _plan(
    out: Path,
    minutes: float,
    seed: int,
    overrides: Mapping[str, Any],
    reporter: Reporter,
    started: float,
) -> Plan:
    wanted = load_plan(out / "rooms", seed, overrides, reporter)
    file = out / "plan.json"
    before = read_plan(wanted, file)
    draw_rooms(wanted.recipes[0], reporter)
    if before is not None:
        return before
    left = minutes * 60 - (time.monotonic() - started)
    plan = fit_into(wanted, left, reporter)
    write_plan(plan, file)
    return plan


def _train_all(plan: Plan, out: Path, reporter: Reporter) -> dict[str, Path]:
    """Run directories by name: the trivial baseline, then every method; finished ones stay."""
    first = plan.recipes[0]
    folders = {"trivial": out / "runs" / "trivial"}
    if not RunDirectory(folders["trivial"]).metrics_file.is_file():
        score_baseline(first.data, folders["trivial"], first.tasks, reporter=reporter)
    for recipe in plan.recipes:
        folder = out / "runs" / recipe.name
        folders[recipe.name] = folder
        run = RunDirectory(folder)
        if run.metrics_file.is_file():
            reporter.line(f"{recipe.name} is trained already, see {folder}.")
            continue
        train(recipe, folder, resume=run.recipe_file.is_file(), reporter=reporter)
    return folders
