"""``taskprism train``: a recipe becomes a scored run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro
from pydantic import BaseModel, Field, create_model

from taskprism.errors import InputError
from taskprism.recipes.files import list_recipes, load_recipe, parse_value, validate
from taskprism.recipes.schema import Recipe
from taskprism.training.launch import disconnect
from taskprism.training.run import train as train_recipe

_USAGE = "taskprism train RECIPE"
#: Keys with keys of the user's own below them: ``--model.options.neck_channels 64``.
_FREE = ("model.options", "data.options", "data.root", "loss.weights")
#: Those of them that hold values of any type, which only YAML can tell.
_UNTYPED = ("model.options", "data.options")


def train(arguments: Sequence[str]) -> None:
    """Train the network of a recipe: ``taskprism train RECIPE --out DIR [--resume] [--KEY VALUE]``.

    Every key of the recipe is an option; its default is the recipe's own value.

    Args:
        arguments: What follows ``taskprism train``.

    Raises:
        TaskprismError: A recipe, key, value or folder is wrong.
    """
    name = arguments[0] if arguments and not arguments[0].startswith("-") else None
    if name is None and not {"-h", "--help"} & set(arguments):
        raise InputError(
            f"Name a recipe first: `{_USAGE} --out DIR`. It is a YAML file, a run directory, or "
            f"one of those shipped: {', '.join(list_recipes())}."
        )
    rest, free = _split_free(arguments if name is None else arguments[1:])
    recipe = Recipe() if name is None else load_recipe(name, free)
    given = tyro.cli(_options(recipe), prog=_USAGE, description=_describe(recipe, name), args=rest)
    values = given.recipe.model_dump()
    for key in _UNTYPED:
        section, _, inner = key.partition(".")
        values[section][inner] = getattr(getattr(recipe, section), inner)
    if values["data"]["protocol"] != recipe.data.protocol:  # the recipe's options are the old one's
        own = {key.removeprefix("data.options."): value for key, value in free.items()}
        values["data"]["options"] = {k: v for k, v in own.items() if f"data.options.{k}" in free}
    train_recipe(validate(values, source="command line"), given.out, resume=given.resume)
    disconnect()


def _describe(recipe: Recipe, name: str | None) -> str:
    if name is None:
        first = (
            "Train the network of RECIPE: a YAML file, a run directory, or one of those shipped "
            f"({', '.join(list_recipes())}). Defaults below are those of an empty recipe."
        )
    else:
        first = f"Train the network of the recipe {name}. Defaults below are this recipe's own."
    return (
        f"{first}\n\nFurther keys: --model.options.KEY VALUE (now {recipe.model.options}), "
        f"--data.options.KEY VALUE (now {recipe.data.options}), --data.root.PROTOCOL PATH, "
        "--loss.weights.TASK VALUE; values as in YAML."
    )


def _options(recipe: Recipe) -> type[Any]:
    """Class from which tyro makes the command line, with the recipe's values as defaults."""
    loose = _loosen(recipe)
    out = Field(description="folder of the run; new, or with --resume an existing one")
    settings: Any = type(loose)
    resume = Field(False, description="go on where the run in --out stopped")
    fields: dict[str, Any] = {
        "out": (Path, out),
        "resume": (bool, resume),
        "recipe": (Annotated[settings, tyro.conf.arg(name="")], loose),
    }
    return create_model("Options", **fields)


def _loosen(settings: BaseModel, prefix: str = "") -> Any:
    """Copy of settings whose class has the same typed keys and descriptions but no ranges.

    So that tyro only parses, and a value out of range is told as for a recipe file.
    """
    fields: dict[str, Any] = {}
    for key, field in type(settings).model_fields.items():
        value = getattr(settings, key)
        if f"{prefix}{key}" in _UNTYPED:
            continue
        if isinstance(value, BaseModel):
            inner = _loosen(value, f"{prefix}{key}.")
            fields[key] = (type(inner), Field(inner, description=type(value).__doc__))
        else:
            fields[key] = (field.annotation, Field(value, description=field.description))
    return create_model(type(settings).__name__, __doc__=type(settings).__doc__, **fields)()


def _split_free(arguments: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """Take the options below free keys out of the arguments, with YAML values."""
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
