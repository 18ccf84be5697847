"""``taskprism analyze flow``: scores of initial predictions at each scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table

from taskprism.analysis.information_flow import (
    Flow,
    flow_gain,
    flow_statistic,
    information_flow,
    mean_baseline,
    place_name,
    places,
    plot_flow,
)
from taskprism.atomic import check_writable
from taskprism.cli.arguments import DataRoot, Device, Folder, Runs, RunsArgument
from taskprism.errors import InputError
from taskprism.progress import Reporter
from taskprism.scoring.runs import RunResult, find_runs
from taskprism.scoring.tables import Statistic, format_statistic, number
from taskprism.text_table import print_whole
from taskprism.visualization.plotting import save_figure


def flow(
    runs: RunsArgument,
    /,
    *,
    out: Folder,
    baseline: Runs = (),
    data_root: DataRoot = None,
    refresh: bool = False,
    device: Device = None,
) -> None:
    """Score the initial predictions at every scale of the front end, and the final ones.

    As in table 4 of MTI-Net. Writes all metrics to RUN/information_flow.json of every run, and a
    plot of the primary metrics to DIR/information_flow.png.

    Args:
        runs: Trained runs of one method, one per seed.
        out: Folder for the plot.
        baseline: Single-task runs to draw as well, and to compute Δm against.
        data_root: Folder of the data or its URL, if it has moved since training.
        refresh: Score again, even if the scores of a run are stored already.
        device: Device such as cpu or cuda:1; by default a GPU if available.
    """
    reporter = Reporter()
    results = find_runs(runs, whole=True)
    others = find_runs(baseline, whole=True)
    _check(results, others)
    check_writable(out)
    flows = [information_flow(run.path, data_root, refresh, device, reporter) for run in results]
    first = results[0]
    better = {task: first.higher_is_better[task][metric] for task, metric in first.primary.items()}
    single = [_baseline(others, run.seed, first.primary) for run in results] if others else []
    title = f"{first.name} on {first.protocol} {first.split}"
    _print(flows, first.primary, better, single, title)
    figure = plot_flow(flows, first.primary, better, single, title)
    reporter.line(f"Wrote {save_figure(figure, out / 'information_flow.png')}.")


def _check(runs: Sequence[RunResult], others: Sequence[RunResult]) -> None:
    kinds = {(run.name, run.model, run.backbone): run.path for run in runs}
    if len(kinds) > 1:
        raise InputError(
            f"{', '.join(map(str, kinds.values()))} are runs of different methods. Give the runs "
            "of one method, and single-task runs with --baseline."
        )
    protocols = {(run.protocol, run.split, run.input_size) for run in (*runs, *others)}
    if len(protocols) > 1:
        raise InputError(
            "The runs were not scored on the same images at the same size: "
            + "; ".join(f"{p} {split} {size}" for p, split, size in sorted(protocols, key=str))
        )


def _baseline(runs: Sequence[RunResult], seed: int, primary: Mapping[str, str]) -> dict[str, float]:
    """Task -> score of the single-task run of that seed, or the mean over all seeds."""
    scores = {}
    for task, metric in primary.items():
        known = [run for run in runs if metric in run.metrics.get(task, {})]
        chosen = [run for run in known if run.seed == seed] or known
        statistic = Statistic.of([run.metrics[task][metric] for run in chosen])
        if statistic is not None:
            scores[task] = statistic.mean
    return scores


def _print(
    flows: Sequence[Flow],
    primary: Mapping[str, str],
    better: Mapping[str, bool],
    baselines: Sequence[Mapping[str, float]],
    title: str,
) -> None:
    single = mean_baseline(baselines)
    table = Table(title=title)
    table.add_column("scale")
    for task, metric in primary.items():
        table.add_column(f"{task} {metric} {'↑' if better[task] else '↓'}", justify="right")
    if single:
        table.add_column("Δm %", justify="right")
        row = [number(single[task]) if task in single else "–" for task in primary]
        table.add_row("single task", *row, "")
    for place in places(flows):
        statistics = [flow_statistic(flows, place, task, m) for task, m in primary.items()]
        cells = [format_statistic(statistic, number) for statistic in statistics]
        if single:
            gain = flow_gain(flows, place, baselines, primary, better)
            cells.append(format_statistic(gain, "{:+.2f}".format))
        table.add_row(place_name(place), *cells)
    print_whole(table)
