"""Commands that have actions of their own: ``taskprism data check``, ``taskprism analyze flow``."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from taskprism.errors import UnknownNameError


class Action(NamedTuple):
    """Where an action lives (``module:function``) and what it is for."""

    target: str
    summary: str


def run_action(command: str, actions: Mapping[str, Action], words: Sequence[str]) -> None:
    """Run an action with its own options, or print which there are.

    Args:
        command: What the user typed after ``taskprism``.
        actions: By the word that names them.
        words: What follows the command: the action and its arguments.

    Raises:
        UnknownNameError: If there is no such action.
    """
    if not words or words[0] in {"-h", "--help"}:
        print(_usage(command, actions))
        return
    name, *rest = words
    if name not in actions:
        raise UnknownNameError(f"action of `taskprism {command}`", name, actions)
    import tyro  # here, so that the help above does not wait for it

    module, function = actions[name].target.split(":")
    target = getattr(importlib.import_module(module), function)
    tyro.cli(target, prog=f"taskprism {command} {name}", args=rest)


def _usage(command: str, actions: Mapping[str, Action]) -> str:
    width = max(len(name) for name in actions)
    lines = [f"  {name:<{width}}  {action.summary}" for name, action in actions.items()]
    return "\n".join(
        [
            f"usage: taskprism {command} ACTION [...]",
            "",
            *lines,
            "",
            f"`taskprism {command} ACTION --help` shows the options of one action.",
        ]
    )
