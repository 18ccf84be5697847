"""Train the missing runs of a plan, alone or together with other processes."""

from __future__ import annotations

import datetime
import gc
import os
import platform
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import torch

from taskprism.errors import CheckpointError, InputError
from taskprism.papers.claims import Claim
from taskprism.papers.plan import Place, Plan, Run
from taskprism.progress import Reporter
from taskprism.recipes.schema import Recipe
from taskprism.training.run import train
from taskprism.training.run_lock import RunInUseError

Train = Callable[[Recipe, Path, bool, Reporter], object]
POLL_SECONDS = 5.0


class Runner:
    """Trains free runs one after the other until none is left.

    Args:
        plan: All runs.
        place: Folder of the runs.
        reporter: Shows progress.
        train: Trains a recipe into a folder, or resumes; raises KeyboardInterrupt after it has
            stopped and saved.
        poll: Seconds between two checks of the runs that other processes hold.

    Example:
        >>> from taskprism.papers import Place, Request, load_table, make_plan
        >>> plan = make_plan(load_table("mti_net/2a"), Request("rooms", budget="tiny", seeds=1))
        >>> runner = Runner(plan, Place(Path("reproduced")), Reporter(quiet=True))
    """

    def __init__(
        self,
        plan: Plan,
        place: Place,
        reporter: Reporter,
        train: Train = train,
        poll: float = POLL_SECONDS,
    ) -> None:
        self.plan = plan
        self.place = place
        self.reporter = reporter
        self._train = train
        self._poll = poll
        self._seconds: list[float] = []  # duration of each run of this process
        self._announced = ""

    def work(self, wait: bool = True) -> None:
        """Train every run that is neither done nor failed nor held by another process.

        Args:
            wait: If no run is free, wait for those that other processes hold, and take over those
                whose lease expires.

        Raises:
            KeyboardInterrupt: After Ctrl-C, once everything is saved; the message says how to
                resume.
        """
        check_alone()
        runs = self.plan.runs
        if finished := sum(self.place.is_done(run) for run in runs):
            self.reporter.line(f"Found {finished} of {len(runs)} runs finished.")
        try:
            while left := self._left():
                if not self._take_one(left):
                    if not wait:
                        break
                    self._wait(left)
        except KeyboardInterrupt as interrupt:
            command = self.plan.command(self.place.path)
            raise type(interrupt)(
                f"Stopped; finished work is kept. Resume with: {command}"
            ) from None

    def _left(self) -> list[Run]:
        return [
            run
            for run in self.plan.runs
            if not self.place.is_done(run) and self.place.failure(run) is None
        ]

    def _take_one(self, runs: list[Run]) -> bool:
        """Train the first free run; returns whether there was one."""
        for run in runs:
            claim = self.place.claims.take(run.name)
            if claim is None:
                continue
            try:
                with claim:
                    # Another process may have finished it since the first check.
                    if not self.place.is_done(run) and self.place.failure(run) is None:
                        self._do(run, claim)
            except KeyboardInterrupt:
                if not claim.lost:
                    raise
                self.reporter.line(
                    f"{run.name}: lease expired; "
                    f"{self.place.claims.holder(run.name) or 'another process'} has taken over."
                )
            return True
        return False

    def _do(self, run: Run, claim: Claim) -> None:
        runs = self.plan.runs
        done = sum(self.place.is_done(each) for each in runs)
        self.place.clear_debris(run)
        directory = self.place.run(run)
        resume = directory.recipe_file.is_file()
        verb = "Resuming" if resume else "Training"
        if resume and claim.abandoned:
            verb = "Taking over"
        self.reporter.line(
            f"{verb} run {done + 1} of {len(runs)}: {', '.join(run.rows)}, seed {run.seed}"
        )
        started = time.monotonic()
        try:
            self._train(run.recipe, directory.path, resume, self.reporter)
        except RunInUseError as error:  # another process still has it, though its lease expired
            self.reporter.line(str(error))
            time.sleep(self._poll)
        except Exception as error:
            self.place.note_failure(run, describe_failure(error))
            self.reporter.line(f"Run {run.name} failed: {_first_line(error)}")
            _free_memory()
        else:
            self._seconds.append(time.monotonic() - started)
            self._report_time(len(runs) - done - 1)

    def _report_time(self, left: int) -> None:
        if left:
            minutes = left * sum(self._seconds) / len(self._seconds) / 60
            self.reporter.line(
                f"Runs left: {left} (about {minutes:.0f} minutes for one process)."
                if minutes >= 1
                else f"Runs left: {left} (less than a minute)."
            )

    def _wait(self, left: list[Run]) -> None:
        holders = {run.name: self.place.claims.holder(run.name) for run in left}
        text = "; ".join(f"{name} ({holder})" for name, holder in holders.items() if holder)
        if text and text != self._announced:
            self.reporter.line(f"Waiting for runs of other processes: {text}.")
            self._announced = text
        time.sleep(self._poll)


def check_alone() -> None:
    """Check that this process is not one of several started by ``accelerate launch``.

    Raises:
        InputError: This process is one of several.

    Example:
        >>> check_alone()
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError(
            "`taskprism reproduce` trains each run in one process. To use several devices, start "
            "it once per device with the same --out: CUDA_VISIBLE_DEVICES=0 taskprism reproduce "
            "..., CUDA_VISIBLE_DEVICES=1 taskprism reproduce ...; they divide the runs."
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


def failures(plan: Plan, place: Place) -> dict[str, str]:
    """Name of each failed run -> its error.

    Example:
        >>> from taskprism.papers import Request, load_table, make_plan
        >>> request = Request("rooms", budget="tiny", seeds=1, rows=("multi_task",))
        >>> failures(make_plan(load_table("mti_net/2a"), request), Place(Path("reproduced")))
        {}
    """
    found = {run.name: place.failure(run) for run in plan.runs if not place.is_done(run)}
    return {name: str(each.get("error")) for name, each in found.items() if each is not None}


def retry(plan: Plan, place: Place) -> None:
    """Clear the failures of a plan, so that its failed runs are trained again.

    Example:
        >>> from taskprism.papers import Request, load_table, make_plan
        >>> request = Request("rooms", budget="tiny", seeds=1, rows=("multi_task",))
        >>> retry(make_plan(load_table("mti_net/2a"), request), Place(Path("reproduced")))
    """
    for run in plan.runs:
        place.forget_failure(run)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _free_memory() -> None:
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
            f"This process can no longer use the GPU ({_first_line(error)}). Run the same command "
            "again to train the other runs; add --retry-failed to repeat the failed ones."
        ) from error
