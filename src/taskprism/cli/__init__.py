"""The command ``taskprism``.

A sub-command is a function with typed, documented keyword arguments, which tyro turns into options,
and one line in :data:`COMMANDS`. Its module is imported when the command runs, so that
``taskprism --help`` is fast. Errors that the user can fix
(:class:`taskprism.errors.TaskprismError`) are printed without a traceback and give exit status 2.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

from taskprism.errors import InputError, TaskprismError, Terminated, UnknownNameError


@dataclass(frozen=True)
class Command:
    """A sub-command, or a group of actions such as ``taskprism data check``.

    Attributes:
        summary: One line for ``taskprism --help``.
        target: ``module:function`` below ``taskprism.cli``; empty for a group.
        imports: Whether ``--import`` is an option.
        reads_arguments: The function takes the lists of arguments and of imports unparsed, because
            its options depend on them; otherwise tyro derives the options from its signature.
        by_suffix: Ending of the first argument -> ``module:function`` that runs the command on such
            a file instead.
        actions: Action name -> ``(module:function, summary)``.
    """

    summary: str
    target: str = ""
    imports: bool = True
    reads_arguments: bool = False
    by_suffix: Mapping[str, str] = field(default_factory=dict)
    actions: Mapping[str, tuple[str, str]] = field(default_factory=dict)


COMMANDS: dict[str, Command] = {
    "train": Command("train the network of a recipe", "train:train", reads_arguments=True),
    "evaluate": Command("score a trained run on a split", "evaluate:evaluate"),
    "predict": Command(
        "run a trained network on images",
        "predict:predict",
        by_suffix={".onnx": "predict_onnx:predict"},  # does not import PyTorch
    ),
    "serve": Command("open a web page for a trained network", "serve:serve"),
    "distill": Command("label images with a trained network", "distill:distill"),
    "export": Command("write a trained network as an ONNX file, and compare them", "export:export"),
    "push": Command("upload a trained run to the Hugging Face hub", "push:push"),
    "baseline": Command("score the best constant prediction", "baseline:baseline"),
    "compare": Command("compare runs in one table, with the gain Δm", "compare:compare"),
    "report": Command("write an HTML page about a run", "report:report"),
    "analyze": Command(
        "analyze labels and trained runs as the papers do",
        actions={
            "affinity": (
                "analyze_affinity:affinity",
                "share of pixel pairs that are alike in one task and in another",
            ),
            "flow": ("analyze_flow:flow", "scores of initial predictions at each scale"),
            "resources": (
                "analyze_resources:resources",
                "performance over parameters and operations",
            ),
            "features": ("analyze_features:features", "pictures of the features at each layer"),
            "modulation": (
                "analyze_modulation:modulation",
                "t-SNE of ASTMT's activations per task",
            ),
            "sheet": ("analyze_sheet:sheet", "predictions of several runs, image by image"),
        },
    ),
    "reproduce": Command("train a paper's table and compare with it", "reproduce:reproduce"),
    "sweep": Command("train every combination of recipes, values and seeds", "sweep:sweep"),
    "tune": Command("search for the settings that score best", "tune:tune"),
    "import": Command(
        "convert a checkpoint that a paper's authors released",
        "import_official:import_official",
        imports=False,
    ),
    "data": Command(
        "describe, check, build and pack data sets",
        actions={
            "describe": ("data:describe", "where to get a data set, and its folders"),
            "check": ("data_check:check", "open every file and list what cannot be right"),
            "init": ("data_init:init", "propose the YAML of a folder of your own"),
            "build": ("data:build", "build a data set from its official files"),
            "pack": ("data:pack_shards", "write a data set into a few tar files"),
        },
    ),
    "profile": Command("parameters, operations, latency and memory", "profile:profile"),
    "list": Command("names of models, tasks, protocols and more", "listing:list_names"),
    "demo": Command("run a small comparison, with a report", "demo:demo", imports=False),
    "completion": Command(
        "print a script that completes commands in a shell", "completion:completion", imports=False
    ),
    "edges": Command("score edge maps against human boundaries", "edges:edges", imports=False),
}
#: Other spellings, not shown in the help.
ALIASES = {"analyse": "analyze"}
_HELP = {"-h", "--help"}
_IMPORT = "--import"
IMPORT_HELP = (
    "--import FILE_OR_MODULE imports your Python file or module first, so that the models, tasks, "
    "protocols and other parts it registers can be used by name. Repeat it for several."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Args:
        arguments: What follows ``taskprism``; by default those of this process.

    Returns:
        0 on success, and when a run has saved after SIGTERM, SIGUSR1 or SIGHUP; 1 if `taskprism
        data check` found something that needs a decision, or if some of many runs failed; 2 after
        an error that the user can fix; 130 after Ctrl-C.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in _HELP:
        print(_usage())
        return 0 if words else 2
    if words[0] == "--version":
        print(f"taskprism {metadata.version('taskprism')}")
        return 0
    name, imports = ALIASES.get(words[0], words[0]), []
    try:
        rest, imports = split_imports(words[1:])
        status = _run(name, rest, imports) or 0
    except TaskprismError as error:
        print(f"taskprism {name}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of the output, such as `head`, has ended
        sys.stdout = None
        return 1
    except OSError as error:  # a full disk or a missing permission
        print(f"taskprism {name}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        # The exception of a training loop ends with the command that resumes it.
        message = str(interrupt)
        hints = [f"{_IMPORT} {shlex.quote(part)}" for part in imports]
        missing = [hint for hint in hints if hint not in message]
        print(" ".join([message, *missing]) if message else "Stopped.", file=sys.stderr)
        return 0 if isinstance(interrupt, Terminated) else 130
    return status


def split_imports(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Separate the values of ``--import`` from the other arguments.

    Raises:
        InputError: ``--import`` has no value.
    """
    rest: list[str] = []
    imports: list[str] = []
    remaining = iter(words)
    for word in remaining:
        option, equals, value = word.partition("=")
        if option != _IMPORT:
            rest.append(word)
            continue
        value = value if equals else next(remaining, "")
        if not value or value.startswith("-"):
            raise InputError(f"{_IMPORT} takes a Python file or a module name, got {value!r}.")
        imports.append(value)
    return rest, imports


