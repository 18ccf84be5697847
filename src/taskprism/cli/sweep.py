"""``taskprism sweep``: train every combination of recipes, values and seeds."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from taskprism.atomic import write_text
from taskprism.cli.arguments import Address, Count, EngineName, Folder, PerRun
from taskprism.progress import Reporter
from taskprism.scoring.tables import markdown, text_table
from taskprism.sweeps import RunCollection, create_engine, report_missing
from taskprism.sweeps.sweep import (
    SweptRun,
    check_runs,
    compare_finished,
    parse_values,
    plan_sweep,
    short_names,
    state_of,
    to_text,
)
from taskprism.text_table import TextTable


def sweep(
    recipes: Annotated[
        tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RECIPE [RECIPE ...]")
    ],
    /,
    *,
    out: Folder,
    seeds: Count = 1,
    set_: Annotated[
        tuple[str, ...],
        tyro.conf.UseAppendAction,
        tyro.conf.arg(name="set", metavar="KEY=VALUE[,VALUE ...]"),
    ] = (),
    dry_run: bool = False,
    retry_failed: bool = False,
    engine: EngineName = "local",
    address: Address = None,
    per_run: PerRun = None,
    imports: Annotated[tuple[str, ...], tyro.conf.Fixed, tyro.conf.Suppress] = (),
) -> int:
    """Train every combination of recipes, values and seeds, and compare them in one table.

    taskprism sweep rooms/multi_task rooms/mti_net --seeds 3 --set optimizer.lr=1e-4,3e-4 --out
    sweeps/lr trains 12 runs. Finished runs in DIR are not trained again, so the same command
    resumes after Ctrl-C, and with more values or seeds it trains the new runs only. Writes
    DIR/table.md. The exit status is 1 if a run failed.

    Args:
        recipes: What `taskprism train` takes: YAML files, and names of recipes or models.
        out: Folder of the runs, which are in DIR/runs, and of the table.
        seeds: Number of trainings of each combination, with the seeds 0, 1, ...
        set_: A key of the recipe and its values, as YAML; repeat the option for several keys.
        dry_run: Only list the runs.
        retry_failed: Train failed runs again.
        engine: Where to train: local is this process, one run after the other; ray is a Ray cluster
            or all processors and GPUs of this machine.
        address: Address of the Ray cluster; by default Ray starts on this machine.
        per_run: What Ray reserves for each run: gpus=1,cpus=4. By default one CPU, and one GPU if
            there are any.
        imports: Values of --import, which the runs record.
    """
    console, reporter = Console(), Reporter()
    chosen = create_engine(engine, address, per_run)
    values = parse_values(set_)
    files = [str(Path(name).resolve()) if name.endswith(".py") else name for name in imports]
    jobs, runs = plan_sweep(recipes, values, seeds, files), RunCollection(out)
    if dry_run:
        _list(jobs, runs).print(console)
        return 0
    check_runs(jobs, runs, reporter)
    if retry_failed:
        runs.forget_failures(jobs)
    words = ["taskprism", "sweep", *recipes, "--out", str(out), "--seeds", str(seeds)]
    words += [part for setting in set_ for part in ("--set", setting)]
    words += [part for name in imports for part in ("--import", name)]
    reporter.line(f"{len(jobs)} runs in {out / 'runs'}")
    try:
        chosen.run(jobs, runs, reporter)
    except KeyboardInterrupt as interrupt:
        message = f"Stopped; finished work is kept. Resume with: {shlex.join(words)}"
        raise type(interrupt)(message) from None
    comparisons = compare_finished(jobs, runs)
    for comparison in comparisons:
        text_table(comparison).print(console)
    if comparisons:
        write_text(out / "table.md", "\n".join(markdown(each, True) for each in comparisons))
        reporter.line(f"Wrote {out / 'table.md'}")
    return report_missing(jobs, runs, reporter, shlex.join([*words, "--retry-failed"]))


def _list(jobs: list[SweptRun], runs: RunCollection) -> TextTable:
    keys = list(jobs[0].values)
    short = short_names(keys)
    return TextTable(
        title=f"{len(jobs)} runs in {runs.path / 'runs'}",
        headings=["run", *(short[key] for key in keys), "seed", "state"],
        rows=[
            [
                job.name,
                *(to_text(job.values[key]) for key in keys),
                str(job.recipe.seed),
                state_of(job, runs),
            ]
            for job in jobs
        ],
    )
