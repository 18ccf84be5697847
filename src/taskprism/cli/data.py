"""``taskprism data``: describe, check and make data sets; one file per action."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import NamedTuple

from taskprism.errors import UnknownNameError


class Action(NamedTuple):
    """Where an action lives (``module:function``) and what it is for."""

    target: str
    summary: str


ACTIONS: dict[str, Action] = {
    "describe": Action("taskprism.cli.data_describe:describe", "where to get a data set, its tree"),
    "check": Action("taskprism.cli.data_check:check", "open every file and say what is wrong"),
    "build": Action("taskprism.cli.data_build:build", "make a data set from its official files"),
    "pack": Action("taskprism.cli.data_pack:pack_shards", "put a data set into a few tar files"),
}


def data(words: Sequence[str]) -> None:
    """Run an action with its own options.

    Args:
        words: The action and what follows it.

    Raises:
        UnknownNameError: If there is no such action.
    """
    if not words or words[0] in {"-h", "--help"}:
        print(_usage())
        return
    name, *rest = words
    if name not in ACTIONS:
        raise UnknownNameError("action of `taskprism data`", name, ACTIONS)
    import tyro  # here, so that the help above does not wait for it

    module, function = ACTIONS[name].target.split(":")
    target = getattr(importlib.import_module(module), function)
    tyro.cli(target, prog=f"taskprism data {name}", args=rest)


def _usage() -> str:
    width = max(len(name) for name in ACTIONS)
    lines = [f"  {name:<{width}}  {action.summary}" for name, action in ACTIONS.items()]
    return "\n".join(
        [
            "usage: taskprism data ACTION [...]",
            "",
            *lines,
            "",
            "`taskprism data ACTION --help` shows the options of one action.",
        ]
    )
