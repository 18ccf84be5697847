"""A sign on an object store that says who writes there."""

from __future__ import annotations

import json
import os
import platform
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from taskprism.errors import CheckpointError
from taskprism.stores.paths import StorePath, file_system, store_errors

LEASE_FILE = ".lease.json"


class LeaseHeldError(CheckpointError):
    """Another process writes to the URL; the message names it."""


class Lease:
    """Keeps two processes from writing to the same URL.

    An object store has no locks. The writer therefore puts a file there that names it, and renews
    it while it works; a second writer that finds a file which was renewed lately does not start.
    A file that is older belongs to a process that was killed, and is replaced. The clocks of the
    machines must agree to less than ``seconds``. If two writers start at the same moment, a store
    that can create a file only if it does not exist refuses the second one. In other stores, both
    read the file again after they have written it, and the later one wins.

    Args:
        folder: The URL.
        seconds: How long a file counts after it was renewed; it is renewed four times as often.

    Example:
        >>> with Lease(StorePath("memory://leased")).hold():
        ...     with Lease(StorePath("memory://leased")).hold():
        ...         pass
        Traceback (most recent call last):
        ...
        taskprism.stores.lease.LeaseHeldError: memory://leased is in use by process ...
    """

    def __init__(self, folder: StorePath, seconds: float = 120) -> None:
        self.folder = folder
        self.seconds = seconds
        self._file = folder / LEASE_FILE
        self._token: str | None = None
        self._since = 0.0

    @property
    def is_held(self) -> bool:
        """Whether this object holds the lease."""
        return self._token is not None

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Hold the lease inside the block; a block inside another one of this object is allowed.

        Raises:
            LeaseHeldError: Another process holds it.
            CheckpointError: The URL cannot be written.
        """
        if self.is_held:
            yield
            return
        self._acquire()
        done = threading.Event()
        renewing = threading.Thread(target=self._renew, args=(done,), daemon=True)
        renewing.start()
        try:
            yield
        finally:
            done.set()
            renewing.join(timeout=10)
            token, self._token = self._token, None
            with suppress(Exception):  # it ends by itself
                if (self._read() or {}).get("token") == token:
                    self._file.remove()

    def check(self) -> None:
        """Check that this object still holds the lease.

        Raises:
            LeaseHeldError: Another process has taken it, because this one was silent for too long.
        """
        found = self._read()
        if found is not None and found.get("token") != self._token:
            raise LeaseHeldError(
                f"{self.folder} is now written by {_named(found)}: this process was silent for "
                f"more than {self.seconds:g} s. Nothing more is uploaded. Wait until that process "
                "has finished, then resume."
            )

    def _acquire(self) -> None:
        token, self._since = uuid.uuid4().hex, time.time()
        try:
            found = self._read()
            if found is None:
                self._create(token)
            elif _age(found) < self.seconds:
                raise self._refusal(found)
            else:
                self._file.write_bytes(self._content(token))
            found = self._read()
        except LeaseHeldError:
            raise
        except Exception as error:
            reason = store_errors(error)
            if reason is None:
                raise
            raise CheckpointError(
                f"Cannot write to {self.folder}: {reason}. Check the address and your credentials "
                "for it."
            ) from error
        if found is not None and found.get("token") != token:
            raise self._refusal(found)
        self._token = token

    def _create(self, token: str) -> None:
        fs, path = file_system(self._file.url)
        folder = path.rpartition("/")[0]
        if folder:
            fs.makedirs(folder, exist_ok=True)
        try:
            fs.pipe_file(path, self._content(token), mode="create")
        except FileExistsError:
            return  # reading it shows whose it is
        except (NotImplementedError, TypeError, ValueError):  # the store cannot do this
            self._file.write_bytes(self._content(token))

    def _refusal(self, found: dict[str, Any]) -> LeaseHeldError:
        left = max(0.0, self.seconds - _age(found))
        return LeaseHeldError(
            f"{self.folder} is in use by {_named(found)}, seen {_age(found):.0f} s ago. Wait "
            "until it has finished, or choose another folder. If no such process runs any more, "
            f"try again in {left:.0f} s, or delete {self._file}."
        )

    def _renew(self, done: threading.Event) -> None:
        while not done.wait(self.seconds / 4):
            with suppress(Exception):  # tried again; an upload checks the lease
                found = self._read()
                if found is None or found.get("token") == self._token:
                    self._file.write_bytes(self._content(str(self._token)))

    def _content(self, token: str) -> bytes:
        content = {
            "token": token,
            "host": platform.node() or "unknown",
            "pid": os.getpid(),
            "since": self._since,
            "renewed": time.time(),
        }
        return json.dumps(content).encode()

    def _read(self) -> dict[str, Any] | None:
        fs, path = file_system(self._file.url)
        fs.invalidate_cache(path)
        try:
            found = json.loads(self._file.read_bytes())
        except FileNotFoundError:
            return None
        except ValueError:
            return {}  # half written, where writing is not atomic
        return found if isinstance(found, dict) else {}


def _age(found: dict[str, Any]) -> float:
    renewed = found.get("renewed")
    return max(0.0, time.time() - renewed) if isinstance(renewed, (int, float)) else 0.0


def _named(found: dict[str, Any]) -> str:
    since = found.get("since")
    start = ""
    if isinstance(since, (int, float)):
        start = time.strftime(" since %Y-%m-%dT%H:%M:%SZ", time.gmtime(since))
    return f"process {found.get('pid', '?')} on {found.get('host', 'another machine')}{start}"
