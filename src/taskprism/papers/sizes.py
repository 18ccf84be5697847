"""Size of the network of a recipe, without training it."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import taskprism
from taskprism.atomic import write_json
from taskprism.errors import CheckpointError
from taskprism.recipes.schema import Recipe
from taskprism.registry import Registry, load_plugins
from taskprism.scoring.resources import count_macs, count_parameters
from taskprism.training.experiment import build_experiment


@dataclass(frozen=True)
class Size:
    """Size of a network.

    Attributes:
        parameters: Number of learned values.
        macs: Multiply-adds for one image of the protocol's input size.

    Example:
        >>> from taskprism.papers import load_table
        >>> from taskprism.papers.settings import row_recipe
        >>> size = measure(row_recipe(load_table("mti_net/2a"), "multi_task"))
        >>> f"{size.parameters / 1e6:.1f} M"
        '4.0 M'
    """

    parameters: int
    macs: int


def size_of(recipe: Recipe) -> Size:
    """Size of a recipe's network; needs neither data nor weights.

    Sizes are cached in the user's cache folder until the code changes. Networks with parts from
    outside taskprism are not cached, because changes to their code cannot be detected.

    Raises:
        TaskprismError: The recipe names something that does not exist or fit.

    Example:
        >>> from taskprism.papers import load_table
        >>> from taskprism.papers.settings import row_recipe
        >>> size_of(row_recipe(load_table("mti_net/2a"), "multi_task")).parameters
        4019251
    """
    if _has_outside_parts(recipe):
        return measure(recipe)
    file = _cache_file(recipe)
    try:
        return Size(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        size = measure(recipe)
    with contextlib.suppress(
        CheckpointError
    ):  # without a writable cache the next call only takes longer
        write_json(file, asdict(size))
    return size


def measure(recipe: Recipe) -> Size:
    """:func:`size_of` without the cache.

    Example:
        >>> model = {"name": "multi_task", "backbone": "resnet18"}
        >>> measure(Recipe(data={"protocol": "rooms"}, model=model)).parameters > 11e6
        True
    """
    untrained = recipe.model_copy(
        update={"model": recipe.model.model_copy(update={"pretrained": False})}
    )
    try:
        with torch.device("meta"):  # needs no memory and draws no random numbers
            experiment = build_experiment(untrained)
    except (NotImplementedError, RuntimeError):  # a backbone that computes during construction
        experiment = build_experiment(untrained)
    model = experiment.model
    return Size(count_parameters(model), count_macs(model, experiment.protocol.input_size))


def _has_outside_parts(recipe: Recipe) -> bool:
    """Whether a recipe names parts that are not in taskprism itself."""
    load_plugins()
    outside = {
        name
        for registry in Registry.all.values()
        for name, entry in registry._entries.items()
        if not entry.builtin
    }
    values = recipe.model_dump(mode="json", include={"model", "data", "tasks", "auxiliary_tasks"})
    names = set(_strings(values))
    return bool(recipe.imports or names & outside or any(":" in name for name in names))


def _strings(value: Any) -> Iterator[str]:
    """All strings in nested values."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from itertools.chain.from_iterable(map(_strings, value.values()))
    elif isinstance(value, list | tuple):
        yield from itertools.chain.from_iterable(map(_strings, value))


def _cache_file(recipe: Recipe) -> Path:
    matters = {
        "model": recipe.model.model_dump(mode="json", exclude={"pretrained"}),
        "data": recipe.data.model_dump(mode="json", include={"protocol", "options"}),
        "tasks": [recipe.tasks, recipe.auxiliary_tasks],
        "stepping": recipe.stepping.model_dump(mode="json"),
        "code": _code(),
    }
    digest = hashlib.sha256(json.dumps(matters, sort_keys=True).encode()).hexdigest()
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "taskprism" / "sizes" / f"{digest[:32]}.json"


@cache
def _code() -> str:
    """Fingerprint of all code that defines networks."""
    digest = hashlib.sha256()
    for package in ("torch", "torchvision", "timm"):
        digest.update(f"{package} {metadata.version(package)}\n".encode())
    folder = Path(taskprism.__file__).parent
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
