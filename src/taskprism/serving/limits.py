"""What a web page accepts from strangers."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from taskprism.errors import TaskprismError


class RefusedError(TaskprismError):
    """A request that is not answered: the message says why, in words for the visitor."""


@dataclass(frozen=True)
class Limits:
    """Limits of a web page.

    Attributes:
        megabytes: Size of an uploaded file.
        megapixels: Height times width of an uploaded image. It is read from the header, before
            the image is decoded.
        working_megapixels: Larger images are reduced to about so many before they are predicted.
        per_minute: Predictions and uploads of one client in a minute, each.
        queue: Requests that wait; further ones are refused.
        keep_seconds: Age at which uploaded files and results are deleted.
        folder_megabytes: Size of all temporary files at which uploads are refused.

    Example:
        >>> Limits(megabytes=5).bytes
        5242880
    """

    megabytes: float = 20.0
    megapixels: float = 50.0
    working_megapixels: float = 1.0
    per_minute: int = 20
    queue: int = 16
    keep_seconds: float = 900.0
    folder_megabytes: float = 2048.0

    @property
    def bytes(self) -> int:
        """Size of an uploaded file in bytes."""
        return int(self.megabytes * 2**20)


class RateLimiter:
    """Counts the requests of each client in the last minute.

    Args:
        per_minute: Most requests of a client.
        clock: Seconds now.

    Example:
        >>> limiter = RateLimiter(1)
        >>> limiter.check("127.0.0.1")
        >>> limiter.check("127.0.0.1")
        Traceback (most recent call last):
        ...
        taskprism.serving.limits.RefusedError: More than 1 request in a minute. Try again in 60 s.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_minute, self._clock = per_minute, clock
        self._times: dict[str, deque[float]] = {}
        self._lock = threading.Lock()

    def check(self, client: str) -> None:
        """Count a request.

        Raises:
            RefusedError: The client has sent too many; this one is not counted.
        """
        with self._lock:
            now = self._clock()
            for known in list(self._times):
                times = self._times[known]
                while times and now - times[0] >= 60:
                    times.popleft()
                if not times:
                    del self._times[known]
            times = self._times.setdefault(client, deque())
            if len(times) >= self.per_minute:
                wait = math.ceil(60 - (now - times[0]))
                plural = "" if self.per_minute == 1 else "s"
                raise RefusedError(
                    f"More than {self.per_minute} request{plural} in a minute. Try again in "
                    f"{wait} s."
                )
            times.append(now)
