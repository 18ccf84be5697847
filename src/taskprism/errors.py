"""Errors that a user can fix.

Every message names what is wrong and says what to do. The command line prints the message
without a traceback; a library user can catch :class:`TaskprismError` for all of them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TaskprismError(Exception):
    """Base of all errors that a user can fix."""


class UnknownNameError(TaskprismError, KeyError):
    """A name that does not exist: the message lists the names that do."""

    def __init__(self, what: str, name: str, known: Iterable[str]) -> None:
        names = list(known)
        close = difflib.get_close_matches(str(name), names, n=3)
        hint = f" Did you mean {', '.join(repr(c) for c in close)}?" if close else ""
        shown = ", ".join(names) if len(names) <= 60 else ", ".join(names[:60]) + ", ..."
        self.message = f"Unknown {what} {name!r}.{hint} Known: {shown}."
        super().__init__(self.message)

    def __str__(self) -> str:
        return self.message  # KeyError would print the repr


class InputError(TaskprismError, ValueError):
    """An argument or tensor that does not fit: the message says what is accepted."""


class DataError(TaskprismError, ValueError):
    """A data file that is missing, broken or does not fit: the message names the path."""


class RecipeError(TaskprismError, ValueError):
    """A recipe with a wrong key or value: the message names the key and the valid ones."""


class CheckpointError(TaskprismError, RuntimeError):
    """A checkpoint or run directory that cannot be written or read."""


class ProcessError(TaskprismError, RuntimeError):
    """One of several processes has ended or stalled: the message names it."""


class Terminated(KeyboardInterrupt):
    """A signal other than Ctrl-C has ended a run, as on a machine that is needed elsewhere.

    Everything is saved. It is a :class:`KeyboardInterrupt`, so that whatever handles Ctrl-C handles
    it too; the command line returns 0 for it, and 130 for Ctrl-C.
    """


class DivergenceError(TaskprismError, ArithmeticError):
    """A loss or weight that is not finite: the message names the tasks and the images."""
