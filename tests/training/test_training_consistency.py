"""Training with a consistency loss on data with one label per image."""

import json

import pytest
import torch

from reference.run_files import log, weights
from taskprism import load
from taskprism.errors import RecipeError, UnknownNameError
from taskprism.training import Reporter, train
from taskprism.training.run_directory import TrainingState
from taskprism.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("quick")
MTPSL = {
    "data": {"labels": "one", "options": {"input_size": [32, 64]}},
    "consistency": {"name": "mtpsl", "options": {"width": 1}},
    "tasks": ["semseg", "depth", "edge"],
    "epochs": 1,
}


@pytest.fixture
def partial_recipe(tiny_recipe):
    def make(**changes):
        data = {**MTPSL["data"], **changes.pop("data", {})}
        return tiny_recipe(**{**MTPSL, "data": data, **changes})

    return make


@pytest.mark.parametrize(
    "model",
    [
        {"name": "multi_task"},
        {"name": "mti_net", "backbone": "test_resnet"},
    ],
    ids=lambda model: model["name"],
)
def test_training_on_one_label_per_image(partial_recipe, tmp_path, model):
    """The loss changes what is learned, the mapping network learns too, and is not in the model."""
    run = train(partial_recipe(model=model), tmp_path / "run")
    (entry,) = (e for e in log(run) if e["event"] == "train")
    assert 0 < entry["consistency_loss"] < 6
    state = TrainingState.load(run / "checkpoints" / "last").consistency
    affine = [values for key, values in state.items() if key.endswith("gamma")]
    assert len(affine) == 13 and not all((values == 1).all() for values in affine)
    assert not any("mapping" in key for key in weights(run))
    assert "consistency" not in json.loads((run / "checkpoints/last/config.json").read_text())
    load(run)  # a saved model is complete without it
    plain = train(partial_recipe(model=model, consistency={"name": None}), tmp_path / "plain")
    assert any(not torch.equal(weights(run)[k], v) for k, v in weights(plain).items())
    assert "consistency_loss" not in log(plain)[0]


def test_resuming_is_bit_equal(partial_recipe, tmp_path, monkeypatch):
    recipe = partial_recipe(epochs=2)
    whole = train(recipe, tmp_path / "whole")
    descend = Trainer._train_batch
    with monkeypatch.context() as patch:

        def once(self, *arguments):
            descend(self, *arguments)
            self.stop.ask()

        patch.setattr(Trainer, "_train_batch", once)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, tmp_path / "stopped")
    stopped = train(recipe, tmp_path / "stopped", resume=True)
    assert log(stopped) == log(whole)
    assert all(torch.equal(weights(stopped)[k], v) for k, v in weights(whole).items())
    states = [TrainingState.load(run / "checkpoints/last").consistency for run in (whole, stopped)]
    assert all(torch.equal(states[1][key], values) for key, values in states[0].items())


def test_learning_rates_of_the_mapping_network(partial_recipe, tmp_path):
    recipe = partial_recipe(consistency={"name": "mtpsl", "options": {"width": 1, "lr_factor": 3}})
    recipe = recipe.model_copy(update={"epochs": 1})
    run = train(recipe, tmp_path / "run")
    groups = TrainingState.load(run / "checkpoints/last").optimizer["param_groups"]
    rates = sorted({round(group["base_lr"] / 1e-3, 6) for group in groups})
    assert rates == [1, 3, 10]
    assert groups[-1]["base_lr"] == 1e-3  # what the log shows is the rate of the heads


def test_labels_are_kept_by_the_recipe(partial_recipe, tmp_path, capsys):
    """Another seed of the run keeps the same labels; another labels_seed keeps others."""

    def labeled(**changes):
        from taskprism.training.experiment import build_experiment

        images = build_experiment(partial_recipe(**changes)).training_images()
        return [tuple(sample["targets"]) for sample in images]

    kept = labeled()
    assert {len(each) for each in kept} == {1}
    assert labeled(seed=1) == kept
    assert labeled(data={"labels_seed": 3}) != kept
    assert max(len(each) for each in labeled(data={"labels": "all"})) == 3
    file = tmp_path / "labels.pth"
    torch.save({"labels_weights": torch.eye(3)[torch.arange(7) % 3]}, file)
    chosen = labeled(data={"labels": str(file), "labels_tasks": ["depth", "semseg", "edge"]})
    assert chosen[0] == ("depth",) and chosen[1] == ("semseg",)
    recipe = partial_recipe(consistency={"name": None})
    train(recipe, tmp_path / "run", reporter=Reporter())
    assert "Keeping one label of each training image, drawn with seed 0." in capsys.readouterr().err


def test_what_cannot_be_trained(partial_recipe, tmp_path):
    with pytest.raises(UnknownNameError, match="mtpsl"):
        train(partial_recipe(consistency={"name": "mtspl"}), tmp_path / "a")
    with pytest.raises(RecipeError, match=r"consistency\.name"):
        train(
            partial_recipe(
                model={"name": "astmt", "backbone": "se_resnet14_quarter", "options": {}},
                stepping={"mode": "per_task"},
            ),
            tmp_path / "b",
        )
    with pytest.raises(UnknownNameError, match="depht"):
        train(partial_recipe(data={"labels_tasks": ["depht"]}), tmp_path / "c")
