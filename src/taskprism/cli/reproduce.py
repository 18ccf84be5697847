"""``taskprism reproduce``: a table of a paper, ours beside theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from taskprism.errors import InputError, TaskprismError
from taskprism.papers.budgets import load_budget
from taskprism.papers.collecting import collect
from taskprism.papers.library import list_tables, load_table
from taskprism.papers.listing import print_rows, print_tables
from taskprism.papers.place import Place
from taskprism.papers.plan import Plan, Request, check_data, make_plan
from taskprism.papers.report import write_result
from taskprism.papers.runner import Runner, retry
from taskprism.papers.tables import print_result
from taskprism.progress import Reporter


def reproduce(
    table: Annotated[str, tyro.conf.Positional] = "",
    /,
    *,
    data: Path | None = None,
    protocol: str | None = None,
    budget: str = "full",
    seeds: int | None = None,
    out: Path = Path("reproduced"),
    rows: tuple[str, ...] = (),
    parts: tuple[str, ...] = (),
    list_: Annotated[bool, tyro.conf.arg(name="list")] = False,
    retry_failed: bool = False,
    wait: bool = True,
    report_only: bool = False,
) -> None:
    """Train every row of a paper's table over several seeds and set the result beside the paper.

    What is done in DIR is not done again. Several processes or machines may be given the same DIR:
    each takes rows that are free, and goes on with those of one that died. After Ctrl-C the same
    command goes on. Writes DIR/tables/.../table.md, table.json and report.html.

    Args:
        table: Such as mti_net/2a; --list shows all.
        data: Folder of the data.
        protocol: Train on this instead of the paper's data (`taskprism list protocols`); rooms
            needs no data at all.
        budget: tiny: minutes on a CPU, small: about an hour on a GPU, full: as the paper; or a
            file with a budget of your own.
        seeds: Trainings of each row; by default the budget's.
        out: Folder of all runs and tables; may be shared by tables and machines.
        rows: Only these, with what they are compared with.
        parts: Only these parts of a table that has several.
        list_: Show all tables, or the rows of TABLE, with the sizes of their networks.
        retry_failed: Try runs again that have failed.
        wait: When all that is left is held by other processes, wait for them.
        report_only: Train nothing; write the table of what is done.
    """
    console, reporter = Console(), Reporter()
    if not table:
        if not list_:
            raise InputError(
                f"Name a table: `taskprism reproduce TABLE`. There are {', '.join(list_tables())}."
            )
        print_tables(console)
        return
    count = load_budget(budget).seeds if seeds is None else seeds
    request = Request(protocol, data, budget, count, rows, parts)
    if list_:
        print_rows(load_table(table), request, console, reporter)
        return
    plan, place = make_plan(load_table(table), request), Place(out)
    if not report_only:
        check_data(plan)
        if retry_failed:
            retry(plan, place)
        _train(plan, place, reporter, wait)
    result = collect(plan, place, reporter)
    print_result(result, console)
    page = write_result(result, place.table(plan))
    reporter.line(f"Report in {page}")
    if result.failed:
        listed = "; ".join(f"{name}: {error}" for name, error in result.failed.items())
        raise TaskprismError(
            f"{len(result.failed)} of {result.total} runs failed: {listed}. Try them again with: "
            f"{plan.command(out, '--retry-failed')}"
        )


def _train(plan: Plan, place: Place, reporter: Reporter, wait: bool) -> None:
    rows, runs = len(plan.recipes), len(plan.runs)
    reporter.line(
        f"{plan.table.name}: {rows} rows, {plan.request.seeds} seed(s), {runs} runs in {place.path}"
    )
    for row, reason in plan.impossible.items():
        reporter.line(f"Without {row}: {reason}")
    Runner(plan, place, reporter).work(wait)
