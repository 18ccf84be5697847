"""Every row of every table is a recipe whose network can be built as published."""

from __future__ import annotations

import json
from functools import cache

import pytest
import torch

from taskprism.papers import list_tables, load_table
from taskprism.papers.settings import row_recipe, run_key
from taskprism.training import Recipe, load_recipe
from taskprism.training.experiment import Experiment, build_experiment

TABLES = list_tables()
SOME_TABLES = [
    pytest.param(table, marks=() if index % 5 == 0 else pytest.mark.nightly)
    for index, table in enumerate(TABLES)
]


def trained(table: str) -> list[str]:
    return [key for key, row in load_table(table).rows.items() if row.trained]


@cache
def built(model: str) -> Experiment | Exception:
    """Network of a recipe's JSON, without values; cached, because rows share networks."""
    try:
        with torch.device("meta"):
            return build_experiment(Recipe.model_validate_json(model))
    except Exception as error:
        return error


def without_training(recipe: Recipe) -> str:
    """The parts of a recipe that determine its network."""
    values = recipe.model_dump(mode="json")
    values["model"]["pretrained"] = False
    data = {key: values["data"][key] for key in ("protocol", "options")}
    kept = {key: values[key] for key in ("model", "tasks", "auxiliary_tasks", "stepping")}
    return json.dumps({**kept, "data": data, "loss": values["loss"]}, sort_keys=True)


@pytest.mark.parametrize("table", TABLES)
def test_every_row_is_a_recipe(table: str) -> None:
    for row in trained(table):
        recipe = load_recipe(f"{table}/{row}")
        assert recipe == row_recipe(load_table(table), row)
        assert recipe.model.pretrained, f"{row} starts from random weights"
        assert recipe.data.protocol != "rooms", f"{row} has no protocol"


@pytest.mark.slow
@pytest.mark.parametrize("table", SOME_TABLES)
def test_every_row_builds_its_network_at_full_size(table: str) -> None:
    failed = {}
    for row in trained(table):
        made = built(without_training(load_recipe(f"{table}/{row}")))
        if isinstance(made, Exception):
            failed[row] = repr(made)
            continue
        made.criterion()
        printed = [column for column in load_table(table).part_of(row).columns if column.task]
        scored = {task.name: task.higher_is_better for task in made.model.tasks}
        for column in printed:
            if column.task in scored and column.metric not in scored[column.task]:
                failed[row] = f"{column.task} has no metric {column.metric}"
            if column.key in load_table(table).row(row).paper and column.task not in scored:
                failed[row] = f"{column.task} is printed but not trained"
    assert not failed


@pytest.mark.nightly
@pytest.mark.parametrize("budget", ["tiny", "small"])
def test_every_row_builds_its_network_on_rooms(budget: str) -> None:
    failed = {}
    keys = set()
    for table in TABLES:
        for row in trained(table):
            recipe = row_recipe(load_table(table), row, protocol="rooms", budget=budget)
            keys.add(run_key(recipe))
            made = built(without_training(recipe))
            if isinstance(made, Exception):
                failed[f"{table}/{row}"] = repr(made)
    assert not failed
    assert len(keys) > 90  # most rows still differ with the backbones of the budget
