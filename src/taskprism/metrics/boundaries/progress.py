"""Progress of a long loop: a bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

T = TypeVar("T")
_SECONDS_BETWEEN_LINES = 5.0


def tracked(items: Iterable[T], total: int, what: str) -> Iterator[T]:
    """Pass items on and report them on standard error, for instance as ``images 12/200``."""
    console = Console(stderr=True)
    if console.is_terminal:
        columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console) as progress:
            yield from progress.track(items, total=total)
        return
    shown = time.monotonic()
    for number, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if number == total or now - shown >= _SECONDS_BETWEEN_LINES:
            shown = now
            print(f"{what} {number}/{total}", file=sys.stderr, flush=True)
