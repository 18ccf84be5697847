"""Runs that start from trained weights, train longer than planned, end early or call your code."""

from __future__ import annotations

import hashlib
import json
import re
import shutil

import pytest
import torch
import yaml
from torch.optim.lr_scheduler import OneCycleLR

import commands
import taskprism
from reference.run_files import log, weights
from taskprism.errors import CheckpointError, InputError, RecipeError
from taskprism.training import Callback, Reporter, evaluate, train
from taskprism.training.run_directory import TrainingState

pytestmark = pytest.mark.usefixtures("quick")


class Lines(Reporter):
    """Keeps the lines."""

    def __init__(self):
        super().__init__(quiet=True)
        self.lines = []

    def line(self, text):
        self.lines.append(text)


class StopIn(Callback):
    """Asks to stop like Ctrl-C, after a step."""

    def __init__(self, step):
        self.step = step

    def on_step_end(self, trainer, step):
        if step == self.step:
            trainer.stop.ask()


class Recorder(Callback):
    """Keeps what happened, and the weights at the start."""

    def __init__(self):
        self.events = []
        self.rates = []

    def on_fit_start(self, trainer):
        self.events.append("fit start")
        self.start = {n: v.clone() for n, v in trainer.learner.model.state_dict().items()}

    def on_epoch_start(self, trainer, epoch):
        self.events.append(f"epoch {epoch} start")

    def on_step_end(self, trainer, step):
        self.events.append(f"step {step}")
        self.rates.append(trainer.learner.optimizer.param_groups[-1]["lr"])

    def on_batch_end(self, trainer, batch, losses):
        assert set(losses) == {"total", "semseg", "depth"}
        assert not any(loss.requires_grad for loss in losses.values())
        self.events.append(f"batch of {len(batch)}")

    def on_evaluation_end(self, trainer, epoch, split, results):
        self.events.append(f"{split} {epoch}")
        results["depth"]["rmse"] = -1.0  # a copy

    def on_epoch_end(self, trainer, epoch, values):
        assert values["test/depth/rmse"] > 0
        self.events.append(f"epoch {epoch} end {sorted(values)[0]}")

    def on_fit_end(self, trainer):
        self.events.append("fit end")

    def state_dict(self):
        return {"events": list(self.events)}

    def load_state_dict(self, state):
        self.events = [*state["events"], "restored"]


@pytest.fixture(scope="module")
def trained(tiny_data, tmp_path_factory):
    """A finished run of two epochs with a constant rate, and its recipe."""
    recipe = taskprism.load_recipe(
        "rooms/multi_task",
        {
            "name": "tiny",
            "model": {"backbone": "test_resnet", "options": {"neck_channels": 8}},
            "data": {"protocol": str(tiny_data), "batch_size": 2, "options": {}},
            "tasks": ["semseg", "depth"],
            "optimizer": {"lr": 1e-3},
            "schedule": {"name": "constant"},
            "epochs": 2,
            "evaluate_every": 1,
        },
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("taskprism.training.scores.count_macs", lambda model, size: 1)
        patch.setattr("taskprism.training.run.write_pictures", lambda *arguments: [])
        folder = tmp_path_factory.mktemp("trained") / "run"
        recorder = Recorder()
        train(recipe, folder, reporter=Reporter(quiet=True), callbacks=[recorder])
    return folder, recipe, recorder


@pytest.fixture
def copied(trained, tmp_path):
    """A copy of the run that a test may change."""
    shutil.copytree(trained[0], tmp_path / "run")
    return tmp_path / "run"


def test_callbacks_are_called_in_order(trained):
    _, _, recorder = trained
    step = ["step {}", "batch of 2"]
    expected = ["fit start"]
    for epoch in (1, 2):
        expected += [f"epoch {epoch} start"]
        expected += [w.format(s + 3 * (epoch - 1)) for s in (1, 2, 3) for w in step]
        expected += [f"test {epoch}", f"epoch {epoch} end loss/depth"]
    assert recorder.events == [*expected, "fit end"]


def test_a_run_starts_from_another_and_resumes_without_it(trained, tiny_recipe, tmp_path):
    folder, _, _ = trained
    source = tmp_path / "source"
    shutil.copytree(folder, source)
    recipe = tiny_recipe(tasks=["depth", "edge"], init=str(source))
    recorder = Lines()
    first = _Start()
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "run", reporter=recorder, callbacks=[first, StopIn(2)])
    kept = weights(source)
    assert all(torch.equal(v, kept[n]) for n, v in first.start.items() if not n.count("heads.edge"))
    (table,) = [line for line in recorder.lines if line.startswith("Initial weights")]
    assert "head of edge" in table
    entry = json.loads((tmp_path / "run" / "manifest.json").read_text())["init"]
    content = (source / "checkpoints" / "last" / "model.safetensors").read_bytes()
    assert entry["sha256"] == hashlib.sha256(content).hexdigest()
    assert entry["parts"]["head of edge"]["taken"] == 0 < entry["parts"]["backbone"]["taken"]
    shutil.rmtree(source)
    again, reporter = _Start(), Lines()
    train(recipe, tmp_path / "run", resume=True, reporter=reporter, callbacks=[again])
    assert not any(line.startswith("Initial weights") for line in reporter.lines)
    assert any(not torch.equal(again.start[n], kept[n]) for n in kept if n in again.start)
    with pytest.raises(CheckpointError, match="no folder"):
        train(recipe, tmp_path / "new", reporter=Lines())


