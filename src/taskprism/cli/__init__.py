"""The command ``taskprism``: one file per sub-command.

A sub-command is a function with typed, documented keyword arguments, which tyro turns into options,
and one line in :data:`COMMANDS`. Its module is imported only when it is asked for, so that
``taskprism --help`` answers at once. Errors that a user can put right
(:class:`taskprism.errors.TaskprismError`) are printed without a traceback and end with status 2.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any, NamedTuple

from taskprism.errors import TaskprismError, UnknownNameError


class Command(NamedTuple):
    """Where a sub-command lives and what it is for.

    Attributes:
        target: ``module:function``.
        summary: One line for ``taskprism --help``.
        reads_arguments: The function takes the list of arguments as it is, because its options
            depend on them; otherwise tyro makes the options from its signature.
    """

    target: str
    summary: str
    reads_arguments: bool = False


COMMANDS: dict[str, Command] = {
    "train": Command("taskprism.cli.train:train", "train the network of a recipe", True),
    "evaluate": Command("taskprism.cli.evaluate:evaluate", "score a trained run on a split"),
    "predict": Command("taskprism.cli.predict:predict", "run a trained network on images"),
    "baseline": Command("taskprism.cli.baseline:baseline", "score answers that ignore the image"),
    "compare": Command("taskprism.cli.compare:compare", "set runs side by side, with Δm"),
    "analyze": Command("taskprism.cli.analyze:analyze", "look into labels and trained runs", True),
    "reproduce": Command(
        "taskprism.cli.reproduce:reproduce", "train a paper's table and set ours beside it"
    ),
    "import": Command(
        "taskprism.cli.import_official:import_official", "read a checkpoint that authors released"
    ),
    "data": Command("taskprism.cli.data:data", "describe, check and make data sets", True),
    "profile": Command("taskprism.cli.profile:profile", "parameters, operations, latency, memory"),
    "list": Command("taskprism.cli.listing:list_names", "names of models, tasks, protocols, ..."),
    "demo": Command("taskprism.cli.demo:demo", "a small comparison with a report, in minutes"),
    "edges": Command("taskprism.cli.edges:edges", "score edge maps against human boundaries"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Args:
        arguments: What follows ``taskprism``; by default those of this process.

    Returns:
        0 on success, 2 after an error that the user can put right, 130 after Ctrl-C.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in {"-h", "--help"}:
        print(_usage())
        return 0 if words else 2
    if words[0] == "--version":
        print(f"taskprism {metadata.version('taskprism')}")
        return 0
    try:
        return _run(words[0], words[1:])
    except TaskprismError as error:
        print(f"taskprism {words[0]}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        # The training loop says in the exception how to go on; other commands keep no state.
        print(str(interrupt) or "Stopped.", file=sys.stderr)
        return 130


def _run(name: str, words: list[str]) -> int:
    if name not in COMMANDS:
        raise UnknownNameError("command", name, COMMANDS)
    command = COMMANDS[name]
    module, function = command.target.split(":")
    target: Callable[..., Any] = getattr(importlib.import_module(module), function)
    if command.reads_arguments:
        target(words)
    else:
        import tyro  # here, so that `taskprism --help` does not wait for it

        tyro.cli(target, prog=f"taskprism {name}", args=words)
    return 0


def _usage() -> str:
    width = max(len(name) for name in COMMANDS)
    lines = [f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: taskprism COMMAND [...]",
            "",
            "Multi-task dense prediction: train, score, compare and show networks.",
            "",
            *lines,
            "",
            "`taskprism COMMAND --help` shows the options of one command.",
        ]
    )
