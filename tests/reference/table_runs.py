"""A small table whose runs are written without training."""

from __future__ import annotations

import json
from pathlib import Path

from taskprism.papers.plan import Plan, Request
from taskprism.papers.table import Part, Table
from taskprism.recipes.schema import Recipe
from taskprism.training.run_directory import RunDirectory

PAPER = Path("some_paper.yaml")
PART = {
    "baseline": "single",
    "columns": [
        {"key": "seg", "header": "Seg", "task": "semseg", "metric": "miou", "scale": 100},
        {"key": "dep", "header": "Dep", "task": "depth", "metric": "rmse", "digits": 3},
        {"key": "gain", "header": "Δm %", "quantity": "gain"},
        {"key": "size", "header": "Params", "quantity": "parameters", "as": "ratio"},
    ],
    "rows": {
        "single": {"paper": {"seg": 40, "dep": 0.5, "gain": 0, "size": 1}},
        "shared": {"paper": {"seg": 38, "dep": 0.55, "gain": -7.5, "size": 0.5}},
        "ours": {
            "label": "Ours [full]",
            "paper": {"seg": 44, "dep": 0.45, "gain": 9.0},
            "misprints": {"gain": "the entries give +10.00"},
            "notes": ["as drawn in figure 1"],
        },
        "theirs": {"paper": {"seg": 36}, "quoted": "figures of its authors"},
    },
}
#: Row -> scores of seed 0; every further seed is slightly better.
SCORES = {"single": (0.50, 1.0), "shared": (0.45, 1.1), "ours": (0.55, 0.8)}


def make_table(**changes) -> Table:
    part = Part.model_validate({**PART, **changes})
    return Table("some_paper/1", PAPER, "Some methods", "Some Paper, table 1", {"": part})


def make_plan(rows=SCORES, seeds=2, table=None, **request) -> Plan:
    table = table or make_table()
    settings = {"protocol": "rooms", "budget": "tiny", **request}
    recipes = {
        row: tuple(
            Recipe.model_validate({"name": f"rooms-{row}-0123abcd", "seed": seed})
            for seed in range(seeds)
        )
        for row in rows
    }
    return Plan(table, Request(seeds=seeds, **settings), table.parts, recipes, {})


def write_run(recipe: Recipe, folder: Path, metrics=None, parameters=1000) -> None:
    """Write the files of a finished run that tables read."""
    row = recipe.name.split("-")[1]
    seg, dep = SCORES.get(row, (0.3, 2.0))
    step = 0.01 * recipe.seed
    metrics = metrics or {"semseg": {"miou": seg + step}, "depth": {"rmse": dep - step}}
    run = RunDirectory(folder)
    run.path.mkdir(parents=True, exist_ok=True)
    run.write_recipe(recipe)
    manifest = {
        "started": "2024-01-01T00:00:00+00:00",
        "finished": "2024-01-01T00:01:30+00:00",
        "resumed": [],
        "licenses": {"data": "made by a test", "weights": "random"},
        "data_fingerprint": "f00d",
        "protocol": {"input_size": [32, 48]},
        "hardware": {"accelerator": None, "device": "cpu", "cores": 2, "threads": 1, "cpu": "x"},
        "git": {"commit": "c0ffee" * 6, "changed": False},
        "versions": {"torch": "2.0"},
    }
    run.manifest_file.write_text(json.dumps(manifest))
    content = {
        "run": recipe.name,
        "model": recipe.model.name,
        "backbone": "test_resnet",
        "protocol": "rooms",
        "input_size": [32, 48],
        "split": "test",
        "epoch": 1,
        "seed": recipe.seed,
        "metrics": metrics,
        "higher_is_better": {"semseg": {"miou": True}, "depth": {"rmse": False}},
        "primary": {"semseg": "miou", "depth": "rmse"},
        "parameters": 2000 if row == "single" else parameters,
        "macs": 10**9,
    }
    run.metrics_file.write_text(json.dumps(content))


class Recorder:
    """Replaces training: writes the files of a finished run and records the calls."""

    def __init__(self, fail=(), stop_at=None) -> None:
        self.calls: list[tuple[str, int, bool]] = []
        self.fail = fail
        self.stop_at = stop_at

    def __call__(self, recipe, folder, resume, reporter) -> None:
        self.calls.append((recipe.name.split("-")[1], recipe.seed, resume))
        if len(self.calls) == self.stop_at:
            folder.mkdir(parents=True)
            RunDirectory(folder).write_recipe(recipe)
            raise KeyboardInterrupt("Stopped and saved. Resume with: taskprism train ...")
        if (recipe.name.split("-")[1], recipe.seed) in self.fail:
            raise RuntimeError("out of memory\nmore words")
        write_run(recipe, folder)
