"""Checks of option values: type and range, with one wording for all errors.

Options come from recipes, command lines and saved files, so a value may have any type. A check
returns the value, or raises :class:`~taskprism.errors.InputError` with the owner, the option, what
was expected and what was given:

    >>> from taskprism.checks import check_integer
    >>> check_integer("TPIM", "downscale", 4, low=1)
    4
    >>> check_integer("TPIM", "downscale", 0, low=1)
    Traceback (most recent call last):
    taskprism.errors.InputError: TPIM: downscale must be an integer of at least 1, got 0.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from numbers import Integral, Real
from typing import Any, TypeVar

from taskprism.errors import InputError, UnknownNameError

#: Largest number of channels of a layer. No published network comes close; more would only exhaust
#: the memory.
MOST_CHANNELS = 65536
#: Largest height or width of a feature map or image in pixels.
LONGEST_SIDE = 65536

#: Names of tasks and registered parts, which become names of files, modules and keys.
NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
#: Characters of a name; file systems allow 255 bytes, and endings are appended.
LONGEST_NAME = 100

T = TypeVar("T", bound=str)


def check_integer(
    owner: str, option: str, value: Any, low: int | None = None, high: int | None = None
) -> int:
    """Return ``value`` as an ``int`` from ``low`` to ``high``, both included.

    Booleans, strings and floats (even 2.0) are not integers; NumPy's integers are.
    """
    is_integer = isinstance(value, Integral) and not isinstance(value, bool)
    if not is_integer or not _is_within(value, low, high):
        raise _wrong(owner, option, "an integer", _range(low, high), value)
    return int(value)


def check_number(
    owner: str,
    option: str,
    value: Any,
    low: float | None = None,
    high: float | None = None,
    *,
    above: float | None = None,
) -> float:
    """Return ``value`` as a finite ``float`` from ``low`` to ``high``, or greater than ``above``.

    Booleans, strings, NaN and infinities are refused.
    """
    number = _finite(value)
    if (
        number is None
        or not _is_within(number, low, high)
        or (above is not None and number <= above)
    ):
        raise _wrong(owner, option, "a finite number", _range(low, high, above), value)
    return number


def check_flag(owner: str, option: str, value: Any) -> bool:
    """Return ``value`` if it is True or False; 0, 1 and strings are refused."""
    if not isinstance(value, bool):
        raise _wrong(owner, option, "true or false", "", value)
    return value


def check_choice(owner: str, option: str, value: Any, choices: Iterable[T]) -> T:
    """Return ``value`` if it is one of ``choices``.

    Raises:
        UnknownNameError: It is not; the message has the choices.
    """
    known = list(choices)
    if not isinstance(value, str) or value not in known:
        raise UnknownNameError(f"{option} of {owner}", value, known)
    return next(choice for choice in known if choice == value)


def check_channels(owner: str, option: str, value: Any, low: int = 1) -> int:
    """Return ``value`` as a number of channels, ``low`` to :data:`MOST_CHANNELS`."""
    return check_integer(owner, option, value, low, MOST_CHANNELS)


def check_name(owner: str, option: str, value: Any) -> str:
    """Return ``value`` if it is a name: letters a to z, digits, ``_`` and ``-``.

    A name starts with a letter or digit and has at most :data:`LONGEST_NAME` characters, so it is
    safe as part of a path: a name that a saved file gives cannot lead out of a folder.
    """
    if not isinstance(value, str) or len(value) > LONGEST_NAME or not NAME_PATTERN.fullmatch(value):
        expected = (
            f"1 to {LONGEST_NAME} letters (a to z), digits, '_' and '-', starting with a letter or "
            "digit"
        )
        raise _wrong(owner, option, expected, "", value)
    return value


def check_class_name(owner: str, option: str, value: Any) -> str:
    """Return ``value`` if it is one line of printable text without slash and backslash.

    Spaces and letters of any alphabet are allowed. The first character is not a dot, and there are
    at most :data:`LONGEST_NAME` characters.
    """
    if (
        not isinstance(value, str)
        or not 0 < len(value) <= LONGEST_NAME
        or not value.isprintable()
        or value.isspace()
        or value.startswith(".")
        or not {"/", "\\"}.isdisjoint(value)
    ):
        expected = (
            f"1 to {LONGEST_NAME} printable characters on one line without '/' and '\\', not "
            "starting with a dot"
        )
        raise _wrong(owner, option, expected, "", value)
    return value


def check_size(owner: str, option: str, value: Any) -> tuple[int, int]:
    """Return ``value`` as ``(height, width)``, each 1 to :data:`LONGEST_SIDE` pixels."""
    if not isinstance(value, Sequence) or isinstance(value, str | bytes) or len(value) != 2:
        raise _wrong(owner, option, "two integers (height, width)", "", value)
    height, width = (
        check_integer(owner, f"{option}[{place}]", side, 1, LONGEST_SIDE)
        for place, side in enumerate(value)
    )
    return height, width


def _finite(value: Any) -> float | None:
    if not isinstance(value, Real) or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except OverflowError:  # an integer with more than 308 digits
        return None
    return number if math.isfinite(number) else None


def _is_within(value: Any, low: float | None, high: float | None) -> bool:
    return (low is None or value >= low) and (high is None or value <= high)


def _range(low: float | None, high: float | None, above: float | None = None) -> str:
    lower = f"of at least {low}" if low is not None else ""
    if above is not None:
        lower = f"greater than {above}"
    if high is None:
        return lower
    if low is not None and above is None:
        return f"from {low} to {high}"
    return f"{lower} and at most {high}" if lower else f"of at most {high}"


def wrong_value(owner: str, option: str, expected: str, value: Any) -> InputError:
    """The error for an option: what was expected, and what was given."""
    return _wrong(owner, option, expected, "", value)


def _wrong(owner: str, option: str, expected: str, bounds: str, value: Any) -> InputError:
    try:
        shown = repr(value)
    except ValueError:  # Python prints no integer of more than 4300 digits
        shown = f"a value of type {type(value).__name__}"
    shown = shown if len(shown) <= 80 else shown[:77] + "..."
    return InputError(
        f"{owner}: {option} must be {expected}{' ' if bounds else ''}{bounds}, got {shown}."
    )
