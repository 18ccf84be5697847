"""Watches over the processes of a run: one that fails, ends or stalls ends all, with its error.

Without it, the other processes wait in a collective operation for the process that is missing,
until that operation times out or its connection breaks with another error.

A thread in each process talks to the others through the store that has connected them. Where a
process fails, it says so there before it ends; the others then end silently with the same status.
Each process also tells there what it is doing. The first process compares: one that has not moved
for the recipe's ``stall_timeout`` is named, with its place in the run and in the code, and the run
ends. Half-way to the timeout a line is written.
"""

from __future__ import annotations

import itertools
import json
import os
import platform
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from types import FrameType
from typing import Any

from accelerate import Accelerator
from torch.distributed import PrefixStore, TCPStore

from taskprism.errors import ProcessError, TaskprismError, Terminated
from taskprism.progress import Reporter

_SECONDS_BETWEEN_LOOKS = 0.5
_SECONDS_TO_ACKNOWLEDGE = 5.0
#: The others wait so long before they end, so that the error is written first.
_SECONDS_TO_REPORT = 2.0
#: A process whose thread is silent so long is frozen or has ended.
_SECONDS_OF_SILENCE = 60.0
#: Likewise where a connection to another process has broken.
_SECONDS_OF_SILENCE_AFTER_BREAK = 4.0
_FAILED = "failed"
_CONNECTION = re.compile(r"gloo|nccl|connection|peer|socket|timed out", re.IGNORECASE)
_WAITING = re.compile(r"torch/(distributed|autograd|nn/parallel)|/accelerate/")
_runs = itertools.count()


