"""``taskprism reproduce``: train a table of a paper and compare with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from taskprism.cli.arguments import (
    Address,
    Between,
    EngineName,
    Folder,
    Names,
    OptionalFolder,
    PerRun,
)
from taskprism.errors import InputError
from taskprism.papers.collecting import collect
from taskprism.papers.listing import print_rows, print_tables
from taskprism.papers.plan import Place, Plan, Request, check_data, make_plan, train_plan
from taskprism.papers.report import write_result
from taskprism.papers.settings import load_budget
from taskprism.papers.table import list_tables, load_table
from taskprism.papers.text import print_result
from taskprism.progress import Reporter
from taskprism.sweeps import Engine, create_engine, report_missing


def reproduce(
    table: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TABLE")] = "",
    /,
    *,
    data: OptionalFolder = None,
    protocol: Annotated[str | None, tyro.conf.arg(metavar="PROTOCOL")] = None,
    budget: Annotated[str, tyro.conf.arg(metavar="BUDGET")] = "full",
    seeds: Annotated[int | None, tyro.conf.arg(metavar="COUNT"), Between(1)] = None,
    out: Folder = Path("reproduced"),
    rows: Names = (),
    parts: Names = (),
    list_: Annotated[bool, tyro.conf.arg(name="list")] = False,
    retry_failed: bool = False,
    report_only: bool = False,
    engine: EngineName = "local",
    address: Address = None,
    per_run: PerRun = None,
    imports: Annotated[tuple[str, ...], tyro.conf.Fixed, tyro.conf.Suppress] = (),
) -> int | None:
    """Train every row of a paper's table over several seeds and show the paper's values with ours.

    Finished runs in DIR are not trained again, so the same command resumes after Ctrl-C.
    --engine ray trains several runs at a time, on this machine or on a cluster. Writes
    DIR/tables/.../table.md, table.json and report.html. The exit status is 1 if a run failed.

    Args:
        table: Name of a table such as mti_net/2a; --list shows all.
        data: Folder that holds the data.
        protocol: Train on another protocol (a named benchmark, see `taskprism list protocols`) than
            the paper; rooms needs no data.
        budget: How long to train (a set of changes to every recipe): tiny takes minutes on a CPU,
            small about an hour on a GPU, full trains as the paper does. Or your own YAML file.
        seeds: Number of trainings of each row; by default that of the budget.
        out: Folder of all runs and tables; several tables can share it.
        rows: Train only these rows, and the rows they are compared with.
        parts: Train only these parts of a table with several parts.
        list_: List all tables, or the rows of TABLE with the sizes of their networks.
        retry_failed: Train failed runs again.
        report_only: Train nothing; write the table of the finished runs.
        engine: Where to train: local is this process, one run after the other; ray is a Ray cluster
            or all processors and GPUs of this machine.
        address: Address of the Ray cluster; by default Ray starts on this machine.
        per_run: What Ray reserves for each run: gpus=1,cpus=4. By default one CPU, and one GPU if
            there are any.
        imports: Values of --import, repeated in the command that resumes.
    """
    console, reporter = Console(), Reporter()
    chosen = create_engine(engine, address, per_run)
    if not table:
        if not list_:
            raise InputError(
                f"Name a table: `taskprism reproduce TABLE`. There are {', '.join(list_tables())}."
            )
        print_tables(console)
        return None
    count = load_budget(budget).seeds if seeds is None else seeds
    request = Request(protocol, data, budget, count, rows, parts, imports)
    if list_:
        print_rows(load_table(table), request, console, reporter)
        return None
    plan, place = make_plan(load_table(table), request), Place(out)
    if not report_only:
        check_data(plan)
        if retry_failed:
            place.forget_failures(plan.runs)
        _train(plan, place, reporter, chosen)
    result = collect(plan, place, reporter)
    print_result(result, console)
    page = write_result(result, place.table(plan))
    reporter.line(f"Wrote {page}")
    if report_only:
        return None
    return report_missing(plan.runs, place, reporter, plan.command(out, "--retry-failed"))


def _train(plan: Plan, place: Place, reporter: Reporter, engine: Engine) -> None:
    rows, runs = len(plan.recipes), len(plan.runs)
    reporter.line(
        f"{plan.table.name}: {rows} rows, {plan.request.seeds} seed(s), {runs} runs in {place.path}"
    )
    for row, reason in plan.impossible.items():
        reporter.line(f"Without {row}: {reason}")
    train_plan(plan, place, reporter, engine)
