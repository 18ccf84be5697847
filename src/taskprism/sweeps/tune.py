"""Search for the settings of a recipe that score best, with Ray Tune.

The trials are drawn before the first one starts (:mod:`taskprism.sweeps.space`), and each is a run
like any other. Ray Tune distributes them and stops those that are behind the others. After the
process was killed, the same command reports the evaluations of earlier trials to Tune again and
resumes the unfinished ones, so nothing is trained twice.
"""

from __future__ import annotations

import io
import json
import math
import shutil
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from taskprism.atomic import write_json
from taskprism.cluster import Resources, connect
from taskprism.data.protocol import Split
from taskprism.errors import CheckpointError
from taskprism.extras import import_extra
from taskprism.progress import Reporter
from taskprism.recipes.schema import Recipe
from taskprism.registry import import_parts
from taskprism.sweeps.engine import (
    Job,
    RunCollection,
    check_alone,
    describe_failure,
    first_line,
    forget_precision,
    free_memory,
    is_missing,
)
from taskprism.sweeps.objective import GAIN, Objective, evaluations
from taskprism.sweeps.ray_engine import LOCK_SECONDS, RETRIES, StatusBoard
from taskprism.sweeps.sweep import short_names, state_of, to_text
from taskprism.text_table import TextTable
from taskprism.training.experiment import load_recipe_or_model
from taskprism.training.run import train
from taskprism.training.run_directory import RunDirectory, absolute_paths
from taskprism.training.run_lock import RunInUseError

Scheduler = Literal["asha", "median", "none"]
_SCORE, _EPOCH = "score", "epoch"
_REPORTED = ".reported.json"
Report = Callable[[dict[str, float]], object]


@dataclass(frozen=True)
class Trial(Job):
    """A job of a search.

    Attributes:
        values: Keys of the search space -> values of this trial.
    """

    values: Mapping[str, Any]


def plan_trials(
    source: str, points: Sequence[Mapping[str, Any]], imports: Sequence[str] = ()
) -> list[Trial]:
    """Trials of a recipe.

    Args:
        source: What :func:`~taskprism.training.load_recipe` reads, or the name of a model.
        points: Dotted key -> value, for each trial; see :func:`taskprism.sweeps.space.draw`.
        imports: Modules and Python files that the runs record in addition to those of the recipe.

    Raises:
        RecipeError: A key or value is wrong.

    Example:
        >>> trials = plan_trials("rooms/mti_net", [{"optimizer.lr": 1e-4}, {"optimizer.lr": 3e-4}])
        >>> [trial.label for trial in trials]
        ['trial000 (lr=0.0001)', 'trial001 (lr=0.0003)']
    """
    trials = []
    for number, values in enumerate(points):
        recipe = load_recipe_or_model(source, values)
        recorded = list(dict.fromkeys([*recipe.imports, *imports]))
        name, short = f"trial{number:03}", short_names(list(values))
        settings = ", ".join(f"{short[key]}={to_text(value)}" for key, value in values.items())
        changed = recipe.model_copy(update={"imports": recorded, "name": f"{recipe.name}-{name}"})
        trials.append(Trial(name, changed, f"{name} ({settings})", values))
    return trials


