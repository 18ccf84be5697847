"""Train what a plan still lacks, alone or beside other processes."""

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

Train = Callable[[Recipe, Path, bool, Reporter], object]
POLL_SECONDS = 5.0


class Runner:
    """Takes one free run after the other until none is left.

    Args:
        plan: All runs.
        place: Where they are.
        reporter: Progress for people.
        train: Trains a recipe into a folder, or resumes; raises KeyboardInterrupt when it has
            stopped and saved.
        poll: Seconds between two looks at the runs that others hold.
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
        self._seconds: list[float] = []  # that the runs of this process took
        self._told = ""

    def work(self, wait: bool = True) -> None:
        """Train every run that is neither done nor failed nor held by another process.

        Args:
            wait: When no run is free, wait for those that others hold, and take over those whose
                holder dies.

        Raises:
            KeyboardInterrupt: After Ctrl-C, when everything is saved; says how to go on.
        """
        check_alone()
        runs = self.plan.runs
        if finished := sum(self.place.is_done(run) for run in runs):
            self.reporter.line(f"{finished} of {len(runs)} runs are done already.")
        try:
            while left := self._left():
                if not self._take_one(left):
                    if not wait:
                        break
                    self._wait(left)
        except KeyboardInterrupt:
            command = self.plan.command(self.place.path)
            raise KeyboardInterrupt(
                f"Stopped; what is done is kept. Go on with: {command}"
            ) from None

    def _left(self) -> list[Run]:
        return [
            run
            for run in self.plan.runs
            if not self.place.is_done(run) and self.place.failure(run) is None
        ]

    def _take_one(self, runs: list[Run]) -> bool:
        """Do the first of some runs that is free; whether there was one."""
        for run in runs:
            claim = self.place.claims.take(run.name)
            if claim is None:
                continue
            try:
                with claim:
                    # It may have been finished between the two looks.
                    if not self.place.is_done(run) and self.place.failure(run) is None:
                        self._do(run, claim)
            except KeyboardInterrupt:
                if not claim.lost:
                    raise
                self.reporter.line(
                    f"{run.name}: this process gave no sign of life for too long, so "
                    f"{self.place.claims.holder(run.name) or 'another one'} has taken over."
                )
            return True
        return False

    def _do(self, run: Run, claim: Claim) -> None:
        runs = self.plan.runs
        done = sum(self.place.is_done(each) for each in runs)
        self.place.clear_debris(run)
        directory = self.place.run(run)
        resume = directory.recipe_file.is_file()
        verb = "going on with" if resume else "training"
        if resume and claim.abandoned:
            verb = "taking over"
        self.reporter.line(
            f"[{done + 1}/{len(runs)}] {verb} {', '.join(run.rows)}, seed {run.seed}"
        )
        started = time.monotonic()
        try:
            self._train(run.recipe, directory.path, resume, self.reporter)
        except Exception as error:
            self.place.note_failure(run, describe_failure(error))
            self.reporter.line(f"{run.name} failed: {_first_line(error)}")
            _free_memory()
        else:
            self._seconds.append(time.monotonic() - started)
            self._tell_time(len(runs) - done - 1)

    def _tell_time(self, left: int) -> None:
        if left:
            minutes = left * sum(self._seconds) / len(self._seconds) / 60
            self.reporter.line(
                f"{left} runs to go: about {minutes:.0f} minutes for one process."
                if minutes >= 1
                else f"{left} runs to go: less than a minute."
            )

    def _wait(self, left: list[Run]) -> None:
        holders = {run.name: self.place.claims.holder(run.name) for run in left}
        text = "; ".join(f"{name} ({holder})" for name, holder in holders.items() if holder)
        if text and text != self._told:
            self.reporter.line(f"Nothing is free; waiting for {text}.")
            self._told = text
        time.sleep(self._poll)


def check_alone() -> None:
    """Refuse to run inside ``accelerate launch``, whose processes would fight for the runs.

    Raises:
        InputError: This process is one of several.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError(
            "`taskprism reproduce` trains each run in one process. To use several devices, start "
            "it once for each, with the same --out: CUDA_VISIBLE_DEVICES=0 taskprism reproduce "
            "..., CUDA_VISIBLE_DEVICES=1 taskprism reproduce ...; they share the work."
        )


def describe_failure(error: Exception) -> dict[str, str]:
    """What is remembered of a failed run."""
    return {
        "error": f"{type(error).__name__}: {error}",
        "traceback": "".join(traceback.format_exception(error)),
        "host": platform.node(),
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def failures(plan: Plan, place: Place) -> dict[str, str]:
    """Name of each failed run -> its error."""
    found = {run.name: place.failure(run) for run in plan.runs if not place.is_done(run)}
    return {name: str(each.get("error")) for name, each in found.items() if each is not None}


def retry(plan: Plan, place: Place) -> None:
    """Let the failed runs of a plan be tried again."""
    for run in plan.runs:
        place.forget_failure(run)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _free_memory() -> None:
    """Make room for the next run, and notice when the device is beyond use.

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
            f"The GPU cannot be used any more by this process ({_first_line(error)}). The same "
            "command goes on with the other runs; --retry tries the failed ones again."
        ) from error
