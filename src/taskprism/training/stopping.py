"""Signals that stop a run: it saves and ends between two steps.

========================  =========================================================================
Ctrl-C (SIGINT)           save, then end with status 130; a second one ends at once, without saving
SIGTERM, SIGUSR1, SIGHUP  save, then end with status 0; repeating them changes nothing
========================  =========================================================================

Batch systems send these signals before they take a machine away (SLURM: ``--signal=USR1@120``). A
signal that the process ignores already stays ignored, as SIGHUP under ``nohup``.
"""

from __future__ import annotations

import atexit
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from taskprism.errors import Terminated

#: Signals that save and end with status 0, where the system has them.
TERMINATING = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGUSR1", "SIGHUP") if hasattr(signal, name)
)
_SIGNALS = (signal.SIGINT, *TERMINATING)
#: ``torchrun`` passes Ctrl-C on to its processes, which have received it from the terminal as well.
_SECONDS_OF_ONE_CTRL_C = 2.0


class StopRequest:
    """Becomes true when the user or the system asks to stop.

    Attributes:
        by_interrupt: Ctrl-C asked, or a call of :meth:`ask`; false after another signal.

    Example:
        >>> stop = StopRequest()
        >>> stop.ask()
        >>> bool(stop), stop.by_interrupt
        (True, True)
    """

    def __init__(self) -> None:
        self._asked = threading.Event()
        self.by_interrupt = False
        self._at_once = False

    def __bool__(self) -> bool:
        return self._asked.is_set()

    def ask(self, number: int = signal.SIGINT) -> None:
        """Stop at the next safe point.

        Args:
            number: The signal that asks; the first one decides.
        """
        if not self:
            self.by_interrupt = number == signal.SIGINT
            self._asked.set()
        if self._at_once:
            raise _interrupt(number)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Stop at once inside the block, where there is nothing to save.

        Raises:
            KeyboardInterrupt: Someone asks, or has asked; :class:`Terminated` after a signal other
                than Ctrl-C.
        """
        self._at_once = True
        try:
            if self:
                raise _interrupt(signal.SIGINT if self.by_interrupt else signal.SIGTERM)
            yield
        finally:
            self._at_once = False


def _interrupt(number: int) -> KeyboardInterrupt:
    return KeyboardInterrupt() if number == signal.SIGINT else Terminated()


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn SIGINT, SIGTERM, SIGUSR1 and SIGHUP inside into a :class:`StopRequest`.

    A second SIGINT raises :class:`KeyboardInterrupt` at once. Outside the main thread, where Python
    allows no signal handlers, signals keep their usual effect.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    before = {number: signal.getsignal(number) for number in _SIGNALS}
    before = {number: old for number, old in before.items() if old is not signal.SIG_IGN}
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    interrupted: float | None = None

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        if number == signal.SIGINT:
            now = time.monotonic()
            if interrupted is None:
                interrupted = now
            elif not several or now - interrupted > _SECONDS_OF_ONE_CTRL_C:
                raise KeyboardInterrupt
        request.ask(number)

    for number in before:
        signal.signal(number, handle)
    try:
        yield request
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def ignore_signals_at_exit() -> None:
    """Ignore further signals once this process exits: everything is saved by then."""
    atexit.register(_ignore_signals)


def _ignore_signals() -> None:
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