class TrialCollection(RunCollection):
    """A folder of trials: runs, and which of them were stopped early.

    Args:
        path: The folder; created when needed.

    Example:
        >>> TrialCollection(Path("tuned")).stopped()
        {}
    """

    def stopped(self) -> dict[str, int]:
        """Trials that were stopped because they were behind others -> their finished epochs."""
        try:
            return dict(json.loads(self._stopped_file.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return {}

    def note_stopped(self, name: str, epoch: int) -> None:
        """Record that a trial was stopped early."""
        write_json(self._stopped_file, {**self.stopped(), name: epoch})

    def state(self, trial: Trial) -> str:
        """``finished``, ``stopped``, ``failed``, ``unfinished`` or ``new``."""
        state = state_of(trial, self)
        return "stopped" if state != "finished" and trial.name in self.stopped() else state

    def is_open(self, trial: Trial) -> bool:
        """Whether a trial is still to be trained."""
        return is_missing(trial, self) and trial.name not in self.stopped()

    @property
    def _stopped_file(self) -> Path:
        return self.path / "stopped.json"


@dataclass(frozen=True)
class TrialRunner:
    """Trains one trial in a process of Ray and reports its evaluations.

    Attributes:
        trials: All trials.
        path: Folder of the trials.
        objective: What is reported.
        session: Identifies this start of the command.

    Example:
        >>> runner = TrialRunner([], Path("tuned"), Objective("depth/rmse", "val", False), "1")
    """

    trials: Sequence[Trial]
    path: Path
    objective: Objective
    session: str

    def run(self, number: int, report: Report) -> None:
        """Train a trial, or resume it. Evaluations before the last checkpoint are reported again.

        An evaluation is reported once per session. The one of the last epoch is reported when the
        trial is finished and scored. A trial that fails is recorded, and ends.

        Args:
            number: Place in ``trials``.
            report: Passes ``{"score": ..., "epoch": ...}`` to the scheduler; does not return if it
                decides to stop the trial.
        """
        trial, runs = self.trials[number], TrialCollection(self.path)
        directory = runs.run(trial)
        last, seed = trial.recipe.epochs, trial.recipe.seed
        reported = self._reported(directory)

        def pass_on(epoch: int, metrics: Mapping[str, Mapping[str, float | None]]) -> None:
            nonlocal reported
            if epoch <= reported:
                return
            reported = epoch
            write_json(directory.path / _REPORTED, {"session": self.session, "epoch": epoch})
            score = self.objective.value(metrics, seed)
            if math.isfinite(score):
                report({_SCORE: score, _EPOCH: epoch})

        def on_evaluate(epoch: int, split: Split, metrics: Any) -> None:
            if epoch < last and split == self.objective.split:
                pass_on(epoch, metrics)

        def earlier(until: int) -> None:
            for epoch, metrics in evaluations(directory, self.objective.split):
                if epoch <= until:
                    pass_on(epoch, metrics)

        if runs.is_open(trial):
            earlier(last - 1)
            try:
                import_parts(trial.recipe.imports)
                _train(trial, directory, on_evaluate)
            except Exception as error:
                runs.note_failure(trial, describe_failure(error))
                free_memory()
                return
        earlier(last)

    def _reported(self, directory: RunDirectory) -> int:
        """Last epoch that was reported in this session."""
        try:
            content = json.loads((directory.path / _REPORTED).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return 0
        return int(content["epoch"]) if content.get("session") == self.session else 0


def _train(trial: Trial, directory: RunDirectory, on_evaluate: Any) -> None:
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            forget_precision()
            resume = directory.recipe_file.is_file()
            train(trial.recipe, directory.path, resume, Reporter(), on_evaluate=on_evaluate)
            return
        except RunInUseError:  # of a process that Ray is ending
            if time.monotonic() > deadline:
                raise
        time.sleep(1.0)


@dataclass(frozen=True)
class TuneSettings:
    """How Ray Tune runs the trials.

    Attributes:
        scheduler: ``asha`` (asynchronous successive halving, Li et al., MLSys 2020) stops the worst
            trials at 1, 4, 16, ... times ``grace`` epochs; ``median`` stops a trial whose best
            score is below the median of the others' mean scores up to that epoch; ``none`` stops
            none.
        grace: Epochs before a trial can be stopped.
        address: Address of the Ray cluster.
        per_run: What each trial needs.

    Example:
        >>> TuneSettings(grace=5).scheduler
        'asha'
    """

    scheduler: Scheduler = "asha"
    grace: int = 1
    address: str | None = None
    per_run: Resources = field(default_factory=Resources)


def tune(
    trials: Sequence[Trial],
    runs: TrialCollection,
    objective: Objective,
    settings: TuneSettings,
    reporter: Reporter,
) -> None:
    """Train the trials that are not finished, stopped or failed.

    Raises:
        InputError: Ray is not installed or cannot be reached.
        KeyboardInterrupt: After Ctrl-C; the same call resumes from the last checkpoints.

    Example:
        >>> trials = plan_trials("rooms/mti_net", [{"optimizer.lr": 1e-4}])
        >>> objective = Objective("depth/rmse", "val", higher_is_better=False)
        >>> tune(trials, TrialCollection(Path("tuned")), objective, TuneSettings(),
        ...      Reporter())  # doctest: +SKIP
    """
    check_alone()
    if finished := sum(not runs.is_open(trial) for trial in trials):
        reporter.line(f"Found {finished} of {len(trials)} trials finished, stopped or failed.")
    if not any(runs.is_open(trial) for trial in trials):
        return
    most = max(trial.recipe.epochs for trial in trials)
    if settings.scheduler != "none" and all(
        trial.recipe.evaluate_every >= trial.recipe.epochs for trial in trials
    ):
        reporter.line(
            "No trial is evaluated before its last epoch, so none can be stopped early; lower "
            "evaluate_every."
        )
    ray = connect(settings.address)
    options = settings.per_run.options(ray)
    ray_tune = import_extra("ray.tune", "ray", "A search on Ray")
    board = StatusBoard([trial for trial in trials if runs.is_open(trial)], finished, runs)
    resolved = [replace(trial, recipe=absolute_paths(trial.recipe)) for trial in trials]
    runner = TrialRunner(resolved, runs.path.resolve(), objective, uuid.uuid4().hex)

    def trainable(config: dict[str, Any]) -> None:
        runner.run(config["number"], ray_tune.report)

    class Watch(ray_tune.Callback):
        next_update = 0.0

        def __reduce__(self) -> tuple[Any, ...]:
            return dict, ()  # Tune stores its callbacks; this one belongs to this process

        def on_step_end(self, iteration: int, trials: Any, **info: Any) -> None:
            if time.monotonic() >= self.next_update:  # there may be hundreds of steps per second
                self.next_update = time.monotonic() + 1.0
                board.update(reporter)

        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            ours = runner.trials[trial.config["number"]]
            _note_end(ours, int(trial.last_result.get(_EPOCH, 0)), runs, board, reporter)

        def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            ours = runner.trials[trial.config["number"]]
            died = CheckpointError(
                f"The processes that trained it died {RETRIES + 1} times. See the logs of Ray."
            )
            runs.note_failure(ours, describe_failure(died))
            _note_end(ours, 0, runs, board, reporter)

    storage = runs.path.resolve() / ".ray"
    resources = {"cpu": options["num_cpus"], "gpu": options["num_gpus"]}
    # Earlier trials come first: their evaluations are what the scheduler compares others with.
    order = sorted(range(len(trials)), key=lambda number: runs.is_open(trials[number]))
    tuner = ray_tune.Tuner(
        ray_tune.with_resources(trainable, resources),
        param_space={"number": ray_tune.grid_search(order)},
        tune_config=ray_tune.TuneConfig(
            metric=_SCORE,
            mode="max" if objective.higher_is_better else "min",
            scheduler=_scheduler(settings, most),
            reuse_actors=True,  # starting a process takes longer than an epoch on few images
        ),
        run_config=ray_tune.RunConfig(
            name=uuid.uuid4().hex,
            storage_path=str(storage),
            failure_config=ray_tune.FailureConfig(max_failures=RETRIES),
            callbacks=[Watch()],
            verbose=0,
        ),
    )
    try:
        # Tune prints the configuration of its experiment even if verbose is 0.
        with board.shown(reporter), redirect_stdout(io.StringIO()):
            tuner.fit()
    finally:
        shutil.rmtree(storage, ignore_errors=True)
    if any(runs.is_open(trial) for trial in trials):
        raise KeyboardInterrupt


def _scheduler(settings: TuneSettings, epochs: int) -> Any:
    schedulers = import_extra("ray.tune.schedulers", "ray", "A search on Ray")
    if settings.scheduler == "asha":
        grace = min(settings.grace, epochs)
        return schedulers.ASHAScheduler(time_attr=_EPOCH, max_t=epochs, grace_period=grace)
    if settings.scheduler == "median":
        return schedulers.MedianStoppingRule(time_attr=_EPOCH, grace_period=settings.grace)
    return schedulers.FIFOScheduler()


def _note_end(
    trial: Trial, epoch: int, runs: TrialCollection, board: StatusBoard, reporter: Reporter
) -> None:
    """Note that a trial is finished, was stopped by the scheduler, or has failed."""
    before = runs.state(trial)
    if before == "unfinished":
        runs.note_stopped(trial.name, epoch)
    state = runs.state(trial)
    if not board.set_if_watched(trial, state):
        return  # it ended in an earlier session
    if state == "failed":
        error = (runs.failure(trial) or {}).get("error", "")
        reporter.line(f"Trial {trial.label} failed: {first_line(Exception(error))}")
    else:
        after = f" after epoch {epoch}" if state == "stopped" else ""
        reporter.line(f"{state.capitalize()} {trial.label}{after}; {board.summary()}.")


@dataclass(frozen=True)
class TrialScore:
    """The last evaluation of a trial.

    Attributes:
        trial: The trial.
        state: ``finished``, ``stopped``, ``failed``, ``unfinished`` or ``new``.
        epoch: Its epoch; 0 without an evaluation.
        score: Value of the objective; NaN without an evaluation.

    Example:
        >>> trial = plan_trials("rooms/mti_net", [{"optimizer.lr": 1e-4}])[0]
        >>> TrialScore(trial, "new", 0, math.nan).state
        'new'
    """

    trial: Trial
    state: str
    epoch: int
    score: float


def rank_trials(
    trials: Sequence[Trial], runs: TrialCollection, objective: Objective
) -> list[TrialScore]:
    """Last evaluations, best first; finished trials come before those that were stopped.

    Example:
        >>> rank_trials([], TrialCollection(Path("tuned")), Objective("depth/rmse", "val", False))
        []
    """
    found = []
    for trial in trials:
        last = list(evaluations(runs.run(trial), objective.split))[-1:]
        epoch, metrics = last[0] if last else (0, {})
        score = objective.value(metrics, trial.recipe.seed) if last else math.nan
        found.append(TrialScore(trial, runs.state(trial), epoch, score))
    sign = -1 if objective.higher_is_better else 1

    def place(each: TrialScore) -> tuple[bool, bool, float]:
        is_scored = math.isfinite(each.score)
        return not is_scored, each.state != "finished", sign * each.score if is_scored else 0.0

    return sorted(found, key=place)


def best_recipe(scores: Sequence[TrialScore], name: str) -> Recipe | None:
    """Recipe of the best trial under another name; None if no trial has a score.

    Example:
        >>> print(best_recipe([], "best"))
        None
    """
    if not scores or not math.isfinite(scores[0].score):
        return None
    return scores[0].trial.recipe.model_copy(update={"name": name})


def trial_table(scores: Sequence[TrialScore], objective: Objective) -> TextTable:
    """Table of trials: values of the varied keys, state, epoch and score.

    Args:
        scores: From :func:`rank_trials`.
        objective: Names the score.

    Example:
        >>> trial_table([], Objective("depth/rmse", "val", False)).headings
        ['trial', 'state', 'epoch', 'depth/rmse ↓']
    """
    keys = list(scores[0].trial.values) if scores else []
    varied = [key for key in keys if len({to_text(each.trial.values[key]) for each in scores}) > 1]
    short = short_names(varied)
    arrow = "↑" if objective.higher_is_better else "↓"
    title = "Δm (%)" if objective.name == GAIN else objective.name
    return TextTable(
        title=f"{len(scores)} trials, scores on {objective.split}",
        headings=["trial", *(short[key] for key in varied), "state", "epoch", f"{title} {arrow}"],
        rows=[
            [
                each.trial.name,
                *(to_text(each.trial.values[key]) for key in varied),
                each.state,
                str(each.epoch),
                f"{each.score:.4f}" if math.isfinite(each.score) else "–",
            ]
            for each in scores
        ],
        best=frozenset({(0, len(varied) + 3)} if scores and math.isfinite(scores[0].score) else ()),
    )
