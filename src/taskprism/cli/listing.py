"""``taskprism list``: the names that exist."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatch
from typing import Annotated, Literal

import timm
import tyro

from taskprism.data import list_protocols
from taskprism.errors import InputError
from taskprism.models import list_models
from taskprism.recipes.files import list_recipes
from taskprism.tasks import list_tasks

Kind = Literal["models", "tasks", "protocols", "recipes", "backbones"]

_LISTS: dict[Kind, Callable[[], list[str]]] = {
    "models": list_models,
    "tasks": list_tasks,
    "protocols": list_protocols,
    "recipes": list_recipes,
    "backbones": timm.list_models,
}


def list_names(
    kind: Annotated[Kind, tyro.conf.Positional],
    pattern: Annotated[str, tyro.conf.Positional] = "*",
    /,
) -> None:
    """Print the names of one kind, one a line.

    Args:
        kind: What to list.
        pattern: Shell pattern (``"hrnet*"``) or part of a name.
    """
    wanted = pattern if any(c in pattern for c in "*?[") else f"*{pattern}*"
    names = [name for name in _LISTS[kind]() if fnmatch(name, wanted)]
    if not names:
        raise InputError(f"None of the {kind} matches {pattern!r}; `taskprism list {kind}`.")
    print("\n".join(names))
