"""Train many recipes in parallel on a Ray cluster, one task per run.

Ray starts a task again if its process or machine dies. The run is then resumed from its last
checkpoint, on whichever machine is free, so all machines must share the folder of the runs. When
the process that started the tasks ends, Ray ends them too; the same command resumes them.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.live import Live
from rich.markup import escape
from rich.table import Table

from taskprism.cluster import Resources, connect
from taskprism.errors import CheckpointError, InputError, Terminated
from taskprism.progress import Reporter
from taskprism.registry import import_parts
from taskprism.sweeps.engine import (
    Engine,
    Job,
    LocalEngine,
    RunCollection,
    describe_failure,
    train_job,
)
from taskprism.training.run_directory import RunDirectory, RunLog, absolute_paths
from taskprism.training.run_lock import HOLDER_FILE, RunInUseError
from taskprism.training.stopping import stop_on_signals

RETRIES = 20  # each attempt resumes, so every one of them makes progress
#: A file server may keep the lock of a machine that died (NFS 4: for 90 seconds).
LOCK_SECONDS = 180.0
SAVE_SECONDS = 120.0
_MOST_ROWS = 40


class RayEngine(Engine):
    """Trains on a Ray cluster, or on all processors and GPUs of this machine.

    Args:
        address: Address of the cluster, see :func:`taskprism.cluster.connect`.
        per_run: What each run needs.

    Example:
        >>> engine = RayEngine("10.0.0.1:6379", Resources(cpus=4, gpus=1))
    """

    def __init__(self, address: str | None = None, per_run: Resources | None = None) -> None:
        self.address = address
        self.per_run = per_run or Resources()

    def train_missing(
        self,
        jobs: Sequence[Job],
        others: int,
        runs: RunCollection,
        reporter: Reporter,
        imports: Sequence[str],
    ) -> None:
        """Train these jobs, as many at a time as the cluster has resources for."""
        ray = connect(self.address)
        options = self.per_run.options(ray)
        task = ray.remote(_train).options(max_retries=RETRIES, **options)
        files = [_absolute(name) for name in imports]
        board = StatusBoard(jobs, others, runs)
        path = runs.path.resolve()
        with stop_on_signals() as stop, board.shown(reporter):
            tasks = {}
            for job in jobs:
                recipe = absolute_paths(job.recipe)
                tasks[task.remote(Job(job.name, recipe, job.label), path, files)] = job
            while tasks:
                if stop:
                    _cancel(ray, list(tasks), reporter)
                    raise KeyboardInterrupt if stop.by_interrupt else Terminated
                ready, _ = ray.wait(list(tasks), num_returns=1, timeout=1.0)
                for done in ready:
                    job = tasks.pop(done)
                    _note_end(job, _result(ray, done), runs, board, reporter)
                board.update(reporter)


def create_engine(
    name: str = "local", address: str | None = None, per_run: str | None = None
) -> Engine:
    """Engine from the options of a command.

    Args:
        name: ``local`` or ``ray``.
        address: Address of a Ray cluster.
        per_run: What each run needs there: ``gpus=1,cpus=4``.

    Raises:
        InputError: An option does not fit the engine.

    Example:
        >>> create_engine("ray", per_run="cpus=2").per_run
        Resources(cpus=2.0, gpus=None)
    """
    if name == "ray":
        return RayEngine(address, None if per_run is None else Resources.parse(per_run))
    for option, value in (("--address", address), ("--per-run", per_run)):
        if value is not None:
            raise InputError(f"{option} needs --engine ray.")
    return LocalEngine()


def _absolute(name: str) -> str:
    return str(Path(name).resolve()) if name.endswith(".py") else name


@dataclass(frozen=True)
class _End:
    """How a task ended: finished, failed, or not trained because the run is in use."""

    failure: dict[str, str] | None = None
    in_use: str = ""


def _train(job: Job, path: Path, imports: Sequence[str]) -> _End:
    """Train a job in a process of Ray; its messages go to the log of that process."""
    try:
        import_parts([*imports, *job.recipe.imports])
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                train_job(job, RunCollection(path), Reporter())
                return _End()
            except RunInUseError as error:
                if time.monotonic() > deadline:
                    return _End(in_use=str(error))
            time.sleep(1.0)
    except Exception as error:  # as text: not every exception can be sent to another process
        return _End(failure=describe_failure(error))


def _result(ray: Any, done: Any) -> _End:
    try:
        return ray.get(done)
    except ray.exceptions.RayError as error:
        return _End(failure=describe_failure(error))


def _note_end(
    job: Job, end: _End, runs: RunCollection, board: StatusBoard, reporter: Reporter
) -> None:
    if end.failure is not None:
        runs.note_failure(job, end.failure)
        board.set(job, "failed")
        message = end.failure["error"].partition(": ")[2] or end.failure["error"]
        reporter.line(f"Run {job.name} failed: {message.splitlines()[0]}")
    elif end.in_use:
        board.set(job, "in use")
        reporter.line(f"Skipping {job.name}: {end.in_use}")
    else:
        board.set(job, "finished")
        reporter.line(f"Finished {job.name}; {board.summary()}.")


def _cancel(ray: Any, tasks: list[Any], reporter: Reporter) -> None:
    """Ask the running tasks to save and stop; the waiting ones do not start."""
    reporter.line("Stopping: the running trainings are saved.")
    for task in tasks:
        ray.cancel(task)
    ray.wait(tasks, num_returns=len(tasks), timeout=SAVE_SECONDS)


@dataclass
class _Status:
    state: str = "waiting"
    holder: tuple[str, int] | None = None
    epoch: int = 0
    started: float = 0.0


@dataclass
class StatusBoard:
    """Who trains what: a live table in a terminal, one line per change everywhere else.

    It is read from the files of the runs: the holder of the lock, and the log.

    Args:
        jobs: The jobs to watch.
        others: Number of all other jobs.
        runs: Folder of their runs.

    Example:
        >>> from taskprism.recipes import Recipe
        >>> board = StatusBoard([Job("a", Recipe(), "a")], 2, RunCollection(Path("sweep")))
        >>> board.summary()
        '1 of 3 runs left'
    """

    jobs: Sequence[Job]
    others: int
    runs: RunCollection
    _status: dict[str, _Status] = field(init=False)
    _before: dict[str, Any] = field(init=False)
    _live: Live | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._status = {job.name: _Status() for job in self.jobs}
        # A process that was killed leaves its name in the folder of the run.
        self._before = {job.name: read_holder(self.runs.run(job)) for job in self.jobs}

    @contextmanager
    def shown(self, reporter: Reporter) -> Iterator[None]:
        """Show the live table inside the block, if there is a terminal."""
        if reporter.quiet or not reporter.console.is_terminal:
            yield
            return
        with Live(self.table(), console=reporter.console, transient=True) as self._live:
            yield
        self._live = None

    def set(self, job: Job, state: str) -> None:
        """Note how a job ended."""
        self._status[job.name].state = state

    def set_if_watched(self, job: Job, state: str) -> bool:
        """Note how a job ended; false if it is not one of the jobs to watch."""
        if job.name not in self._status:
            return False
        self.set(job, state)
        return True

    def update(self, reporter: Reporter) -> None:
        """Read who trains what."""
        for job in self.jobs:
            status, directory = self._status[job.name], self.runs.run(job)
            if status.state not in ("waiting", "training"):
                continue
            holder = read_holder(directory)
            if holder is None or (status.state == "waiting" and holder == self._before[job.name]):
                continue
            place = str(holder.get("host", "?")), int(holder.get("pid", 0))
            if place != status.holder:
                if self._live is None:
                    verb = "Training" if status.holder is None else "Resuming"
                    reporter.line(f"{verb} {job.label} on {place[0]} (process {place[1]})")
                status.state, status.holder = "training", place
                status.started = status.started or time.monotonic()
            status.epoch = read_epoch(directory)
        if self._live is not None:
            self._live.update(self.table())

    def summary(self) -> str:
        """How many runs are left."""
        left = sum(each.state in ("waiting", "training") for each in self._status.values())
        return f"{left} of {len(self.jobs) + self.others} runs left"

    def table(self) -> Table:
        """Runs in training first, then those that failed, are waiting or finished."""
        table = Table("run", "machine", "state", "epoch", "elapsed", caption=self._counts())
        order = ["training", "in use", "failed", "waiting", "stopped", "finished"]
        jobs = sorted(self.jobs, key=lambda job: order.index(self._status[job.name].state))
        for job in jobs[:_MOST_ROWS]:
            status = self._status[job.name]
            machine = "" if status.holder is None else f"{status.holder[0]} ({status.holder[1]})"
            seconds = int(time.monotonic() - status.started)
            elapsed = f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
            is_training = status.state == "training"
            table.add_row(
                escape(job.label),
                escape(machine),
                status.state,
                f"{status.epoch}/{job.recipe.epochs}" if status.holder else "",
                elapsed if is_training else "",
            )
        return table

    def _counts(self) -> str:
        counts = Counter(status.state for status in self._status.values())
        return ", ".join(f"{count} {state}" for state, count in counts.items())


def read_holder(directory: RunDirectory) -> dict[str, Any] | None:
    """Process that trains a run (``host``, ``pid``, ``since``), or None.

    Example:
        >>> print(read_holder(RunDirectory("nowhere")))
        None
    """
    try:
        holder = json.loads((directory.path / HOLDER_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return holder if isinstance(holder, dict) else None


def read_epoch(directory: RunDirectory) -> int:
    """Finished epochs in the log of a run.

    Example:
        >>> read_epoch(RunDirectory("nowhere"))
        0
    """
    log: RunLog = directory.log
    try:
        entries = log.entries()
    except CheckpointError:  # a line is being written
        return 0
    return int(entries[-1].get("epoch", 0)) if entries else 0
