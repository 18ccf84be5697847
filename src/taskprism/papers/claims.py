"""Who does what, among processes that share nothing but a folder.

A piece of work is taken by making the file ``NAME/1.json`` in the folder of claims, which the file
system lets only one process do. Its holder touches the file every few seconds. When it is released,
or when the holder has died or has given no sign for too long, whoever makes ``NAME/2.json`` goes on
with the work, and so forth: a claim is never deleted or renamed, so that two processes that find
the same dead holder cannot both succeed it.

Only creating files exclusively is asked of the file system, which local disks and NFS (from
version 3 on) do.
"""

from __future__ import annotations

import _thread
import json
import os
import platform
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from taskprism.atomic import write_json
from taskprism.errors import CheckpointError

BEAT_SECONDS = 15.0
LEASE_SECONDS = 120.0  # eight beats: longer than a file server or a busy machine stalls
_PROCESS = uuid.uuid4().hex  # tells this process from a dead one that had the same number


@dataclass(frozen=True)
class Holder:
    """Who holds a claim.

    Attributes:
        host: Name of the machine.
        pid: Number of the process there.
    """

    host: str
    pid: int

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


class Claims:
    """Claims in a folder that several processes and machines may share.

    Args:
        folder: Where the files are; made when the first claim is.
        lease: Seconds without a sign of life after which a holder on another machine counts as
            dead. One on this machine does as soon as its process has ended.
        beat: Seconds between two signs of life.
    """

    def __init__(
        self, folder: Path, lease: float = LEASE_SECONDS, beat: float = BEAT_SECONDS
    ) -> None:
        self.folder = folder
        self.lease = lease
        self.beat = beat

    def take(self, name: str) -> Claim | None:
        """Take a piece of work, or None if somebody else is at it.

        Raises:
            CheckpointError: The folder cannot be written.
        """
        place = self.folder / name
        newest = _newest(place)
        before = place / f"{newest}.json"
        if newest and self._lives(before):
            return None
        file = place / f"{newest + 1}.json"
        try:
            place.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except FileExistsError:
            return None  # somebody was faster
        except OSError as error:
            raise CheckpointError(
                f"Could not write {file}: {error}. Name another --out, or make room there."
            ) from error
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            json.dump(_me(), stream)
        abandoned = newest > 0 and not _read(before).get("released")
        return Claim(file, self.beat, abandoned)

    def holder(self, name: str) -> Holder | None:
        """Who is at a piece of work, or None if it is free."""
        newest = _newest(self.folder / name)
        file = self.folder / name / f"{newest}.json"
        if not newest or not self._lives(file):
            return None
        content = _read(file)
        return Holder(str(content.get("host", "?")), int(content.get("pid", 0)))

    def _lives(self, file: Path) -> bool:
        content, me = _read(file), _me()
        if content.get("released"):
            return False
        if (content.get("pid"), content.get("process")) == (me["pid"], me["process"]):
            return True
        if content.get("machine") == me["machine"] and not _runs(int(content["pid"])):
            return False
        try:
            return self._now() - file.stat().st_mtime < self.lease
        except OSError:  # the file server does not answer: better wait than do the work twice
            return True

    def _now(self) -> float:
        """Time by the clock that stamps the files, which may not be this machine's."""
        probe = self.folder / f".clock-{_PROCESS}"
        try:
            probe.touch()
            return probe.stat().st_mtime
        finally:
            probe.unlink(missing_ok=True)


class Claim:
    """A piece of work held by this process; gives signs of life inside ``with``.

    Leaving the block releases it. A process that slept for so long that another one took over is
    interrupted like by Ctrl-C, twice: the first time asks training to stop and save, which the
    second time prevents, because the files belong to the other one by then.

    Attributes:
        abandoned: Somebody else held this work before and died over it.
        lost: Somebody else has taken over.
    """

    def __init__(
        self,
        file: Path,
        beat: float,
        abandoned: bool = False,
        interrupt: Callable[[], None] = _thread.interrupt_main,
    ) -> None:
        self.abandoned = abandoned
        self.lost = False
        self._file = file
        self._beat = beat
        self._interrupt = interrupt
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._give_signs, name="claim", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()
        if not self.lost:
            write_json(self._file, {**_me(), "released": True})

    def _give_signs(self) -> None:
        successor = self._file.with_name(f"{int(self._file.stem) + 1}.json")
        while not self._done.wait(self._beat):
            if successor.exists():
                self.lost = True
                self._interrupt()
                if not self._done.wait(0.5):
                    self._interrupt()
                return
            try:
                os.utime(self._file)
            except OSError:
                continue  # a file server that does not answer may do so at the next beat


def _newest(place: Path) -> int:
    """Highest number of a claim in a folder; 0 if there is none."""
    return max((int(file.stem) for file in place.glob("[0-9]*.json")), default=0)


def _me() -> dict[str, Any]:
    return {
        "host": platform.node() or "unknown",
        "pid": os.getpid(),
        "process": _PROCESS,
        "machine": _machine(),
    }


def _machine() -> str:
    """What process numbers are unique in: the machine since its start, and its container."""
    parts = [platform.node()]
    boot, namespace = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    if boot.is_file() and namespace.is_symlink():
        parts += [boot.read_text().strip(), str(namespace.readlink())]
    return " ".join(parts)


def _runs(pid: int) -> bool:
    """Whether this machine has such a process; if that cannot be known, yes."""
    if pid == os.getpid():
        return False  # asked only about other processes: this one has inherited the number
    if os.name != "posix":
        return True  # there, signal 0 would end the process
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's
    return True


def _read(file: Path) -> dict[str, Any]:
    """Content of a claim; empty while its maker is still writing it."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