class Watch:
    """One process of a run among several, as the others see it.

    Args:
        store: Connects the processes; None for a single one, which is not watched.
        rank: This process.
        processes: How many there are.
        timeout: Seconds after which a process that has not moved ends the run; 0: never.
        reporter: What it shows is sent to the other processes.
    """

    def __init__(
        self,
        store: PrefixStore | None,
        rank: int,
        processes: int,
        timeout: float,
        reporter: Reporter,
    ) -> None:
        self.rank = rank
        self.processes = processes
        self.timeout = timeout
        self.reporter = reporter
        self._store = store
        self._lock = threading.Lock()
        self._finished = threading.Event()
        self._main = threading.get_ident()
        self._moves = 0
        self._place = "starting"
        self._seen = [_Seen() for _ in range(processes)]
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        if store is not None:
            reporter.listener = self.at
            with suppress(RuntimeError):  # the thread finds out why
                self._look(0)  # now, so that the others know this process even if it ends at once
            self._thread.start()

    def at(self, place: str) -> None:
        """This process has moved.

        Args:
            place: What it does now, such as ``"epoch 1/9: loading item 3"``.
        """
        self._place = place
        self._moves += 1

    def finish(self) -> None:
        """This process is no longer watched: its part is done, or all stop together."""
        if self._store is None or self._finished.is_set():
            return
        self._finished.set()
        self.reporter.listener = None
        with suppress(RuntimeError), self._lock:
            self._store.set(f"state/{self.rank}", json.dumps({"finished": True}))
        self._thread.join()

    def fail(self, error: BaseException) -> BaseException:
        """Tell the other processes that this one fails; returns the error to raise.

        Does not return if another process has failed before: this one then ends silently.
        """
        if self._store is None or self._finished.is_set():
            return error
        if _is_broken_connection(error):
            error = self._find_lost() or error
        try:
            is_first = self._claim(_status(error))
        except RuntimeError:  # the process that keeps the store has ended
            is_first = self.rank == 1
            error = ProcessError(_lost("The process that connects the others"))
        if not is_first:
            self._thread.join()  # which ends this process
        self._finished.set()
        self._wait_for_others()
        return error

    # --- The thread -------------------------------------------------------------------------

    def _run(self) -> None:
        beats = 0
        while not self._finished.wait(_SECONDS_BETWEEN_LOOKS):
            beats += 1
            try:
                failed = self._look(beats)
            except RuntimeError:  # the main thread finds out why
                self._finished.wait(_SECONDS_OF_SILENCE_AFTER_BREAK * 4)
                failed = "0 2"
            if failed is not None and not self._finished.is_set():
                rank, status = failed.split()
                if int(rank) != self.rank:
                    self._end(int(status))

    def _look(self, beats: int) -> str | None:
        """Tell what this process does, and look at the others; returns who has failed."""
        state = {"beats": beats, "moves": self._moves, "place": self._place}
        state |= _where(sys._current_frames().get(self._main))
        state["name"] = f"{self.rank} (process id {os.getpid()} on {platform.node()})"
        with self._lock:
            assert self._store is not None
            self._store.set(f"state/{self.rank}", json.dumps(state))
            if self._store.check([_FAILED]):
                return self._store.get(_FAILED).decode()
            for rank in range(self.processes) if self.rank == 0 else [0]:
                if self._store.check([f"state/{rank}"]):
                    self._seen[rank].update(json.loads(self._store.get(f"state/{rank}")))
        problem = self._silent(_SECONDS_OF_SILENCE) or self._stalled()
        if problem is not None and self._claim(2):
            self.reporter.console.print(
                f"taskprism: {problem}", markup=False, soft_wrap=True, highlight=False
            )
            self._wait_for_others()
            self._end(2)
        return None

    def _silent(self, seconds: float, with_unseen: bool = False) -> str | None:
        """Names processes whose thread is silent; also those that have never told anything?"""
        silent = [
            seen.state.get("name", f"{rank}")
            for rank, seen in enumerate(self._seen)
            if seen.silence > seconds and (seen.is_watched or (with_unseen and not seen.state))
        ]
        return _lost(" and ".join(f"Process {name}" for name in silent)) if silent else None

    def _stalled(self) -> str | None:
        """Names the processes for which all others wait too long."""
        watched = [seen for seen in self._seen if seen.is_watched]
        if self.rank or not self.timeout or len(watched) < 2:
            return None
        still = min(seen.stillness for seen in watched)
        culprits = [seen for seen in watched if not seen.state.get("waits")]
        if not culprits:  # all wait for each other: those that are furthest behind are late
            behind = min(seen.state["moves"] for seen in watched)
            culprits = [seen for seen in watched if seen.state["moves"] == behind]
        places = " ".join(
            f"Process {seen.state['name']} has not moved for {seen.stillness:.0f} s: "
            f"{seen.state['place']}; in {seen.state['where']}."
            for seen in culprits
        )
        if still > self.timeout:
            return (
                f"{places} The run ends, because stall_timeout is {self.timeout:g} s. Continue "
                "with --resume from the last checkpoint."
            )
        for seen in culprits:
            if still > self.timeout / 2 and not seen.is_reported:
                seen.is_reported = True
                self.reporter.line(places)
        return None

    def _end(self, status: int) -> None:
        """End this process although its main thread may wait for another one."""
        with suppress(RuntimeError), self._lock:
            assert self._store is not None
            self._store.set(f"ended/{self.rank}", "")
        time.sleep(_SECONDS_TO_REPORT)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)

    # --- Both threads -----------------------------------------------------------------------

    def _claim(self, status: int) -> bool:
        """Say that this process has failed, unless another one was first."""
        own = f"{self.rank} {status}"
        with self._lock:
            assert self._store is not None
            return self._store.compare_set(_FAILED, "", own).decode() == own

    def _wait_for_others(self) -> None:
        """Keep the store, which may be in this process, until the others know."""
        others = [rank for rank in range(self.processes) if rank != self.rank]
        end = time.monotonic() + _SECONDS_TO_ACKNOWLEDGE
        while others and time.monotonic() < end:
            time.sleep(0.1)
            with suppress(RuntimeError), self._lock:
                assert self._store is not None
                others = [rank for rank in others if not self._store.check([f"ended/{rank}"])]

    def _find_lost(self) -> ProcessError | None:
        """Error that names the process to which the connection has broken, if it has ended."""
        end = time.monotonic() + 3 * _SECONDS_OF_SILENCE_AFTER_BREAK
        try:
            while time.monotonic() < end:
                time.sleep(_SECONDS_BETWEEN_LOOKS)
                with self._lock:
                    assert self._store is not None
                    if self._store.check([_FAILED]):
                        return None  # another process tells
                    for rank, seen in enumerate(self._seen):
                        if self._store.check([f"state/{rank}"]):
                            seen.update(json.loads(self._store.get(f"state/{rank}")))
                if problem := self._silent(_SECONDS_OF_SILENCE_AFTER_BREAK, with_unseen=True):
                    return ProcessError(problem)
        except RuntimeError:
            return None
        return None


