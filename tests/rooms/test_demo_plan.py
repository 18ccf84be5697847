"""The plan of the demonstration: recipes, time limit, and resuming."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from taskprism.errors import InputError
from taskprism.models import list_models
from taskprism.progress import Reporter
from taskprism.rooms.demo import plan as planning
from taskprism.rooms.demo.report import photographs

QUIET = Reporter(Console(file=io.StringIO()))


def load(folder, seed=0, **overrides):
    return planning.load_plan(folder / "rooms", seed, overrides)


def test_recipes_differ_only_in_their_model(tmp_path):
    recipes = load(tmp_path, seed=3).recipes
    assert [recipe.name for recipe in recipes] == list(planning.METHODS)
    assert [recipe.model.name for recipe in recipes] == list(planning.METHODS)
    assert set(planning.METHODS) <= set(list_models())
    assert {recipe.seed for recipe in recipes} == {3}
    contents = [recipe.model_dump() for recipe in recipes]
    for content in contents:
        del content["name"], content["model"]["name"]
    assert contents[0] == contents[1] == contents[2]
    assert contents[0]["data"]["root"] == tmp_path / "rooms"


@pytest.mark.parametrize(("seconds", "epochs"), [(10_000, 12), (50 + 3 * 4 * 5.5, 5), (1, 1)])
def test_slow_machine_reduces_the_epochs_of_all_methods(tmp_path, monkeypatch, seconds, epochs):
    monkeypatch.setattr(planning, "_seconds_per_epoch", lambda recipe: 4.0)
    fitted = planning.fit_into(load(tmp_path, epochs=12), seconds, QUIET)
    assert {recipe.epochs for recipe in fitted.recipes} == {epochs}
    assert bool(fitted.notes) == (epochs < 12)


def test_stored_plan_restores_epochs_and_notes(tmp_path):
    file = tmp_path / "plan.json"
    plan = load(tmp_path)
    assert planning.read_plan(plan, file) is None
    planning.write_plan(planning.Plan(planning.with_epochs(plan, 2).recipes, ("slow",)), file)
    again = planning.read_plan(plan, file)
    assert again is not None
    assert {recipe.epochs for recipe in again.recipes} == {2} and again.notes == ("slow",)


def test_folder_of_another_demonstration_is_refused(tmp_path):
    file = tmp_path / "plan.json"
    planning.write_plan(load(tmp_path), file)
    with pytest.raises(InputError, match=r"other settings\. Choose another --out"):
        planning.read_plan(load(tmp_path, seed=1), file)
    file.write_text(json.dumps({"epochs": 1}))
    with pytest.raises(InputError, match="other settings"):
        planning.read_plan(load(tmp_path), file)


def test_photographs_have_sources_and_the_motorcycle_has_depth():
    shots = {photograph.name: photograph for photograph in photographs()}
    assert set(shots) == {"motorcycle", "coffee", "astronaut", "chelsea"}
    for shot in shots.values():
        assert shot.image.shape[0] == 3 and shot.image.min() >= 0 and shot.image.max() <= 1
        assert shot.origin
    depth, valid = shots["motorcycle"].targets["depth"], shots["motorcycle"].valid["depth"]
    assert depth.shape == valid.shape == (1, *shots["motorcycle"].image.shape[1:])
    assert 0.9 < valid.float().mean() < 0.95
    assert depth[valid].min() > 2.0 and depth[valid].max() < 5.1  # meters, in a garage
