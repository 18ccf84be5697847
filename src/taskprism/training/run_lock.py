"""One process at a time writes into a run directory."""

from __future__ import annotations

import datetime
import json
import os
import platform
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from taskprism.atomic import missing_folders, remove_empty
from taskprism.errors import CheckpointError
from taskprism.stores.lease import Lease, LeaseHeldError

LOCK_FILE = ".lock"
HOLDER_FILE = ".lock.json"


class RunInUseError(CheckpointError):
    """Another process holds the lock of a run directory; the message names it."""


class RunLock:
    """Exclusive access to a folder, across processes and, if its file system can, machines.

    The operating system releases the lock when its process ends, however that happens. The file of
    the lock stays in the folder, because a process may be about to open it.

    Args:
        folder: The folder; it need not exist yet.
        lease: Held as well, where the folder is the local copy of one on an object store.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with RunLock(folder).hold():
        ...     with RunLock(folder).hold():
        ...         pass
        Traceback (most recent call last):
        ...
        taskprism.training.run_lock.RunInUseError: ... is in use by process ...
    """

    def __init__(self, folder: Path, lease: Lease | None = None) -> None:
        self.folder = folder
        self.lease = lease
        self._holder_file = folder / HOLDER_FILE
        self._lock = FileLock(folder / LOCK_FILE, thread_local=False)

    @property
    def is_held(self) -> bool:
        """Whether this object holds the lock."""
        return self._lock.is_locked

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Hold the lock inside the block; a block inside another one of this object is allowed.

        The folder is created if it does not exist, and removed at the end if nothing was written.

        Raises:
            RunInUseError: Another process holds the lock.
            CheckpointError: The folder cannot be written.
        """
        if self.is_held:
            yield
            return
        created = missing_folders(self.folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(blocking=False)
            self._holder_file.write_text(json.dumps(_this_process()), encoding="utf-8")
        except Timeout:
            raise RunInUseError(
                f"{self.folder} is in use by {self._holder()}. Wait until it has finished, or "
                f"choose another folder. If no such process runs any more, delete "
                f"{self.folder / LOCK_FILE}."
            ) from None
        except OSError as error:
            self._release(created)
            raise CheckpointError(
                f"Cannot write to {self.folder}: {error}. Check its permissions and free space, "
                "or choose another folder."
            ) from error
        with ExitStack() as held:
            held.callback(self._release, created)
            if self.lease is not None:
                try:
                    held.enter_context(self.lease.hold())
                except LeaseHeldError as error:
                    raise RunInUseError(str(error)) from None
            yield

    def _release(self, created: list[Path]) -> None:
        with suppress(OSError):
            self._holder_file.unlink(missing_ok=True)
        self._lock.release(force=True)
        if not created:
            return
        with suppress(OSError):
            if [path.name for path in self.folder.iterdir()] == [LOCK_FILE]:
                (self.folder / LOCK_FILE).unlink()
        remove_empty(created)

    def _holder(self) -> str:
        try:
            holder = json.loads(self._holder_file.read_text(encoding="utf-8"))
            return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
        except (OSError, ValueError, KeyError, TypeError):
            return "another process"


def _this_process() -> dict[str, str | int]:
    return {
        "host": platform.node() or "unknown",
        "pid": os.getpid(),
        "since": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