class _Seen:
    """What a process has told, and when it last changed."""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {}
        self.is_reported = False
        self._heard = self._moved = time.monotonic()

    def update(self, state: dict[str, Any]) -> None:
        now = time.monotonic()
        if state.get("beats") != self.state.get("beats"):
            self._heard = now
        if state.get("moves") != self.state.get("moves"):
            self._moved = now
            self.is_reported = False
        self.state = state

    @property
    def is_watched(self) -> bool:
        return "beats" in self.state

    @property
    def silence(self) -> float:
        return time.monotonic() - self._heard

    @property
    def stillness(self) -> float:
        return time.monotonic() - self._moved


def _lost(name: str) -> str:
    return (
        f"{name} has ended without a message, or is frozen. It may have been killed, for example "
        "because memory ran out. The run ends; continue with --resume."
    )


def _is_broken_connection(error: BaseException) -> bool:
    is_foreign = isinstance(error, RuntimeError) and not isinstance(error, TaskprismError)
    return is_foreign and _CONNECTION.search(str(error)) is not None


def _status(error: BaseException) -> int:
    """Exit status that the command line has for an error."""
    if isinstance(error, Terminated):
        return 0
    if isinstance(error, KeyboardInterrupt):
        return 130
    return 2 if isinstance(error, TaskprismError | OSError) else 1


def _where(frame: FrameType | None) -> dict[str, Any]:
    """Innermost place of a thread outside installed packages, and whether it waits for others."""
    files: list[tuple[str, int, str]] = []
    while frame is not None:
        code = frame.f_code
        files.append((code.co_filename.replace(os.sep, "/"), frame.f_lineno, code.co_name))
        frame = frame.f_back
    own = next(
        (f for f in files if "/site-packages/" not in f[0] and "/lib/python" not in f[0]),
        files[0] if files else ("?", 0, "?"),
    )
    waits = any(_WAITING.search(name) for name, _, _ in files[:4])
    return {"where": f"{own[0]}, line {own[1]}, {own[2]}", "waits": waits}


@contextmanager
def watched(accelerator: Accelerator, timeout: float, reporter: Reporter) -> Iterator[Watch]:
    """Watch over the processes of an accelerator inside the block.

    Args:
        accelerator: Its processes are connected.
        timeout: Seconds after which a process that has not moved ends the run; 0: never.
        reporter: Shows progress.

    Raises:
        ProcessError: Another process has ended without a message.
    """
    rank, processes = accelerator.process_index, accelerator.num_processes
    store = _connect() if processes > 1 else None
    watch = Watch(store, rank, processes, timeout, reporter)
    try:
        yield watch
    except BaseException as error:
        failure = watch.fail(error)
        if failure is error:
            raise
        raise failure from None
    finally:
        watch.finish()


def _connect() -> PrefixStore | None:
    """Connection of this run to the store that has connected the processes."""
    number = next(_runs)  # the same in all processes
    host, port = os.environ.get("MASTER_ADDR"), os.environ.get("MASTER_PORT")
    if host is None or port is None:
        return None
    timeout = timedelta(seconds=_SECONDS_OF_SILENCE)
    store = TCPStore(host, int(port), is_master=False, timeout=timeout, wait_for_workers=False)
    return PrefixStore(f"taskprism/{number}", store)
