"""The recipes of the demonstration, and the number of epochs that fit into the given time."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from taskprism.errors import InputError
from taskprism.progress import Reporter
from taskprism.recipes.files import load_recipe
from taskprism.recipes.schema import Recipe
from taskprism.training.experiment import build_experiment, build_protocol
from taskprism.training.steps import LossNetwork

METHODS = ("single_task", "multi_task", "mti_net")
#: Seconds for scoring, pictures and checkpoints of one run, and for the report.
_AROUND_A_RUN, _REPORT = 10.0, 20.0


@dataclass(frozen=True)
class Plan:
    """The runs of a demonstration.

    Attributes:
        recipes: One per method, in the order of the table.
        notes: Remarks that are printed with the results.

    Example:
        >>> from pathlib import Path
        >>> from taskprism.rooms.demo.plan import load_plan, with_epochs
        >>> plan = load_plan(Path("rooms"), seed=0, overrides={})
        >>> [recipe.name for recipe in plan.recipes]
        ['single_task', 'multi_task', 'mti_net']
        >>> with_epochs(plan, 2).recipes[0].epochs
        2
    """

    recipes: tuple[Recipe, ...]
    notes: tuple[str, ...] = ()


def load_plan(rooms: Path, seed: int, overrides: Mapping[str, Any]) -> Plan:
    """Load the shipped recipes with a common seed and a common folder of rooms."""
    common: dict[str, Any] = {"seed": seed, "data.root": rooms.absolute(), **overrides}
    return Plan(tuple(load_recipe(f"demo/{method}", common) for method in METHODS))


def draw_rooms(recipe: Recipe, reporter: Reporter) -> None:
    """Render all rooms into the folder that the runs share."""
    protocol = build_protocol(recipe.data)
    datasets = [protocol.dataset(split) for split in protocol.splits]
    lengths = [len(dataset) for dataset in datasets]
    rooms = (dataset[i] for dataset, n in zip(datasets, lengths, strict=True) for i in range(n))
    for _ in reporter.track(rooms, "Rendering rooms", sum(lengths)):
        pass


def fit_into(plan: Plan, seconds: float, reporter: Reporter) -> Plan:
    """Reduce the epochs of all methods equally, so that the plan fits into ``seconds``.

    A few training steps of each network are timed first. On a fast machine the epochs of the
    recipes are kept, so the results are the same on all fast machines.
    """
    wanted = plan.recipes[0].epochs
    per_epoch = sum(_seconds_per_epoch(recipe) for recipe in plan.recipes)
    left = seconds - _REPORT - _AROUND_A_RUN * len(plan.recipes)
    epochs = max(1, min(wanted, math.floor(left / per_epoch)))
    minutes = (epochs * per_epoch + seconds - left) / 60
    reporter.line(f"Training three methods for {epochs} epochs each: about {minutes:.1f} minutes.")
    if epochs == wanted:
        return plan
    note = (
        f"This machine is too slow for the {wanted} epochs of the recipes in the given time, so "
        f"every network was trained for {epochs}. Raise `--minutes` to train longer."
    )
    reporter.line(note)
    return with_epochs(Plan(plan.recipes, (*plan.notes, note)), epochs)


def with_epochs(plan: Plan, epochs: int) -> Plan:
    """Return the plan with another number of epochs."""
    recipes = (recipe.model_copy(update={"epochs": epochs}) for recipe in plan.recipes)
    return Plan(tuple(recipes), plan.notes)


def write_plan(plan: Plan, file: Path) -> None:
    """Store the plan, so that a stopped demonstration resumes with the same settings."""
    content = {
        "epochs": plan.recipes[0].epochs,
        "notes": list(plan.notes),
        "recipes": [_comparable(recipe) for recipe in plan.recipes],
    }
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read_plan(plan: Plan, file: Path) -> Plan | None:
    """Return the plan with the epochs and notes of the stored one, or None if there is none.

    Raises:
        InputError: The folder contains a demonstration with other settings.
    """
    if not file.is_file():
        return None
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        same = content["recipes"] == [_comparable(recipe) for recipe in plan.recipes]
        before = Plan(plan.recipes, tuple(content["notes"]))
        epochs = int(content["epochs"])
    except (ValueError, KeyError, TypeError):
        same, before, epochs = False, plan, 1
    if not same:
        raise InputError(
            f"{file.parent} contains a demonstration with other settings. Choose another --out, or "
            "delete that folder."
        )
    return with_epochs(before, epochs)


def _comparable(recipe: Recipe) -> dict[str, Any]:
    content = recipe.model_dump(mode="json")
    del content["epochs"], content["data"]["root"]  # may differ between two starts
    return content


def _seconds_per_epoch(recipe: Recipe) -> float:
    """Time a few training steps and scale them to an epoch with its share of evaluation."""
    untrained = recipe.model.model_copy(update={"pretrained": False})
    experiment = build_experiment(recipe.model_copy(update={"model": untrained}))
    protocol, size = experiment.protocol, recipe.data.batch_size
    dataset = protocol.dataset("train", protocol.train_transform())
    length = len(dataset)
    samples = min(size, length, 8)
    start = time.perf_counter()
    for index in range(samples):
        dataset[index]
    loading = (time.perf_counter() - start) / samples * length
    experiment.model.to(memory_format=torch.channels_last)
    network = LossNetwork(experiment.model, experiment.criterion())
    images = torch.rand(size, 3, *protocol.input_size)
    targets = {
        task.name: task.empty_target(*protocol.input_size).expand(size, -1, -1, -1)
        for task in experiment.tasks
    }
    valid = {name: target[:, :1] == target[:, :1] for name, target in targets.items()}
    steps = []
    for _ in range(3):
        start = time.perf_counter()
        network(images, targets, valid)["total"].backward()
        steps.append(time.perf_counter() - start)
    training = min(steps) * length / size
    # The factor covers the optimizer, metrics, and evaluation on the validation images.
    return 1.15 * training + loading
