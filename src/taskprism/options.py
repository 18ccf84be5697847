"""Check the options of models, protocols and backbones against their annotations.

An option is a parameter with a default of a class or function, or a field of a dataclass. Its
annotation is its type, and ``Annotated`` adds its bounds, as in ``Annotated[int, Field(ge=1)]`` and
the types below. Values from YAML and the command line then answer like the keys of a recipe: a
wrong one is an error that names the option, the value and what is allowed.
"""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin

from pydantic import Field
from pydantic.fields import FieldInfo

from taskprism.checks import (
    LONGEST_SIDE,
    MOST_CHANNELS,
    check_choice,
    check_flag,
    check_integer,
    check_number,
    wrong_value,
)
from taskprism.errors import TaskprismError

Side = Annotated[int, Field(ge=1, le=LONGEST_SIDE)]
"""Height or width in pixels."""
Size = tuple[Side, Side]
"""``(H, W)``."""
Channels = Annotated[int, Field(ge=1, le=MOST_CHANNELS)]
"""Number of channels."""
Stride = Annotated[int, Field(ge=1, le=256)]
"""Pixels of the image per pixel of a feature map."""
Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]
"""Seed of a random generator."""


def read_options(
    owner: str, options: Mapping[str, Any], function: Callable[..., Any]
) -> dict[str, Any]:
    """Values of options in the types that ``function`` annotates.

    Lists become tuples where the annotation asks for it. A boolean is never a number, and numbers
    are finite. Options without an annotation, or with one that YAML cannot write (a module, a
    callable), are returned as they are.

    Args:
        owner: Whose options they are, for the message: ``"Model 'mti_net'"``.
        options: What the user gave.
        function: The class or function that takes them.

    Raises:
        InputError: A value has the wrong type or is out of bounds.
        UnknownNameError: A value is none of the names that are allowed.

    Example:
        >>> def blur(radius: Annotated[int, Field(ge=1)] = 3, size: tuple[int, int] = (8, 8)): ...
        >>> read_options("blur", {"size": [4, 4]}, blur)
        {'size': (4, 4)}
        >>> read_options("blur", {"radius": 0}, blur)
        Traceback (most recent call last):
        taskprism.errors.InputError: blur: radius must be an integer of at least 1, got 0.
    """
    annotations = _annotations(function)
    return {
        name: _read(owner, name, value, annotations.get(name, Any))
        for name, value in options.items()
    }


def read_trainable(part: str) -> tuple[str, int]:
    """Kind and number of a part of a backbone: ``last:2`` -> ``("last", 2)``.

    Raises:
        ValueError: It is not ``all``, ``none``, ``norms``, ``last:N`` or ``adapters``.

    Example:
        >>> read_trainable("last:2"), read_trainable("norms")
        (('last', 2), ('norms', 0))
    """
    kind, colon, number = str(part).partition(":")
    if kind in ("all", "none", "norms", "adapters") and not colon:
        return kind, 0
    if kind == "last" and number.isascii() and number.isdigit() and 0 < int(number) < 10_000:
        return kind, int(number)
    raise ValueError(
        "trainable must be all, none, norms, adapters, or last:N with a positive number N, "
        f"got {part!r}"
    )


def refuse_boolean(value: Any) -> Any:
    """Validator of numbers: ``true`` is not 1.

    Raises:
        ValueError: The value is a boolean.
    """
    if isinstance(value, bool):
        raise ValueError("expected a number, not true or false")
    return value


def _annotations(function: Callable[..., Any]) -> dict[str, Any]:
    """Parameter or field -> annotation; empty if they cannot be resolved at run time."""
    holder: Any = function
    if inspect.isclass(function) and not dataclasses.is_dataclass(function):
        holder = function.__init__
    try:
        hints = typing.get_type_hints(holder, include_extras=True)
    except (NameError, TypeError, AttributeError):
        return {}
    return {name: hint for name, hint in hints.items() if get_origin(hint) is not ClassVar}


def _read(owner: str, option: str, value: Any, annotation: Any) -> Any:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _read_bounded(owner, option, value, arguments[0], arguments[1:])
    if annotation in (int, float):
        return _read_bounded(owner, option, value, annotation, ())
    if annotation is bool:
        return check_flag(owner, option, value)
    if annotation is str:
        return _of_type(owner, option, value, str, "text")
    if annotation is type(None):
        return _of_type(owner, option, value, type(None), "null")
    if origin is Literal:
        return _read_choice(owner, option, value, arguments)
    if origin in (Union, types.UnionType):
        return _read_union(owner, option, value, arguments)
    if tuple in (annotation, origin) or list in (annotation, origin) or origin is Sequence:
        return _read_list(owner, option, value, origin or annotation, arguments)
    if origin in (dict, Mapping):
        _of_type(owner, option, value, Mapping, "a mapping of keys to values")
        return {
            key: _read(owner, f"{option}.{key}", each, arguments[1]) for key, each in value.items()
        }
    return value


def _read_bounded(owner: str, option: str, value: Any, kind: Any, metadata: Sequence[Any]) -> Any:
    bounds: dict[str, Any] = {}
    for one in metadata:
        for bound in one.metadata if isinstance(one, FieldInfo) else ():
            bounds |= {
                key: getattr(bound, key) for key in ("ge", "gt", "le") if hasattr(bound, key)
            }
    if kind is int:
        low = bounds["gt"] + 1 if "gt" in bounds else bounds.get("ge")
        high = bounds.get("le")
        if isinstance(value, int) and abs(value) >= 2**63:  # no library takes such a number
            low, high = low if low is not None else -(2**63) + 1, 2**63 - 1
        return check_integer(owner, option, value, low, high)
    if kind is float:
        return check_number(
            owner, option, value, bounds.get("ge"), bounds.get("le"), above=bounds.get("gt")
        )
    return _read(owner, option, value, kind)


def _of_type(owner: str, option: str, value: Any, kind: type, expected: str) -> Any:
    if not isinstance(value, kind):
        raise wrong_value(owner, option, expected, value)
    return value


def _read_choice(owner: str, option: str, value: Any, choices: Sequence[Any]) -> Any:
    if all(isinstance(choice, str) for choice in choices):
        return check_choice(owner, option, value, choices)
    if not any(value == choice and type(value) is type(choice) for choice in choices):
        raise wrong_value(owner, option, "one of " + ", ".join(map(repr, choices)), value)
    return value


def _read_union(owner: str, option: str, value: Any, branches: Sequence[Any]) -> Any:
    if value is None and type(None) in branches:
        return None
    error: Exception | None = None
    for branch in branches:
        if branch is not type(None):
            try:
                return _read(owner, option, value, branch)
            except TaskprismError as wrong:
                error = error or wrong
    raise error if error is not None else wrong_value(owner, option, "null", value)


def _read_list(owner: str, option: str, value: Any, kind: Any, arguments: Sequence[Any]) -> Any:
    """A tuple, list or sequence; YAML knows lists only."""
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise wrong_value(owner, option, "a list", value)
    if kind is not tuple or (len(arguments) == 2 and arguments[1] is Ellipsis):
        inner = [arguments[0] if arguments else Any] * len(value)
    else:
        inner = list(arguments) or [Any] * len(value)
        if len(inner) != len(value):
            raise wrong_value(owner, option, f"a list of {len(inner)} values", value)
    items = [
        _read(owner, f"{option}[{place}]", each, annotation)
        for place, (each, annotation) in enumerate(zip(value, inner, strict=True))
    ]
    return tuple(items) if kind is tuple or isinstance(value, tuple) else items
