"""``taskprism train``: train the network of a recipe."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import tyro
from pydantic import BaseModel, Field, create_model

from taskprism.cli import IMPORT_HELP
from taskprism.errors import InputError, TaskprismError
from taskprism.progress import Reporter
from taskprism.recipes.files import parse_value, validate
from taskprism.recipes.schema import Recipe
from taskprism.stores import is_url
from taskprism.training.experiment import (
    build_protocol,
    keep_labeled_tasks,
    load_recipe_or_model,
)
from taskprism.training.launch import disconnect
from taskprism.training.run import train as train_recipe
from taskprism.training.stopping import ignore_signals_at_exit

_USAGE = "taskprism train RECIPE"
#: Keys below which the user chooses keys: ``--model.options.neck_channels 64``.
_FREE = (
    "model.options",
    "data.options",
    "data.root",
    "loss.weights",
    "loss.balancing_options",
    "consistency.options",
    "tracker_options",
)
#: Those among them with values of any type, which are read as YAML.
_UNTYPED = (
    "model.options",
    "data.options",
    "data.augmentation",
    "loss.balancing_options",
    "consistency.options",
)
#: Spellings of options -> the keys of a recipe that they stand for.
SHORT = {"--data": "--data.protocol", "--tracker": "--trackers"}
#: Names of values in the help, where tyro would show STR or PATH.
_NAMES = {
    "model.name": "MODEL",
    "init": "RUN|HUB|FILE",
    "backbone.trainable": "all|none|norms|last:N|adapters",
    "model.backbone": "BACKBONE",
    "model.pretrained": "True|False|FILE|PACKAGE",
    "data.protocol": "PROTOCOL [PROTOCOL ...]",
    "data.root": "DIR",
    "tasks": "[TASK ...]",
    "auxiliary_tasks": "[TASK ...]",
    "trackers": "[TRACKER ...]",
}


def train(arguments: Sequence[str], imports: Sequence[str] = ()) -> None:
    """Train the network of a recipe: ``taskprism train RECIPE --out DIR [--resume] [--KEY VALUE]``.

    Every key of the recipe is an option, and its default is the value in the recipe.

    Args:
        arguments: What follows ``taskprism train``, without ``--import``.
        imports: Modules and files of ``--import``; the run records them.

    Raises:
        TaskprismError: A recipe, key, value or folder is wrong.
    """
    name = arguments[0] if arguments and not arguments[0].startswith("-") else None
    if name is None and not {"-h", "--help"} & set(arguments):
        raise InputError(
            f"Name a recipe first: `{_USAGE} --out DIR`. RECIPE is a YAML file, a run directory, "
            "a name of `taskprism list recipes`, or a name of `taskprism list models`."
        )
    words = [_long(word) for word in (arguments if name is None else arguments[1:])]
    rest, free = _split_free(words)
    recipe = Recipe() if name is None else load_recipe_or_model(name, free)
    given = tyro.cli(_options(recipe), prog=_USAGE, description=_describe(recipe, name), args=rest)
    values = given.recipe.model_dump()
    values["imports"] = list(dict.fromkeys([*recipe.imports, *map(_absolute, imports)]))
    for key in _UNTYPED:
        section, _, inner = key.partition(".")
        values[section][inner] = getattr(getattr(recipe, section), inner)
    values["tracker_options"] = recipe.tracker_options
    if values["data"]["protocol"] != recipe.data.protocol:  # its options are for the old one
        own = {key.removeprefix("data.options."): value for key, value in free.items()}
        values["data"]["options"] = {k: v for k, v in own.items() if f"data.options.{k}" in free}
    made = validate(values, source="command line")
    if made.data.protocol != recipe.data.protocol and not _names_tasks(rest):
        made = _fit_to_data(made)
    ignore_signals_at_exit()
    out = given.out if is_url(given.out) else Path(given.out)
    train_recipe(made, out, resume=given.resume)
    disconnect()


def _names_tasks(words: Sequence[str]) -> bool:
    options = {word.partition("=")[0].replace("_", "-") for word in words}
    return not options.isdisjoint({"--tasks", "--auxiliary-tasks"})


def _fit_to_data(recipe: Recipe) -> Recipe:
    """Leave out the recipe's tasks that the data of the command line lack, and say so."""
    try:
        protocol = build_protocol(recipe.data)
    except TaskprismError:
        return recipe  # training reports what is wrong with the data
    fitting, left_out = keep_labeled_tasks(recipe, protocol)
    if left_out and os.environ.get("RANK", "0") == "0":
        Reporter().line(
            f"Training on {', '.join(fitting.tasks)}: {protocol.name} has no "
            f"{', '.join(left_out)}, which the recipe names."
        )
    return fitting


def _absolute(part: str) -> str:
    """Files are recorded by their full path, so that the run can be resumed from anywhere."""
    return str(Path(part).resolve()) if part.endswith(".py") else part


