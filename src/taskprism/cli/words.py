"""Words of the command line that several commands read."""

from __future__ import annotations

from collections.abc import Iterable

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
