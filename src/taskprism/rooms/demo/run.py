"""Run the demonstration: train, compare, and write the report."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

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
from taskprism.scoring import find_runs
from taskprism.scoring.compare import compare
from taskprism.scoring.tables import text_table, write
from taskprism.training.baseline import score_baseline
from taskprism.training.run import train
from taskprism.training.run_directory import RunDirectory

SMALL = (
    "This is a small demonstration: small networks, a few small images, one seed and minutes of "
    "training. It shows how to read a comparison, not which method is better."
)


def run_demo(
    out: Path,
    minutes: float = 7.0,
    seed: int = 0,
    overrides: Mapping[str, Any] | None = None,
    reporter: Reporter | None = None,
) -> Path:
    """Train, compare and write the report. Finished runs in ``out`` are not trained again.

    Args:
        out: Folder of the runs, the table and the report.
        minutes: Time limit for everything; a slow machine trains for fewer epochs.
        seed: Seed of all runs.
        overrides: Dotted recipe keys and their values, for all runs.
        reporter: Shows progress; None shows it on standard error.

    Returns:
        Path of the report.

    Raises:
        TaskprismError: The folder contains a run with other settings, or cannot be written.
        KeyboardInterrupt: After Ctrl-C; the same call resumes.
    """
    started = time.monotonic()
    reporter = reporter or Reporter()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(f"Cannot create {out}: {error}. Choose another --out.") from error
    try:
        plan = _plan(out, minutes, seed, overrides or {}, reporter, started)
        folders = _train_all(plan, out, reporter)
    except KeyboardInterrupt as interrupt:
        raise type(interrupt)(
            f"Stopped and saved. Resume with: taskprism demo --out {shlex.quote(str(out))}"
        ) from None
    comparison = compare(find_runs(folders.values()))
    console = Console()
    text_table(comparison).print(console)
    console.print(SMALL, soft_wrap=True)
    for note in plan.notes:
        console.print(note, soft_wrap=True, markup=False)
    write(comparison, out / "table.md", all_metrics=True)
    report = out / "report.html"
    trained = {recipe.name: folders[recipe.name] for recipe in plan.recipes}
    write_demo_report(report, comparison, plan, trained, [SMALL, *plan.notes])
    elapsed = (time.monotonic() - started) / 60
    reporter.line(f"Wrote {report} after {elapsed:.1f} minutes.")
    return report


def _plan(
    out: Path,
    minutes: float,
    seed: int,
    overrides: Mapping[str, Any],
    reporter: Reporter,
    started: float,
) -> Plan:
    wanted = load_plan(out / "rooms", seed, overrides)
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
    """Train what is not finished; return the run directories by name, the baseline first."""
    first = plan.recipes[0]
    folders = {"trivial": out / "runs" / "trivial"}
    if not RunDirectory(folders["trivial"]).metrics_file.is_file():
        score_baseline(first.data, folders["trivial"], first.tasks, reporter=reporter)
    for recipe in plan.recipes:
        folder = out / "runs" / recipe.name
        folders[recipe.name] = folder
        run = RunDirectory(folder)
        if run.metrics_file.is_file():
            reporter.line(f"Skipping {recipe.name}: it is already trained, see {folder}.")
            continue
        train(recipe, folder, resume=run.recipe_file.is_file(), reporter=reporter)
    return folders