def _run(name: str, words: list[str], imports: Sequence[str]) -> int | None:
    """Run a command and return its exit status, if it has one."""
    if name not in COMMANDS:
        raise UnknownNameError("command", name, COMMANDS)
    command = COMMANDS[name]
    if imports:
        if not command.imports:
            raise InputError(f"This command has no option {_IMPORT}.")
        from taskprism.registry import import_parts

        import_parts(imports)
    if command.actions:
        return _run_action(name, command, words, imports)
    if command.reads_arguments:
        return _function(command.target)(words, imports)
    target = command.target
    for suffix, other in command.by_suffix.items():
        if words and words[0].lower().endswith(suffix):
            target = other
    return _parse(target, name, words, command, imports)


def _run_action(
    name: str, command: Command, words: list[str], imports: Sequence[str]
) -> int | None:
    if not words or words[0] in _HELP:
        print(_group_usage(name, command))
        return None
    action, *rest = words
    if action not in command.actions:
        raise UnknownNameError(f"action of `taskprism {name}`", action, command.actions)
    return _parse(command.actions[action][0], f"{name} {action}", rest, command, imports)


def _parse(
    target: str, name: str, words: list[str], command: Command, imports: Sequence[str]
) -> int | None:
    """Call a function with options from the command line.

    A parameter ``imports`` of the function gets the values of ``--import``.
    """
    import tyro  # imported late, so that `taskprism --help` is fast

    from taskprism.cli.arguments import check_arguments

    function = _function(target)
    description = (inspect.getdoc(function) or "").partition("\nArgs:")[0].strip()
    if command.imports:
        description += f"\n\n{IMPORT_HELP}"
    function = check_arguments(function)
    if "imports" in inspect.signature(function).parameters:
        function = functools.partial(function, imports=tuple(imports))
    return tyro.cli(function, prog=f"taskprism {name}", description=description, args=words)


def _function(target: str) -> Callable[..., Any]:
    module, name = target.split(":")
    return getattr(importlib.import_module(f"taskprism.cli.{module}"), name)


def _usage() -> str:
    width = max(len(name) for name in COMMANDS)
    return "\n".join(
        [
            "usage: taskprism COMMAND [...]",
            "",
            "Multi-task dense prediction: train, score, compare and show networks.",
            "",
            *(f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items()),
            "",
            "A recipe is a YAML file that describes a run. A protocol is a named benchmark: a data",
            "set with its tasks, input size and metrics; your own data is a protocol too. A run is",
            "the folder that `taskprism train` writes.",
            "",
            "`taskprism COMMAND --help` shows the options of a command.",
        ]
    )


def _group_usage(name: str, command: Command) -> str:
    width = max(len(action) for action in command.actions)
    return "\n".join(
        [
            f"usage: taskprism {name} ACTION [...]",
            "",
            *(f"  {action:<{width}}  {text}" for action, (_, text) in command.actions.items()),
            "",
            f"`taskprism {name} ACTION --help` shows the options of an action.",
        ]
    )