def _long(word: str) -> str:
    """``--data my.yaml`` is short for ``--data.protocol my.yaml``."""
    option, equals, value = word.partition("=")
    return f"{SHORT.get(option, option)}{equals}{value}"


def _describe(recipe: Recipe, name: str | None) -> str:
    if name is None:
        first = (
            "Train the network of RECIPE and score it on the test images.\n\n"
            "A recipe is a YAML file that describes a run: model, data, tasks, optimizer and so "
            "on. RECIPE is such a file, a run directory, a name of `taskprism list recipes`, or a "
            "name of `taskprism list models`, which stands for an empty recipe with that model. "
            "To train on your own data: taskprism train multi_task --data my.yaml --out "
            "runs/mine.\n\nThe defaults below are those of an empty recipe."
        )
    else:
        first = f"Train the network of the recipe {name}. The defaults below are its values."
    return (
        f"{first}\n\n--data PROTOCOL is short for --data.protocol: a named benchmark or the YAML "
        f"file of your own data. {IMPORT_HELP}\n\nFurther keys: "
        f"--model.options.KEY VALUE (now {recipe.model.options}), "
        f"--data.options.KEY VALUE (now {recipe.data.options}), --data.root.PROTOCOL PATH, "
        "--loss.weights.TASK VALUE, --tracker-options.TRACKER.KEY VALUE. Values are read as "
        "YAML.\n\n"
        "Signals: Ctrl-C saves and ends with status 130; a second one ends at once. SIGTERM, "
        "SIGUSR1 and SIGHUP save and end with status 0, in several processes whichever of them "
        "receives the signal. --resume continues. A finished run has a metrics.json."
    )


def _options(recipe: Recipe) -> type[Any]:
    """Create the class from which tyro derives the options, with the recipe as defaults."""
    loose = _loosen(recipe)
    out = Field(
        description="folder of the run: a new one, or with --resume an existing one; or its URL, "
        "such as s3://bucket/run"
    )
    settings: Any = type(loose)
    resume = Field(False, description="resume the run in --out")
    fields: dict[str, Any] = {
        "out": (Annotated[str, tyro.conf.arg(metavar="DIR")], out),
        "resume": (bool, resume),
        "recipe": (Annotated[settings, tyro.conf.arg(name="")], loose),
    }
    return create_model("Options", **fields)


def _loosen(settings: BaseModel, prefix: str = "") -> Any:
    """Copy settings into a class with the same typed keys and descriptions but without ranges.

    tyro then only parses, and values out of range give the same errors as in a recipe file.
    """
    fields: dict[str, Any] = {}
    for key, field in type(settings).model_fields.items():
        value = getattr(settings, key)
        if f"{prefix}{key}" in (*_UNTYPED, "imports", "tracker_options"):
            continue
        if isinstance(value, BaseModel):
            inner = _loosen(value, f"{prefix}{key}.")
            fields[key] = (type(inner), Field(inner, description=type(value).__doc__))
        else:
            name = _value_name(f"{prefix}{key}", field.annotation)
            shown = tyro.conf.arg(metavar=name)
            fields[key] = (
                Annotated[field.annotation, shown],  # type: ignore[valid-type]
                Field(value, description=field.description),
            )
    return create_model(type(settings).__name__, __doc__=type(settings).__doc__, **fields)()


def _value_name(key: str, annotation: Any) -> str | None:
    """Name of a key's value in the help, or None to show its type or choices."""
    if key in _NAMES:
        return _NAMES[key]
    types = set(_flat(annotation))
    return key.rpartition(".")[2].upper() if types & {str, Path, Any} else None


def _flat(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) is Literal or not get_args(annotation):
        yield annotation
        return
    for argument in get_args(annotation):
        yield from _flat(argument)


def _split_free(arguments: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """Separate the options below free keys from the other arguments; read their values as YAML."""
    rest: list[str] = []
    free: dict[str, Any] = {}
    for words in _groups(arguments):
        option, _, joined = words[0].partition("=")
        key = option[2:]
        parent = next((p for p in _FREE if key.replace("-", "_").startswith(f"{p}.")), None)
        if not option.startswith("--") or parent is None:
            rest += words
            continue
        values = [parse_value(word) for word in ([joined] if joined else []) + words[1:]]
        name = key[len(parent) + 1 :]
        name = name if parent == "data.root" else name.replace("-", "_")
        free[f"{parent}.{name}"] = values[0] if len(values) == 1 else values
    return rest, free


def _groups(arguments: Sequence[str]) -> Iterator[list[str]]:
    """Split arguments before each option: ``[["RECIPE"], ["--out", "DIR"], ...]``."""
    group: list[str] = []
    for word in arguments:
        if word.startswith("--") and group:
            yield group
            group = []
        group.append(word)
    if group:
        yield group
