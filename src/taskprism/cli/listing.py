"""``taskprism list``: names of models, tasks and other parts, and where they come from."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from fnmatch import fnmatch
from importlib import metadata
from typing import Annotated

import timm
import tyro

from taskprism.data import list_protocols
from taskprism.errors import InputError, UnknownNameError
from taskprism.recipes.files import list_recipes
from taskprism.registry import PLUGIN_GROUP, Entry, Registry

#: Packages that own registries.
_OWNERS = (
    "taskprism.tasks",
    "taskprism.metrics",
    "taskprism.layers",
    "taskprism.distillation",
    "taskprism.backbones",
    "taskprism.models",
    "taskprism.data",
    "taskprism.losses",
    "taskprism.training.tracking",
)
_BUILT_IN = "built in"


def list_names(
    kind: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="[KIND]")] = "",
    pattern: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="[PATTERN]")] = "*",
    /,
) -> None:
    """Print the names of one kind and where each comes from.

    Without KIND, print the kinds: models, tasks, losses, distillations, heads, backbones, protocols
    (named benchmarks), metrics, balancers, consistency_losses, trackers and recipes (YAML files
    that describe a run).

    Args:
        kind: What to list, singular or plural.
        pattern: Shell pattern such as "hrnet*", or a part of a name.
    """
    lists = name_lists()
    if not kind:
        counts = {name: len(entries()) for name, entries in lists.items()}
        _print({name: f"{count} names" for name, count in counts.items() if count})
        return
    plural = kind if kind in lists else _plural(kind)
    if plural not in lists:
        raise UnknownNameError("kind of names", kind, lists)
    wanted = pattern if any(c in pattern for c in "*?[") else f"*{pattern}*"
    names = {name: origin for name, origin in lists[plural]().items() if fnmatch(name, wanted)}
    if not names:
        raise InputError(
            f"None of the {plural} matches {pattern!r}. `taskprism list {plural}` shows all."
        )
    _print(names)


def name_lists() -> dict[str, Callable[[], dict[str, str]]]:
    """Kind in the plural -> function that returns name -> origin."""
    for owner in _OWNERS:
        importlib.import_module(owner)
    lists: dict[str, Callable[[], dict[str, str]]] = {
        _plural(kind): lambda registry=registry: _origins(registry)
        for kind, registry in sorted(Registry.all.items())
    }
    protocols = lists["protocols"]
    lists["protocols"] = lambda: (
        dict.fromkeys(list_protocols(), f"{_BUILT_IN} (YAML)") | protocols()
    )
    own_backbones = lists.get("backbones", dict)
    lists["backbones"] = lambda: own_backbones() | dict.fromkeys(timm.list_models(), "timm")
    lists["recipes"] = _recipes
    return lists


def _plural(kind: str) -> str:
    return f"{kind}es" if kind.endswith("s") else f"{kind}s"


def _recipes() -> dict[str, str]:
    return dict.fromkeys(list_recipes(), _BUILT_IN)


def _origins(registry: Registry) -> dict[str, str]:
    return {entry.name: _origin(entry) for entry in registry.entries()}


def _origin(entry: Entry) -> str:
    """Say where an entry comes from: taskprism, an installed plug-in, or another module."""
    if entry.builtin:
        return _BUILT_IN
    package = entry.origin.partition(":")[0].partition(".")[0]
    for point in metadata.entry_points(group=PLUGIN_GROUP):
        if point.module.partition(".")[0] == package:
            return f"{entry.origin} (plug-in {point.name})"
    return entry.origin


def _print(lines: dict[str, str]) -> None:
    width = max(len(name) for name in lines)
    print("\n".join(f"{name:<{width}}  {text}" for name, text in lines.items()))
