"""Progress output: live bars in a terminal, plain lines everywhere else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

T = TypeVar("T")
_SECONDS_BETWEEN_LINES = 30.0


class Reporter:
    """Writes lines and bars to standard error, so that results on standard output stay clean.

    Args:
        console: Where to write.
        quiet: Write nothing; for all processes but the first.

    Attributes:
        listener: Called with what is done now whenever :meth:`track` goes on, also if quiet.

    Example:
        >>> reporter = Reporter(quiet=True)
        >>> list(reporter.track(["a", "b"], "images", 2))
        ['a', 'b']
    """

    def __init__(self, console: Console | None = None, quiet: bool = False) -> None:
        self.console = console or Console(stderr=True, highlight=False)
        self.quiet = quiet
        self.listener: Callable[[str], None] | None = None

    def line(self, text: str) -> None:
        """Write one line."""
        if not self.quiet:
            self.console.print(text, markup=False, soft_wrap=True)

    def track(
        self,
        items: Iterable[T],
        description: str,
        total: int | None = None,
        done: int = 0,
        unit: str = "",
    ) -> Iterator[T]:
        """Yield ``items`` while showing how many are done.

        Args:
            items: What to iterate over.
            description: What is being done.
            total: How many there are in all; by default ``len(items)``.
            done: How many were done before, in a resumed run.
            unit: What items are, such as ``"frames"``, to show how many are done per second.
        """
        if total is None and isinstance(items, Sized):
            total = len(items) + done
        if self.listener is not None:
            items = _told(items, description, done, self.listener)
        if self.quiet:
            yield from items
        elif self.console.is_terminal:
            yield from self._bar(items, description, total, done, unit)
        else:
            yield from self._lines(items, description, total, done, unit)

    def _bar(
        self, items: Iterable[T], description: str, total: int | None, done: int, unit: str
    ) -> Iterator[T]:
        columns = [
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            *([_SpeedColumn(unit)] if unit else []),
            TimeRemainingColumn(),
        ]
        with Progress(*columns, console=self.console, transient=True) as progress:
            bar = progress.add_task(description, total=total, completed=done)
            for item in items:
                yield item
                progress.advance(bar)

    def _lines(
        self, items: Iterable[T], description: str, total: int | None, done: int, unit: str
    ) -> Iterator[T]:
        last = started = time.monotonic()
        for number, item in enumerate(items, start=done + 1):
            yield item
            if time.monotonic() - last > _SECONDS_BETWEEN_LINES:
                last = time.monotonic()
                rate = f" ({(number - done) / (last - started):.3g} {unit}/s)" if unit else ""
                self.line(f"{description}: {number}/{'?' if total is None else total}{rate}")


class _SpeedColumn(ProgressColumn):
    """Items per second."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:.3g} {self.unit}/s")


def _told(
    items: Iterable[T], description: str, done: int, listener: Callable[[str], None]
) -> Iterator[T]:
    """Yield ``items`` and tell the listener of each step."""
    listener(f"{description}: loading item {done + 1}")
    for number, item in enumerate(items, start=done + 1):
        listener(f"{description}: item {number}")
        yield item
        listener(f"{description}: loading item {number + 1}")
    listener(f"{description}: after the last item")


def tracked(items: Iterable[T], total: int, description: str) -> Iterator[T]:
    """Yield ``items`` with the progress display of a command, and a line at the end.

    Args:
        items: What to iterate over.
        total: How many there are.
        description: What they are: ``"images"``.
    """
    reporter = Reporter()
    yield from reporter.track(items, description, total)
    if not reporter.console.is_terminal:
        reporter.line(f"{description}: {total}/{total}")
