"""Run directories on tiny rooms, with random weights and without training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from taskprism.recipes.files import validate
from taskprism.training.experiment import build_experiment
from taskprism.training.run_directory import RunDirectory

SIZE = [32, 48]


def make_run(folder: Path, model: str, tasks: list[str], **changes: Any) -> Path:
    """Write a run of ``model`` with a last checkpoint and invented scores.

    Args:
        folder: Run directory to write.
        model: Name of the model.
        tasks: Names of its tasks in ``rooms``.
        changes: ``name``, ``seed``, ``options`` and ``backbone`` of the recipe; ``scores``, task ->
            value of the primary metric; ``parameters`` and ``macs``.
    """
    recipe = validate(
        {
            "name": changes.get("name", model),
            "model": {
                "name": model,
                "backbone": changes.get("backbone", "test_resnet"),
                "options": changes.get("options", {"neck_channels": 8}),
            },
            "data": {
                "protocol": "rooms",
                "options": {"input_size": SIZE, "train_length": 2, "test_length": 3},
                "batch_size": 2,
            },
            "tasks": tasks,
            "seed": changes.get("seed", 0),
            **changes.get("recipe", {}),
        },
        "a test",
    )
    run = RunDirectory(folder)
    folder.mkdir(parents=True)
    run.write_recipe(recipe)
    experiment = build_experiment(recipe)
    experiment.model.save_pretrained(run.checkpoint("last"))
    scores = changes.get("scores", {})
    main = experiment.model.tasks
    content = {
        "run": recipe.name,
        "model": model,
        "backbone": recipe.model.backbone,
        "protocol": "rooms",
        "input_size": SIZE,
        "split": "test",
        "checkpoint": "last",
        "epoch": 1,
        "seed": recipe.seed,
        "metrics": {t.name: {t.primary_metric: scores.get(t.name, 0.5)} for t in main},
        "higher_is_better": {t.name: t.higher_is_better for t in main},
        "primary": {t.name: t.primary_metric for t in main},
        "parameters": changes.get("parameters", 1000),
        "macs": changes.get("macs", 2000),
    }
    run.metrics_file.write_text(json.dumps(content))
    return folder
