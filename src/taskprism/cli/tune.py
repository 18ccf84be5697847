"""``taskprism tune``: search for the settings of a recipe that score best."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console

from taskprism.atomic import write_text
from taskprism.cli.arguments import Address, Count, Folder, PerRun, Runs, Seed
from taskprism.progress import Reporter
from taskprism.recipes.files import to_yaml
from taskprism.sweeps import Resources, report_missing
from taskprism.sweeps.objective import create_objective
from taskprism.sweeps.space import draw, load_space
from taskprism.sweeps.sweep import check_runs
from taskprism.sweeps.tune import (
    Scheduler,
    TrialCollection,
    TuneSettings,
    best_recipe,
    plan_trials,
    rank_trials,
    trial_table,
)
from taskprism.sweeps.tune import (
    tune as tune_trials,
)
from taskprism.training.experiment import build_protocol
from taskprism.training.run_directory import absolute_paths


def tune(
    space: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="SPACE")],
    recipe: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RECIPE")],
    /,
    *,
    out: Folder,
    metric: Annotated[str, tyro.conf.arg(metavar="TASK/METRIC")],
    trials: Count = 10,
    scheduler: Scheduler = "asha",
    grace: Count = 1,
    baseline: Runs = (),
    seed: Seed = 0,
    dry_run: bool = False,
    retry_failed: bool = False,
    engine: Literal["ray"] = "ray",
    address: Address = None,
    per_run: PerRun = None,
    imports: Annotated[tuple[str, ...], tyro.conf.Fixed, tyro.conf.Suppress] = (),
) -> int:
    """Search for the settings of a recipe that score best, on this machine or a Ray cluster.

    SPACE is a YAML file of recipe keys and how to draw their values: `optimizer.lr: {loguniform:
    [1e-5, 1e-3]}`. There are choice, grid, uniform, loguniform and randint; any other value is
    fixed. Trials are scored on the validation images where there are some. The same command resumes
    after Ctrl-C. Writes DIR/trials.md and DIR/best.yaml, a recipe for `taskprism train`. The exit
    status is 1 if a trial failed.

    Args:
        space: YAML file of the search space.
        recipe: What `taskprism train` takes: a YAML file, or the name of a recipe or model.
        out: Folder of the trials, which are in DIR/runs.
        metric: Metric to optimize, such as semseg/miou; or gain, which is Δm.
        trials: Number of trials of each combination of grid values.
        scheduler: Which trials to stop early: asha halves their number again and again, median
            stops those below the median of the others, none stops none.
        grace: Epochs before a trial can be stopped.
        baseline: For the metric gain: single-task runs, or folders that contain some.
        seed: Seed of the values that are drawn. The seed of the trainings is that of the recipe.
        dry_run: Only list the trials.
        retry_failed: Train failed trials again.
        engine: Where to train; only Ray can stop trials early.
        address: Address of the Ray cluster; by default Ray starts on this machine.
        per_run: What Ray reserves for each trial: gpus=1,cpus=4. By default one CPU, and one GPU if
            there are any.
        imports: Values of --import, which the runs record.
    """
    console, reporter = Console(), Reporter()
    resources = Resources() if per_run is None else Resources.parse(per_run)
    files = [str(Path(name).resolve()) if name.endswith(".py") else name for name in imports]
    planned = plan_trials(recipe, draw(load_space(space), trials, seed), files)
    first = planned[0].recipe
    objective = create_objective(metric, first, build_protocol(first.data), baseline)
    runs = TrialCollection(out)
    if dry_run:
        trial_table(rank_trials(planned, runs, objective), objective).print(console)
        return 0
    check_runs(planned, runs, reporter)
    if retry_failed:
        runs.forget_failures(planned)
    words = ["taskprism", "tune", str(space), recipe, "--metric", metric, "--out", str(out)]
    words += ["--trials", str(trials), "--scheduler", scheduler, "--grace", str(grace)]
    words += ["--seed", str(seed), *(["--baseline", *map(str, baseline)] if baseline else [])]
    words += [part for name in imports for part in ("--import", name)]
    reporter.line(f"{len(planned)} trials in {out / 'runs'}")
    settings = TuneSettings(scheduler, grace, address, resources)
    try:
        tune_trials(planned, runs, objective, settings, reporter)
    except KeyboardInterrupt as interrupt:
        message = f"Stopped; finished work is kept. Resume with: {shlex.join(words)}"
        raise type(interrupt)(message) from None
    scores = rank_trials(planned, runs, objective)
    table = trial_table(scores, objective)
    table.print(console)
    write_text(out / "trials.md", f"{table.title}\n\n{table.markdown()}\n")
    best = best_recipe(scores, f"{recipe_name(recipe)}-best")
    if best is not None:
        write_text(out / "best.yaml", to_yaml(absolute_paths(best)))
        reporter.line(f"Wrote {out / 'best.yaml'}: train it with several seeds before reporting.")
    ended = [trial for trial in planned if runs.state(trial) != "stopped"]
    return report_missing(ended, runs, reporter, shlex.join([*words, "--retry-failed"]))


def recipe_name(source: str) -> str:
    """Last part of the name or file of a recipe."""
    return Path(source).stem.rpartition(":")[2]