class _Start(Callback):
    def on_fit_start(self, trainer):
        self.start = {n: v.clone() for n, v in trainer.learner.model.state_dict().items()}


def longer(recipe, **changes):
    return recipe.model_copy(update=changes)


def test_an_extended_run_equals_a_longer_one_where_the_rate_is_constant(trained, copied, tmp_path):
    _, recipe, _ = trained
    reporter = Lines()
    train(longer(recipe, epochs=3), copied, resume=True, reporter=reporter)
    train(longer(recipe, epochs=3), tmp_path / "whole", reporter=Lines())
    extended, whole = weights(copied), weights(tmp_path / "whole")
    assert all(torch.equal(extended[name], whole[name]) for name in whole)
    assert log(copied) == log(tmp_path / "whole")
    scores = [json.loads((r / "metrics.json").read_text()) for r in (copied, tmp_path / "whole")]
    assert scores[0]["epoch"] == 3
    assert scores[0]["metrics"] == scores[1]["metrics"]
    before = json.loads((copied / "metrics_epoch_2.json").read_text())
    assert before["epoch"] == 2
    assert (copied / "image_states_epoch_2.npz").is_file()
    (line,) = [line for line in reporter.lines if line.startswith("Training 3 epochs instead of 2")]
    assert "lr at the start of epoch 2 (of 2): 0.001, of epoch 3: 0.001" in line
    changes = json.loads((copied / "manifest.json").read_text())["length_changes"]
    assert [(c["after_epoch"], c["epochs_before"], c["epochs"]) for c in changes] == [(2, 2, 3)]
    assert json.loads((copied / "manifest.json").read_text())["finished"]
    with pytest.raises(RecipeError, match=r"epoch 3 of .* is trained already; give 3"):
        train(longer(recipe, epochs=2), copied, resume=True, reporter=Lines())
    with pytest.raises(RecipeError, match=r"changed: optimizer\.lr"):
        other = recipe.optimizer.model_copy(update={"lr": 1.0})
        train(longer(recipe, epochs=4, optimizer=other), copied, resume=True, reporter=Lines())


def test_schedules_are_stretched_over_the_new_length(tiny_recipe, tmp_path):
    """poly by hand, one_cycle by PyTorch's scheduler for the whole length."""
    rates = {}
    for name in ("poly", "one_cycle"):
        recipe = tiny_recipe(schedule={"name": name}, epochs=1, evaluate_every=9)
        recorder = _Rates()
        train(recipe, tmp_path / name, reporter=Lines(), callbacks=[recorder])
        recipe = recipe.model_copy(update={"epochs": 3})
        train(recipe, tmp_path / name, resume=True, reporter=Lines(), callbacks=[recorder])
        rates[name] = recorder.rates
    assert rates["poly"][::3] == pytest.approx([1e-3, 1e-3 * (2 / 3) ** 0.9, 1e-3 * (1 / 3) ** 0.9])
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    options = {"div_factor": 25.0, "final_div_factor": 1e4, "cycle_momentum": False}
    schedule = OneCycleLR(optimizer, max_lr=1e-3, total_steps=9, pct_start=0.3, **options)
    expected = []
    for _ in range(9):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates["one_cycle"][3:] == pytest.approx(expected[3:], rel=1e-5)


class _Rates(Callback):
    def __init__(self):
        self.rates = []

    def on_step_end(self, trainer, step):
        self.rates.append(trainer.learner.optimizer.param_groups[-1]["lr"])


def never_better(recipe, **changes):
    settings = {"metric": "test/depth/rmse", "patience": 2, "min_delta": 1e6}
    stopping = type(recipe.early_stopping).model_validate(settings)
    return recipe.model_copy(update={"early_stopping": stopping, **changes})


def test_a_run_ends_early_scores_and_can_go_on(trained, tmp_path):
    """The first evaluation is the best; with a patience of 2, training ends after the third."""
    _, recipe, _ = trained
    run, reporter = tmp_path / "run", Lines()
    recipe = never_better(recipe, epochs=9)
    with pytest.raises(KeyboardInterrupt):  # in the second epoch
        train(recipe, run, reporter=Lines(), callbacks=[StopIn(4)])
    train(recipe, run, resume=True, reporter=reporter)
    assert any(
        re.match(r"Stopping after epoch 3: test/depth/rmse has not", x) for x in reporter.lines
    )
    assert [e["epoch"] for e in log(run) if e["event"] == "train"] == [1, 2, 3]
    assert json.loads((run / "metrics.json").read_text())["epoch"] == 3
    assert (run / "image_states.npz").is_file()
    kept = weights(run)
    reporter = Lines()
    train(recipe, run, resume=True, reporter=reporter)  # scores it again
    assert any(line.startswith("Training has ended after epoch 3") for line in reporter.lines)
    assert all(torch.equal(v, kept[n]) for n, v in weights(run).items())
    train(recipe.model_copy(update={"epochs": 8}), run, resume=True, reporter=Lines())
    assert [e["epoch"] for e in log(run) if e["event"] == "train"] == [1, 2, 3, 4, 5]
    assert json.loads((run / "metrics_epoch_3.json").read_text())["epoch"] == 3


