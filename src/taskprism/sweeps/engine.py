"""Train many recipes, one after the other in this process or in parallel on a Ray cluster."""

from __future__ import annotations

import datetime
import gc
import json
import os
import platform
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate.state import AcceleratorState

from taskprism.atomic import write_json
from taskprism.errors import CheckpointError, InputError
from taskprism.progress import Reporter
from taskprism.recipes.schema import Recipe
from taskprism.training.run import train
from taskprism.training.run_directory import RunDirectory
from taskprism.training.run_lock import RunInUseError

Train = Callable[[Recipe, Path, bool, Reporter], object]


@dataclass(frozen=True)
class Job:
    """One training.

    Attributes:
        name: Name of the run's folder, unique among all jobs.
        recipe: All settings.
        label: What messages call it.

    Example:
        >>> Job("shared-seed0", Recipe(), "shared, seed 0").label
        'shared, seed 0'
    """

    name: str
    recipe: Recipe
    label: str


class Named(Protocol):
    """Anything that has a name: a :class:`Job`, or a run of a plan."""

    @property
    def name(self) -> str:
        """Name of the run's folder."""


class RunCollection:
    """A folder of many runs.

    ==========================  ==============================================================
    ``runs/RUN/``               run directories
    ``failures/RUN.json``       why a run failed
    ==========================  ==============================================================

    Args:
        path: The folder; created when needed.

    Example:
        >>> runs = RunCollection(Path("sweep"))
        >>> runs.run(Job("shared-seed0", Recipe(), "shared, seed 0")).path.as_posix()
        'sweep/runs/shared-seed0'
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def run(self, run: Named) -> RunDirectory:
        """Directory of a run."""
        return RunDirectory(self.path / "runs" / run.name)

    def is_done(self, run: Named) -> bool:
        """Whether a run is finished and has scores."""
        return self.run(run).metrics_file.is_file()

    def failure(self, run: Named) -> dict[str, Any] | None:
        """Why a run failed (``error``, ``host``, ``time``, ...), or None if it did not fail."""
        file = self._failure_file(run)
        try:
            return json.loads(file.read_text(encoding="utf-8"))
        except OSError:
            return None
        except ValueError:
            return {"error": f"{file} cannot be read"}

    def failures(self, runs: Iterable[Named]) -> dict[str, str]:
        """Name of each failed run -> its error."""
        found = {run.name: self.failure(run) for run in runs if not self.is_done(run)}
        return {name: str(each.get("error")) for name, each in found.items() if each is not None}

    def note_failure(self, run: Named, content: dict[str, Any]) -> None:
        """Record that a run failed."""
        write_json(self._failure_file(run), content)

    def forget_failures(self, runs: Iterable[Named]) -> None:
        """Clear the failures of runs, so that they are trained again."""
        for run in runs:
            self._failure_file(run).unlink(missing_ok=True)

    def _failure_file(self, run: Named) -> Path:
        return self.path / "failures" / f"{run.name}.json"


class Engine(ABC):
    """Trains the jobs of a collection.

    Finished runs are skipped, unfinished ones are resumed, and runs that failed before are left
    out until :meth:`RunCollection.forget_failures`. A run that fails does not stop the others.

    Example:
        >>> issubclass(LocalEngine, Engine)
        True
    """

    def run(
        self,
        jobs: Sequence[Job],
        runs: RunCollection,
        reporter: Reporter,
        imports: Sequence[str] = (),
    ) -> None:
        """Train what is missing. :func:`report_missing` says what is missing afterwards.

        Args:
            jobs: All jobs.
            runs: Folder of their runs.
            reporter: Shows progress.
            imports: Modules and Python files that recipes need besides their own ``imports``.

        Raises:
            CheckpointError: No further run can be trained, or a failure cannot be recorded.
            InputError: This process is one of several.
            KeyboardInterrupt: After Ctrl-C or another signal, once everything is saved.
        """
        check_alone()
        if finished := sum(runs.is_done(job) for job in jobs):
            reporter.line(f"Found {finished} of {len(jobs)} runs finished.")
        if missing := [job for job in jobs if is_missing(job, runs)]:
            self.train_missing(missing, len(jobs) - len(missing), runs, reporter, imports)

    @abstractmethod
    def train_missing(
        self,
        jobs: Sequence[Job],
        others: int,
        runs: RunCollection,
        reporter: Reporter,
        imports: Sequence[str],
    ) -> None:
        """Train these jobs.

        Args:
            jobs: Jobs that are neither finished nor failed.
            others: Number of all other jobs, for messages.
            runs: Folder of their runs.
            reporter: Shows progress.
            imports: Modules and Python files that recipes need besides their own ``imports``.
        """


class LocalEngine(Engine):
    """Trains in this process, one run after the other.

    Several processes can share a folder: each skips the runs that another one is training.

    Args:
        train: Trains a recipe into a folder, or resumes; raises KeyboardInterrupt after it has
            stopped and saved.

    Example:
        >>> import tempfile
        >>> def write_scores(recipe, folder, resume, reporter):
        ...     folder.mkdir(parents=True)
        ...     (folder / "metrics.json").write_text("{}")
        >>> runs, job = RunCollection(Path(tempfile.mkdtemp())), Job("a", Recipe(), "a")
        >>> LocalEngine(write_scores).run([job], runs, Reporter(quiet=True))
        >>> runs.is_done(job)
        True
    """

    def __init__(self, train: Train = train) -> None:
        self._train = train

    def train_missing(
        self,
        jobs: Sequence[Job],
        others: int,
        runs: RunCollection,
        reporter: Reporter,
        imports: Sequence[str],
    ) -> None:
        """Train these jobs; ``imports`` are imported in this process already."""
        seconds: list[float] = []
        for number, job in enumerate(jobs, start=1):
            if not is_missing(job, runs):
                continue  # another process has trained it in the meantime
            resume = runs.run(job).recipe_file.is_file()
            reporter.line(
                f"{'Resuming' if resume else 'Training'} run {others + number} of "
                f"{others + len(jobs)}: {job.label}"
            )
            started = time.monotonic()
            try:
                train_job(job, runs, reporter, self._train)
            except RunInUseError as error:
                reporter.line(f"Skipping {job.name}: {error}")
            except Exception as error:
                runs.note_failure(job, describe_failure(error))
                reporter.line(f"Run {job.name} failed: {first_line(error)}")
                free_memory()
            else:
                seconds.append(time.monotonic() - started)
                _report_time(len(jobs) - number, seconds, reporter)


def _report_time(left: int, seconds: Sequence[float], reporter: Reporter) -> None:
    if left:
        minutes = left * sum(seconds) / len(seconds) / 60
        expected = f"about {minutes:.0f} minutes" if minutes >= 1 else "less than a minute"
        reporter.line(f"Runs left: {left} ({expected}).")


def is_missing(job: Named, runs: RunCollection) -> bool:
    """Whether a run is neither finished nor failed.

    Example:
        >>> is_missing(Job("a", Recipe(), "a"), RunCollection(Path("nowhere")))
        True
    """
    return not runs.is_done(job) and runs.failure(job) is None


def train_job(job: Job, runs: RunCollection, reporter: Reporter, train: Train = train) -> None:
    """Train a job, or resume it from its checkpoint.

    Raises:
        RunInUseError: Another process is training it.
        TaskprismError: It cannot be trained.
        KeyboardInterrupt: After Ctrl-C or another signal, once everything is saved.
    """
    forget_precision()
    directory = runs.run(job)
    train(job.recipe, directory.path, directory.recipe_file.is_file(), reporter)


def forget_precision() -> None:
    """Let the next run of this process have another precision, which accelerate keeps for all.

    Example:
        >>> forget_precision()
    """
    AcceleratorState._reset_state()


def report_missing(
    jobs: Sequence[Named], runs: RunCollection, reporter: Reporter, retry: str
) -> int:
    """Report the runs that failed or are not finished.

    Args:
        jobs: All jobs, or runs of a plan.
        runs: Folder of their runs.
        reporter: Shows the report.
        retry: Command that trains failed runs again.

    Returns:
        Exit status of the command: 0 if every run is finished, otherwise 1.

    Example:
        >>> report_missing([], RunCollection(Path("sweep")), Reporter(quiet=True), "")
        0
    """
    failed = runs.failures(jobs)
    for name, error in failed.items():
        reporter.line(f"Run {name} failed: {error}")
    if failed:
        reporter.line(f"{len(failed)} of {len(jobs)} runs failed. Try them again with: {retry}")
    unfinished = [job.name for job in jobs if is_missing(job, runs)]
    if unfinished:
        reporter.line(
            f"{len(unfinished)} of {len(jobs)} runs are not finished ({', '.join(unfinished)}). If "
            "other processes are training them, run the same command again when these have ended."
        )
    return 1 if failed or unfinished else 0


def check_alone() -> None:
    """Check that this process is not one of several started by ``accelerate launch``.

    Raises:
        InputError: This process is one of several.

    Example:
        >>> check_alone()
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError(
            "Commands that train many runs train each in one process. Start one process without "
            "`accelerate launch` or `torchrun`; with --engine ray it uses all GPUs, one per run."
        )


def describe_failure(error: Exception) -> dict[str, str]:
    """Record of a failed run: error, traceback, host and time.

    Example:
        >>> describe_failure(RuntimeError("out of memory"))["error"]
        'RuntimeError: out of memory'
    """
    return {
        "error": f"{type(error).__name__}: {error}",
        "traceback": "".join(traceback.format_exception(error)),
        "host": platform.node(),
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def first_line(error: Exception) -> str:
    """First line of a message.

    Example:
        >>> first_line(RuntimeError("out of memory; see below"))
        'out of memory; see below'
    """
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def free_memory() -> None:
    """Free memory for the next run, and check that the device still works.

    Raises:
        CheckpointError: No further run can succeed in this process.
    """
    gc.collect()
    if not torch.cuda.is_available():
        return
    try:
        torch.cuda.empty_cache()
        torch.zeros(1, device="cuda").item()
    except RuntimeError as error:
        raise CheckpointError(
            f"This process can no longer use the GPU ({first_line(error)}). Run the same command "
            "again to train the other runs; add --retry-failed to repeat the failed ones."
        ) from error
