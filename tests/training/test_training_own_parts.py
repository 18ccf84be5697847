"""Runs that need code from outside the package: imports of a recipe, and objects."""

import sys

import pytest
import torch
import yaml

from reference.run_files import weights
from taskprism.data import create_protocol
from taskprism.errors import InputError, UnknownNameError
from taskprism.models import create_model
from taskprism.registry import temporary_parts
from taskprism.training import evaluate, load_recipe, train

PARTS = """
from taskprism.data.folder import FolderProtocol
from taskprism.data import register_protocol

LOADED = True
"""


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    """A recipe that imports a file in the same folder; the module is forgotten afterwards."""
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "own_parts.py").write_text(PARTS)
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("extends: rooms/multi_task\nimports: [parts/own_parts.py]")
    with temporary_parts():
        yield recipe
    sys.modules.pop("own_parts", None)


def test_a_recipe_imports_files_relative_to_it(own_module):
    recipe = load_recipe(own_module)
    assert recipe.imports == [str(own_module.parent / "parts" / "own_parts.py")]
    assert sys.modules["own_parts"].LOADED


def test_imports_of_extended_recipes_are_added_up(own_module, tmp_path):
    (tmp_path / "second_parts.py").write_text("")
    child = tmp_path / "child.yaml"
    child.write_text("extends: mine\nimports: [second_parts.py, json]")
    imports = load_recipe(child).imports
    assert [name.rpartition("/")[2] for name in imports] == [
        "own_parts.py",
        "second_parts.py",
        "json",
    ]
    sys.modules.pop("second_parts")


def test_an_import_that_fails_names_the_module(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("imports: [no_such_module]")
    with pytest.raises(InputError, match="Cannot import 'no_such_module'"):
        load_recipe(path)


@pytest.mark.usefixtures("quick")
def test_reading_a_run_imports_nothing(tiny_values, tmp_path):
    """What a run directory names is imported by the caller, or the error says how."""
    file = tmp_path / "run_parts.py"
    file.write_text("LOADED = True")
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump({**tiny_values, "epochs": 1, "imports": ["run_parts.py"]}))
    run = train(path, tmp_path / "run")
    assert sys.modules.pop("run_parts").LOADED
    for read in (lambda: load_recipe(run), lambda: evaluate(run, pictures=False)):
        with pytest.raises(InputError, match=r"needs .*run_parts\.py.*--import .*run_parts\.py"):
            read()
        assert "run_parts" not in sys.modules
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    file.rename(moved / "run_parts.py")
    assert evaluate(run, pictures=False, imports=[moved / "run_parts.py"])
    train(load_recipe(run), run, resume=True)
    sys.modules.pop("run_parts")


@pytest.mark.usefixtures("quick")
def test_a_hostile_run_executes_nothing(tiny_recipe, tmp_path):
    run = train(tiny_recipe(epochs=1), tmp_path / "run")
    recorded = yaml.safe_load((run / "recipe.yaml").read_text())
    for name, message in (
        ("os:system", "Expected a protocol"),
        ("antigravity:Protocol", "'antigravity'"),
    ):
        recorded["data"]["protocol"] = name
        (run / "recipe.yaml").write_text(yaml.safe_dump(recorded))
        with pytest.raises(InputError, match=message):
            evaluate(run, pictures=False)
        with pytest.raises(InputError, match=message):
            train(load_recipe(run), run, resume=True)
    assert "antigravity" not in sys.modules


@pytest.mark.usefixtures("quick")
def test_a_protocol_object_is_passed_again(tiny_recipe, tiny_data, tmp_path):
    recipe = tiny_recipe(epochs=1, data={"protocol": "rooms", "batch_size": 2})
    protocol = create_protocol(str(tiny_data))
    run = train(recipe, tmp_path / "run", protocol=protocol)
    named = train(tiny_recipe(epochs=1), tmp_path / "named")
    assert all(torch.equal(value, weights(named)[key]) for key, value in weights(run).items())
    recorded = load_recipe(run)
    assert recorded.data.protocol == "object:taskprism.data.folder:FolderProtocol"
    message = "trained with a protocol object .*FolderProtocol.*protocol="
    with pytest.raises(InputError, match=message):
        evaluate(run, pictures=False)
    with pytest.raises(InputError, match=message):
        train(recorded, run, resume=True)
    assert evaluate(run, pictures=False, protocol=protocol)
    for again in (recorded, recipe):
        train(again, run, resume=True, protocol=protocol)


@pytest.mark.usefixtures("quick")
def test_a_model_object_brings_its_tasks(tiny_recipe, tiny_data, tmp_path):
    protocol = create_protocol(str(tiny_data))
    torch.manual_seed(5)
    model = create_model(
        "multi_task", [protocol.task("depth")], backbone="test_resnet", neck_channels=8
    )
    recipe = tiny_recipe(epochs=1)
    run = train(recipe, tmp_path / "run", protocol=protocol, model=model)
    recorded = load_recipe(run)
    assert recorded.model.name.startswith("object:taskprism.models")
    assert recorded.tasks == ["depth"]
    assert set(evaluate(run, pictures=False, protocol=protocol)) == {"depth"}
    with pytest.raises(InputError, match=r"trained with a model object .*model=\.\.\."):
        train(recorded, run, resume=True, protocol=protocol)
    train(recipe, run, resume=True, protocol=protocol, model=model)
    other = create_model("multi_task", {"normals": 3}, backbone="test_resnet", neck_channels=8)
    with pytest.raises(UnknownNameError, match="'normals'"):
        train(recipe, tmp_path / "other", protocol=protocol, model=other)