def test_a_metric_that_is_not_measured_is_named(trained, tmp_path):
    _, recipe, _ = trained
    stopping = recipe.early_stopping.model_copy(update={"metric": "val/depth/rmse"})
    recipe = recipe.model_copy(update={"early_stopping": stopping})
    with pytest.raises(RecipeError, match=r"early_stopping.metric.*loss/total.*test/depth/rmse"):
        train(recipe, tmp_path / "run", reporter=Lines())
    assert not (tmp_path / "run" / "recipe.yaml").exists()


def test_the_state_of_a_callback_is_restored(trained, copied):
    _, recipe, recorder = trained
    again = Recorder()
    train(longer(recipe, epochs=3), copied, resume=True, reporter=Lines(), callbacks=[again])
    saved = recorder.events[:-1]  # the last checkpoint is before the end
    assert again.events[: len(saved) + 1] == [*saved, "restored"]
    reporter = Lines()
    train(longer(recipe, epochs=3), copied, resume=True, reporter=reporter)
    assert any("state of the callback" in line and "Recorder" in line for line in reporter.lines)


def test_a_state_that_cannot_be_read_back_is_refused(trained, tmp_path):
    class Bad(Callback):
        def state_dict(self):
            return {"self": self}

    _, recipe, _ = trained
    with pytest.raises(InputError, match="cannot be saved"):
        train(recipe, tmp_path / "run", reporter=Lines(), callbacks=[Bad()])
    with pytest.raises(InputError, match="classes derived from"):
        train(recipe, tmp_path / "new", reporter=Lines(), callbacks=[print])


def test_recipes_name_callbacks_that_they_import(tiny_values, tmp_path):
    module = tmp_path / "my_callbacks.py"
    module.write_text(
        "from taskprism.training import Callback\n"
        "class Once(Callback):\n"
        "    def on_epoch_end(self, trainer, epoch, values):\n"
        "        trainer.request_stop('one is enough')\n"
    )
    own = {"imports": [module.name], "callbacks": ["my_callbacks:Once"], "epochs": 5}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(tiny_values | own))
    run = train(tmp_path / "recipe.yaml", tmp_path / "run", reporter=Lines())
    assert TrainingState.load(run / "checkpoints" / "last").ended == "one is enough"
    code = "import sys; from taskprism.training import evaluate; evaluate(sys.argv[1])"
    done = commands.run_python(code, run, status=1)
    assert "my_callbacks" in done.errors
    assert "import" in done.errors


def test_a_frozen_backbone_stays_as_it_was_through_resume(tiny_recipe, tmp_path):
    """Moving average, statistics of batch norm and all; the rest is trained."""
    frozen = {"trainable": "none"}
    recipe = tiny_recipe(backbone=frozen, ema_decay=0.5, optimizer={"layer_decay": 0.5})
    start, reporter = _Start(), Lines()
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "run", reporter=reporter, callbacks=[start, StopIn(2)])
    train(recipe, tmp_path / "run", resume=True, reporter=Lines())
    after = weights(tmp_path / "run")
    for name, value in start.start.items():
        if name.startswith("backbone.trunk"):
            assert torch.equal(after[name], value), name
    assert not torch.equal(
        after["heads.depth.predict.weight"], start.start["heads.depth.predict.weight"]
    )
    assert any(line.startswith("Training 0.00 of 0.37 M in backbone") for line in reporter.lines)
    assert evaluate(tmp_path / "run", reporter=Lines(), pictures=False)["depth"]["rmse"] > 0


class _AskInSecond(Callback):
    """Asks in one process only."""

    def on_epoch_end(self, trainer, epoch, values):
        if trainer.accelerator.process_index == 1:
            trainer.request_stop("the second process asks")


def train_in_two(recipe, folder):
    train(recipe, folder, reporter=Reporter(quiet=True), callbacks=[_AskInSecond()])


@pytest.mark.slow
def test_processes_end_together_and_freeze_alike(tiny_recipe, tmp_path):
    recipe = tiny_recipe(backbone={"trainable": "last:1"}, epochs=4, evaluate_every=1)
    commands.call(train_in_two, recipe, tmp_path / "run", processes=2)
    assert [e["epoch"] for e in log(tmp_path / "run") if e["event"] == "train"] == [1]
    state = TrainingState.load(tmp_path / "run" / "checkpoints" / "last")
    assert state.position.epoch == 1
    assert state.ended
