"""How large the network of a recipe is, without training it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from dataclasses import asdict, dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

import torch

import taskprism
from taskprism.atomic import write_json
from taskprism.errors import CheckpointError
from taskprism.recipes.schema import Recipe
from taskprism.scoring.resources import count_macs, count_parameters
from taskprism.training.experiment import build_experiment


@dataclass(frozen=True)
class Size:
    """Size of a network.

    Attributes:
        parameters: Number of learnt values.
        macs: Multiply-adds for one image of the protocol's input size.
    """

    parameters: int
    macs: int


def size_of(recipe: Recipe) -> Size:
    """Size of a recipe's network; needs neither data nor weights.

    Answers are kept in the user's cache folder for as long as the code stays the same.

    Raises:
        TaskprismError: The recipe names something that does not exist or fit.
    """
    file = _cache_file(recipe)
    try:
        return Size(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        size = measure(recipe)
    with contextlib.suppress(CheckpointError):  # a home that cannot be written only costs time
        write_json(file, asdict(size))
    return size


def measure(recipe: Recipe) -> Size:
    """:func:`size_of` without the cache."""
    untrained = recipe.model_copy(
        update={"model": recipe.model.model_copy(update={"pretrained": False})}
    )
    try:
        with torch.device("meta"):  # no memory, no time for random numbers
            experiment = build_experiment(untrained)
    except (NotImplementedError, RuntimeError):  # a backbone that computes while it is built
        experiment = build_experiment(untrained)
    model = experiment.model
    return Size(count_parameters(model), count_macs(model, experiment.protocol.input_size))


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
    """Fingerprint of all code that networks are made of."""
    digest = hashlib.sha256()
    for package in ("torch", "torchvision", "timm"):
        digest.update(f"{package} {metadata.version(package)}\n".encode())
    folder = Path(taskprism.__file__).parent
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
