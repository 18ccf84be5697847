"""Words of the command line that several commands read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml

from taskprism.errors import InputError


def channels_of(words: Iterable[str]) -> dict[str, int | None]:
    """``semseg=40 depth`` -> ``{"semseg": 40, "depth": None}``.

    Raises:
        InputError: A word is of another form.
    """
    channels: dict[str, int | None] = {}
    for word in words:
        name, equals, number = word.partition("=")
        if equals and not number.isdecimal():
            raise InputError(f"Task {word!r} is not of the form NAME or NAME=CHANNELS.")
        channels[name] = int(number) if equals else None
    return channels


def options_of(words: Iterable[str]) -> dict[str, Any]:
    """``input_size=[32,64] edge_odsf=true`` -> keys with their YAML values.

    Raises:
        InputError: A word is of another form.
    """
    pairs = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise InputError(f"--options takes KEY=VALUE, got {word!r}.")
        pairs[key] = yaml.safe_load(value)
    return pairs
