"""What several commands share: names of arguments in help texts, and how values are read."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import tyro
import yaml

from taskprism.checks import LONGEST_SIDE
from taskprism.errors import InputError

MOST_WORKERS = 1024  # processes; more would only exhaust the machine

# Written out because importing it from the data package would load PyTorch for every command.
Split = Literal["train", "val", "test"]

_Positional = tyro.conf.Positional
_named = tyro.conf.arg


@dataclass(frozen=True)
class Between:
    """Range of a number on the command line, or of each number of several.

    Attributes:
        low: Smallest value.
        high: Largest value, or None.
    """

    low: float
    high: float | None = None

    def check(self, option: str, value: Any) -> None:
        """Raise :class:`~taskprism.errors.InputError` if the value is out of range."""
        for number in value if isinstance(value, tuple) else (value,):
            if not self.low <= number <= (math.inf if self.high is None else self.high):
                top = "" if self.high is None else f" and at most {self.high:,}"
                raise InputError(f"{option} must be at least {self.low:g}{top}, got {number!r}.")


@dataclass(frozen=True)
class OnDevice:
    """Marks the name of a device, which is tried before the command does anything else."""

    def check(self, option: str, value: Any) -> None:
        """Raise :class:`~taskprism.errors.InputError` if PyTorch cannot use the device."""
        import torch  # imported late: PyTorch starts slowly

        try:
            kind = torch.empty(0, device=value).device.type
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(
                f"Cannot use device {value!r}: {reason}. Give {option} a device such as cpu or "
                "cuda:1."
            ) from error
        if kind == "meta":
            raise InputError(
                f"Cannot use device 'meta': it holds no values. Give {option} another one."
            )


def check_arguments(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function``, but it first checks its arguments against the marks in their annotations.

    Args:
        function: Its parameters are annotated with types such as :data:`Count`.
    """
    hints = get_type_hints(function, include_extras=True)
    signature = inspect.signature(function)

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        for name, value in signature.bind(*args, **kwargs).arguments.items():
            for mark in marks_of(hints[name]):
                if value is not None:
                    mark.check(f"--{name.strip('_').replace('_', '-')}", value)
        return function(*args, **kwargs)

    checked.__annotations__ = hints
    return checked


def marks_of(hint: Any) -> list[Between | OnDevice]:
    """Marks in an annotation."""
    return [mark for mark in getattr(hint, "__metadata__", ()) if isinstance(mark, _Mark)]


_Mark = Between | OnDevice
# Positional arguments.
ProtocolArgument = Annotated[str, _Positional, _named(metavar="PROTOCOL")]
RootArgument = Annotated[str | None, _Positional, _named(metavar="ROOT")]
# Runs and data may be at URLs, which are no paths.
RunArgument = Annotated[str, _Positional, _named(metavar="RUN")]
RunsArgument = Annotated[tuple[str, ...], _Positional, _named(metavar="RUN [RUN ...]")]

# Options.
Address = Annotated[str | None, _named(metavar="ADDRESS")]
EngineName = Literal["local", "ray"]
PerRun = Annotated[str | None, _named(metavar="RESOURCES")]
Count = Annotated[int, _named(metavar="COUNT"), Between(1)]
OptionalCount = Annotated[int | None, _named(metavar="COUNT"), Between(1)]
CountOrNone = Annotated[int, _named(metavar="COUNT"), Between(0)]
Device = Annotated[str | None, _named(metavar="DEVICE"), OnDevice()]
File = Annotated[Path, _named(metavar="FILE")]
OptionalFile = Annotated[Path | None, _named(metavar="FILE")]
Folder = Annotated[Path, _named(metavar="DIR")]
OptionalFolder = Annotated[Path | None, _named(metavar="DIR")]
Images = Annotated[int, _named(metavar="COUNT"), Between(1)]
Names = Annotated[tuple[str, ...], _named(metavar="[NAME ...]")]
Options = Annotated[tuple[str, ...], _named(metavar="[KEY=VALUE ...]")]
Runs = Annotated[tuple[str, ...], _named(metavar="[RUN ...]")]
DataRoot = Annotated[str | None, _named(metavar="DIR")]
Seed = Annotated[int, Between(0, 2**63 - 1)]
Size = Annotated[tuple[int, int], _named(metavar="HEIGHT WIDTH"), Between(1, LONGEST_SIDE)]
OptionalSize = Annotated[
    tuple[int, int] | None, _named(metavar="HEIGHT WIDTH"), Between(1, LONGEST_SIDE)
]
Workers = Annotated[int, _named(metavar="COUNT"), Between(0, MOST_WORKERS)]
OptionalWorkers = Annotated[int | None, _named(metavar="COUNT"), Between(0, MOST_WORKERS)]
SplitName = Annotated[Split, _named(metavar="SPLIT")]
OptionalSplit = Annotated[Split | None, _named(metavar="SPLIT")]
Tasks = Annotated[tuple[str, ...], _named(metavar="[TASK ...]")]
TasksWithChannels = Annotated[tuple[str, ...], _named(metavar="[TASK[=CHANNELS] ...]")]


def channels_of(words: Iterable[str]) -> dict[str, int | None]:
    """``semseg=40 depth`` -> ``{"semseg": 40, "depth": None}``.

    Raises:
        InputError: A word is not of the form NAME or NAME=CHANNELS.
    """
    channels: dict[str, int | None] = {}
    for word in words:
        name, equals, number = word.partition("=")
        if equals and not number.isdecimal():
            raise InputError(f"Expected NAME or NAME=CHANNELS for a task, got {word!r}.")
        channels[name] = int(number) if equals else None
    return channels


def options_of(words: Iterable[str]) -> dict[str, Any]:
    """``input_size=[32,64] edge_odsf=true`` -> keys with their YAML values.

    Raises:
        InputError: A word is not of the form KEY=VALUE, or its value is not YAML.
    """
    pairs = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise InputError(f"--options takes KEY=VALUE, got {word!r}.")
        try:
            pairs[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            reason = " ".join(str(error).split())
            raise InputError(f"--options: the value of {word!r} is not YAML ({reason}).") from None
    return pairs
