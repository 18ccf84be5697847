"""Divide work among processes that share a folder.

A process claims a piece of work by creating the file ``NAME/1.json`` in the folder of claims, which
the file system allows only once. The holder updates the file's time every few seconds. After the
claim is released, its holder has died or its lease has expired, the process that creates
``NAME/2.json`` takes over, and so on. Claims are never deleted or renamed, so two processes that
find the same dead holder cannot both take over.

The file system must support exclusive creation of files, as local disks and NFS (version 3 and
later) do.
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
_PROCESS = uuid.uuid4().hex  # distinguishes this process from a dead one with the same pid


@dataclass(frozen=True)
class Holder:
    """Process that holds a claim.

    Attributes:
        host: Name of the machine.
        pid: Process id on that machine.

    Example:
        >>> print(Holder("node3", 71))
        process 71 on node3
    """

    host: str
    pid: int

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


class Claims:
    """Claims in a folder that several processes and machines share.

    Args:
        folder: Folder of the claim files; created with the first claim.
        lease: Seconds after the last update of a claim at which it expires. A claim from this
            machine expires as soon as its process has ended.
        beat: Seconds between two updates.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> claims = Claims(Path(folder.name))
        >>> with claims.take("run"):
        ...     print(claims.take("run"))
        None
    """

    def __init__(
        self, folder: Path, lease: float = LEASE_SECONDS, beat: float = BEAT_SECONDS
    ) -> None:
        self.folder = folder
        self.lease = lease
        self.beat = beat

    def take(self, name: str) -> Claim | None:
        """Claim a piece of work; None if another process holds it.

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
            return None  # another process was faster
        except OSError as error:
            raise CheckpointError(
                f"Could not write {file}: {error}. Choose another --out, or free space there."
            ) from error
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            json.dump(_me(), stream)
        abandoned = newest > 0 and not _read(before).get("released")
        return Claim(file, self.beat, abandoned)

    def holder(self, name: str) -> Holder | None:
        """Process that holds a piece of work, or None if it is free."""
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
        except OSError:  # the file server does not answer: waiting beats doing the work twice
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
    """A piece of work held by this process; renews its lease inside a ``with`` block.

    Leaving the block releases the claim. If the process slept so long that another one took over,
    it is interrupted twice, as by Ctrl-C. The first interrupt asks training to stop and save. The
    second one prevents saving, because the files now belong to the other process.

    Attributes:
        abandoned: An earlier holder died before it finished.
        lost: Another process has taken over.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> with Claims(Path(folder.name)).take("run") as claim:
        ...     claim.abandoned, claim.lost
        (False, False)
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
        self._thread = threading.Thread(target=self._renew, name="claim", daemon=True)

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

    def _renew(self) -> None:
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
                continue  # the file server may answer at the next beat


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
    """Scope in which process ids are unique: the machine since its start, and the container."""
    parts = [platform.node()]
    boot, namespace = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    if boot.is_file() and namespace.is_symlink():
        parts += [boot.read_text().strip(), str(namespace.readlink())]
    return " ".join(parts)


def _runs(pid: int) -> bool:
    """Whether a process runs on this machine; True if that cannot be determined."""
    if pid == os.getpid():
        return False  # only other processes are asked about: this one reuses the pid
    if os.name != "posix":
        return True  # signal 0 would end the process there
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # a process of another user
    return True


def _read(file: Path) -> dict[str, Any]:
    """Content of a claim; empty while it is being written."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
