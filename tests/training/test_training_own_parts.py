"""Runs that need code from outside the package: imports of a recipe, and objects."""

import sys

import pytest
import torch
import yaml
from torch import nn

from reference.run_files import weights
from taskprism.data import create_protocol
from taskprism.errors import CheckpointError, InputError, UnknownNameError
from taskprism.losses import Balancing
from taskprism.models import create_model
from taskprism.training import Trainer, evaluate, load_recipe, train
from taskprism.training.run_directory import TrainingState

PARTS = "LOADED = True"


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    """A recipe that imports a file in the same folder; the module is forgotten afterwards."""
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "own_parts.py").write_text(PARTS)
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("extends: rooms/multi_task\nimports: [parts/own_parts.py]")
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
def test_a_hostile_run_executes_nothing(tiny_run):
    run = tiny_run
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
    scores = evaluate(run, pictures=False, protocol=protocol)
    assert set(scores) == {"depth"}
    untrained = create_model(
        "multi_task", [protocol.task("depth")], backbone="test_resnet", neck_channels=8
    )
    before = {key: value.clone() for key, value in untrained.state_dict().items()}
    assert evaluate(run, pictures=False, protocol=protocol, model=untrained) == scores
    assert all(torch.equal(value, before[key]) for key, value in untrained.state_dict().items())
    other = create_model("multi_task", {"normals": 3}, backbone="test_resnet", neck_channels=8)
    with pytest.raises(CheckpointError, match="does not fit the model"):
        evaluate(run, pictures=False, protocol=protocol, model=other)
    with pytest.raises(InputError, match=r"trained with a model object .*model=\.\.\."):
        train(recorded, run, resume=True, protocol=protocol)
    train(recipe, run, resume=True, protocol=protocol, model=model)
    with pytest.raises(UnknownNameError, match="'normals'"):
        train(recipe, tmp_path / "other", protocol=protocol, model=other)


class Learned(Balancing):
    """Homoscedastic uncertainty in small: one learned number per task."""

    name = "learned_test"

    def __init__(self, weights, start=0.0):
        super().__init__()
        self.logs = nn.ParameterDict({k: nn.Parameter(torch.tensor(start)) for k in weights})

    def forward(self, losses):
        return sum(loss * (-self.logs[k]).exp() + self.logs[k] for k, loss in losses.items())


@pytest.mark.usefixtures("quick")
def test_an_own_balancer_is_trained_and_resumed_exactly(tiny_recipe, tmp_path, monkeypatch):
    loss = {"balancing": f"{__name__}:Learned", "balancing_options": {"start": 0.5}}
    recipe = tiny_recipe(loss=loss)
    whole = train(recipe, tmp_path / "whole")
    train_batch, calls = Trainer._train_batch, []

    def stopping(self, *args):
        train_batch(self, *args)
        calls.append(self.stop.ask() if len(calls) == 3 else None)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_train_batch", stopping)
        with pytest.raises(KeyboardInterrupt, match="Resume with: taskprism train"):
            train(recipe, tmp_path / "stopped")
    resumed = train(load_recipe(tmp_path / "stopped"), tmp_path / "stopped", resume=True)
    states = [TrainingState.load(run / "checkpoints" / "last") for run in (whole, resumed)]
    first, second = (state.balancing for state in states)
    assert set(first) == {"logs.semseg", "logs.depth"}
    assert all(value != 0.5 and value == second[key] for key, value in first.items())
    assert all(torch.equal(value, weights(resumed)[key]) for key, value in weights(whole).items())
    with pytest.raises(UnknownNameError, match=r"'stat'.*'start'"):
        train(tiny_recipe(loss={**loss, "balancing_options": {"stat": 1}}), tmp_path / "wrong")
