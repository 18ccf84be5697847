from __future__ import annotations

from pathlib import Path

import pytest

from taskprism.data import create_protocol
from taskprism.errors import InputError, RecipeError, UnknownNameError
from taskprism.papers import load_table
from taskprism.papers.settings import (
    changes,
    fit_columns,
    list_budgets,
    load_budget,
    row_recipe,
    run_key,
)
from taskprism.training import load_recipe

TABLE = """
title: Made up
source: Nobody et al., Table 3
baseline: single
columns:
  - {key: seg, header: Seg, task: semseg, metric: miou, scale: 100}
  - {key: edge, header: Edge, task: edge, metric: odsf, scale: 100}
recipe:
  data: {protocol: pascal_context, options: {border: zero}, batch_size: 5, workers: 4}
  model: {backbone: resnet18.tv_in1k, pretrained: true, options: {neck: fpn}}
  loss: {weights: {saliency: 7, semseg: 2}}
  optimizer: {name: sgd, lr: 0.01}
  epochs: 60
rows:
  single: {recipe: {model: {name: single_task}, tasks: [semseg, saliency]}}
  all: {recipe: {model: {name: mti_net}, auxiliary_tasks: [edge, saliency]}}
  parts: {recipe: {model: {name: multi_task}, tasks: [human_parts]}}
  narrow: {recipe: {model: {name: pap_net, options: {channels: 16, size: [512, 512]}}}}
  wide: {recipe: {model: {name: pap_net, options: {distillation_options: {steps: 2}}}}}
  theirs: {quoted: of others}
"""
BUDGET = """
recipe: {optimizer: {lr: 0.5}, epochs: 2}
protocols:
  rooms: {data: {batch_size: 3, options: {train_length: 10}, root: ~/somewhere}}
  default: {data: {batch_size: 1}, epochs: 4}
backbones:
  - {match: [hrnet*], recipe: {model: {backbone: resnet10t}}}
  - {match: [mobile*, resnet1*], recipe: {model: {backbone: resnet14t, pretrained: false}}}
  - {match: ["*"], recipe: {model: {backbone: vit}}}
models:
  pap_net:
    model: {options: {channels: 8, distilled_channels: 4, distillation_options: {steps: 1}}}
"""


@pytest.fixture
def table(write):
    return load_table(write("paper/3.yaml", TABLE))


@pytest.fixture
def budget(write):
    return str(write("mine.yaml", BUDGET))


def test_full_budget_keeps_the_recipe_of_a_row(table, tmp_path):
    name = table.file.with_suffix("") / "all"
    assert row_recipe(table, "all") == load_recipe(name)
    recipe = row_recipe(table, "all", data=tmp_path, seed=2)
    assert recipe == load_recipe(name, {"data.root": tmp_path, "seed": 2})


def test_a_row_that_is_not_trained_has_no_recipe(table):
    assert row_recipe(table, "theirs") is None
    with pytest.raises(UnknownNameError, match="row of table paper/3"):
        row_recipe(table, "unknown_row")


def test_another_protocol_keeps_the_tasks_that_it_labels(table, real_data):
    recipe = row_recipe(table, "all", protocol="osd_rgbd", data=real_data / "osd_rgbd")
    # NYUD-v2 has no human parts; saliency is an auxiliary task
    assert recipe.tasks == ["semseg", "normals"]
    assert recipe.auxiliary_tasks == ["edge", "saliency"]
    nyud = row_recipe(table, "all", protocol="nyud40")
    assert (nyud.tasks, nyud.auxiliary_tasks) == (["semseg", "normals"], ["edge"])
    assert nyud.loss.weights == {"semseg": 2}
    data = nyud.data
    assert (data.protocol, data.options, data.batch_size, data.workers) == ("nyud40", {}, 5, 4)
    assert row_recipe(table, "narrow", protocol="rooms").model.options == {
        "neck": "fpn",
        "channels": 16,
    }


def test_protocol_without_main_tasks_raises(table):
    with pytest.raises(
        InputError, match=r"paper/3/parts has the main tasks human_parts, none of which"
    ):
        row_recipe(table, "parts", protocol="nyud40")


def test_budget_layers_are_merged_in_order(table, budget):
    recipe = row_recipe(table, "all", protocol="rooms", budget=budget)
    assert (recipe.optimizer.name, recipe.optimizer.lr, recipe.epochs) == ("sgd", 0.5, 2)
    assert recipe.data.options == {"train_length": 10}
    assert recipe.data.batch_size == 3
    assert recipe.data.root == Path.home() / "somewhere"
    assert (recipe.model.backbone, recipe.model.pretrained) == ("resnet14t", False)
    own = row_recipe(table, "all", budget=budget)
    assert (own.data.protocol, own.data.batch_size, own.epochs) == ("pascal_context", 1, 4)
    assert own.data.options == {"border": "zero"}


def test_budget_keeps_options_in_which_rows_differ(table, budget):
    wide = row_recipe(table, "wide", budget=budget).model.options
    narrow = row_recipe(table, "narrow", budget=budget).model.options
    assert wide["distillation_options"] == {"steps": 2}
    assert "channels" not in wide  # the default, from which the narrow row differs
    assert narrow["channels"] == 16
    assert "steps" not in narrow["distillation_options"]
    assert wide["distilled_channels"] == narrow["distilled_channels"] == 4


def test_run_keys_depend_on_settings_only(table, tmp_path):
    one = row_recipe(table, "all", protocol="rooms")
    key = run_key(one)
    assert key.startswith("mti_net-resnet18-rooms-")
    other = row_recipe(table, "all", protocol="rooms", data=tmp_path, seed=4)
    same = other.model_copy(
        update={"name": "other", "data": other.data.model_copy(update={"workers": 1})}
    )
    assert run_key(same) == key
    assert run_key(row_recipe(table, "all")) != key
    assert run_key(one.model_copy(update={"epochs": 3})) != key


def test_changes_are_listed(table, budget):
    found = changes(row_recipe(table, "single"), row_recipe(table, "single", protocol="nyud40"))
    assert found == [
        "Not labeled in nyud40: saliency.",
        "Data: nyud40, not pascal_context.",
    ]
    found = changes(row_recipe(table, "single"), row_recipe(table, "single", budget=budget))
    assert found[-1] == "Optimizer: sgd with 0.5, not sgd with 0.01."
    assert changes(row_recipe(table, "single"), row_recipe(table, "single", seed=3)) == []


def test_columns_fall_back_to_the_primary_metric(table):
    part = fit_columns(table.parts[""], create_protocol("rooms").tasks)
    seg, edge = part.columns
    assert seg == table.parts[""].columns[0]
    assert (edge.metric, edge.header, edge.scale) == ("loss", "Edge (loss)", 1.0)


def test_invalid_budgets_raise(table, write):
    with pytest.raises(UnknownNameError, match=r"Unknown budget 'tini'. Did you mean 'tiny'"):
        row_recipe(table, "all", budget="tini")
    with pytest.raises(RecipeError, match=r"unknown key 'matches' in 'backbones.0'"):
        load_budget(write("a.yaml", "backbones: [{matches: [a], recipe: {}}]"))
    wrong = str(write("b.yaml", "recipe: {epoch: 3}"))
    with pytest.raises(RecipeError, match=r"paper/3/all at budget .*b.yaml: unknown key 'epoch'"):
        row_recipe(table, "all", budget=wrong)


def test_shipped_budgets_are_listed():
    assert list_budgets() == ["full", "small", "tiny"]
    assert load_budget("full").recipe == {}
    assert all(load_budget(name).seeds == 3 for name in list_budgets())
