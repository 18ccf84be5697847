"""What several commands share: names of arguments in help texts, and how values are read."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
import yaml

from taskprism.errors import InputError

# Written out because importing it from the data package would load PyTorch for every command.
Split = Literal["train", "val", "test"]

_Positional = tyro.conf.Positional
_named = tyro.conf.arg

# Positional arguments.
ProtocolArgument = Annotated[str, _Positional, _named(metavar="PROTOCOL")]
RootArgument = Annotated[Path | None, _Positional, _named(metavar="ROOT")]
RunArgument = Annotated[Path, _Positional, _named(metavar="RUN")]
RunsArgument = Annotated[tuple[Path, ...], _Positional, _named(metavar="RUN [RUN ...]")]

# Options.
Device = Annotated[str | None, _named(metavar="DEVICE")]
File = Annotated[Path, _named(metavar="FILE")]
OptionalFile = Annotated[Path | None, _named(metavar="FILE")]
Folder = Annotated[Path, _named(metavar="DIR")]
OptionalFolder = Annotated[Path | None, _named(metavar="DIR")]
Images = Annotated[int, _named(metavar="COUNT")]
Names = Annotated[tuple[str, ...], _named(metavar="[NAME ...]")]
Options = Annotated[tuple[str, ...], _named(metavar="[KEY=VALUE ...]")]
Runs = Annotated[tuple[Path, ...], _named(metavar="[RUN ...]")]
Size = Annotated[tuple[int, int], _named(metavar="HEIGHT WIDTH")]
OptionalSize = Annotated[tuple[int, int] | None, _named(metavar="HEIGHT WIDTH")]
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
        InputError: A word is not of the form KEY=VALUE.
    """
    pairs = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise InputError(f"--options takes KEY=VALUE, got {word!r}.")
        pairs[key] = yaml.safe_load(value)
    return pairs
