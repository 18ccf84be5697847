"""A step whose loss or gradient is not finite leaves no trace but a count."""

import json
import math
from contextlib import contextmanager

import pytest
import torch
from accelerate import Accelerator

from reference.run_files import log
from taskprism.errors import DivergenceError
from taskprism.losses import FixedWeights, register_balancer
from taskprism.registry import temporary_parts
from taskprism.tasks import create_task
from taskprism.training import train
from taskprism.training.run_directory import TrainingState
from taskprism.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def break_loss(monkeypatch):
    """Let chosen calls of the loss of depth return a factor times the loss."""

    def break_calls(calls, factor=math.nan):
        kind = type(create_task("depth"))
        loss, count = kind.loss, iter(range(10_000))

        def breaking(self, output, target, valid):
            value = loss(self, output, target, valid)
            return value * factor if next(count) in calls else value

        monkeypatch.setattr(kind, "loss", breaking)

    return break_calls


@pytest.fixture
def stop_after(monkeypatch):
    """Ask a run to stop after so many batches."""

    @contextmanager
    def patch(batches):
        train_batch, done = Trainer._train_batch, iter(range(1, 100))

        def counting(self, *arguments):
            train_batch(self, *arguments)
            if next(done) == batches:
                self.stop.ask()

        with monkeypatch.context() as context:
            context.setattr(Trainer, "_train_batch", counting)
            yield

    return patch


@pytest.fixture
def states(monkeypatch):
    """State of network, optimizer and moving average before and after each batch."""
    found = []
    train_batch = Trainer._train_batch

    def copy(trainer):
        learner = trainer.learner
        values = dict(learner.network.state_dict())
        values |= {
            f"{index}/{key}": value
            for index, state in learner.optimizer.state_dict()["state"].items()
            for key, value in state.items()
        }
        average = {} if learner.average is None else learner.average.state_dict()
        values |= {f"average/{key}": value for key, value in average.items()}
        return {key: value.clone() for key, value in values.items()}

    def recording(self, *arguments):
        before = copy(self)
        train_batch(self, *arguments)
        found.append((before, copy(self)))

    monkeypatch.setattr(Trainer, "_train_batch", recording)
    return found


class Moving(FixedWeights):
    """A balancing that learns a parameter and whose buffers move in every pass and step."""

    def __init__(self, weights):
        super().__init__(weights)
        self.factor = torch.nn.Parameter(torch.ones(()))
        self.register_buffer("passes", torch.zeros(()))
        self.register_buffer("steps", torch.zeros(()))

    def forward(self, losses):
        self.passes = self.passes + 1
        return super().forward(losses) * self.factor

    def finish_step(self, losses):
        self.steps += 1


def unchanged(pair):
    before, after = pair
    return before.keys() == after.keys() and all(
        torch.equal(value, after[key]) for key, value in before.items()
    )


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_skipped_step_changes_nothing_but_its_count(
    tiny_recipe, tmp_path, monkeypatch, break_loss, states, what
):
    """Neither weights, running statistics, balancing and optimizer nor the moving average."""
    if what == "loss":
        break_loss({2, 4, 5})
    else:
        clip, count = Accelerator.clip_grad_norm_, iter(range(100))

        def breaking(self, *arguments):
            norm = clip(self, *arguments)
            return norm * math.inf if next(count) in {2, 4, 5} else norm

        monkeypatch.setattr(Accelerator, "clip_grad_norm_", breaking)
    recipe = tiny_recipe(
        loss={"balancing": "moving"}, ema_decay=0.5, clip_norm=1.0, evaluate_every=2
    )
    with temporary_parts():
        register_balancer("moving")(Moving)
        run = train(recipe, tmp_path / "run")
    assert [number for number, pair in enumerate(states) if unchanged(pair)] == [2, 4, 5]
    trained = [entry for entry in log(run) if entry["event"] == "train"]
    assert [entry["skipped_steps"] for entry in trained] == [1, 2], "3 steps are an epoch"
    assert [entry["step"] for entry in trained] == [2, 3]
    assert all(math.isfinite(value) for value in trained[-1]["losses"].values())
    assert json.loads((run / "manifest.json").read_text())["skipped_steps"] == 3


def test_one_step_too_many_stops_the_run(tiny_recipe, tmp_path, break_loss, stop_after):
    """Steps in a row count across a stop."""
    break_loss({1, 2, 3})
    recipe = tiny_recipe(max_skipped_steps=2)
    with pytest.raises(KeyboardInterrupt), stop_after(2):
        train(recipe, tmp_path / "run")
    message = r"loss is nan for task\(s\) depth on the images .*, after 2 skipped steps in a row"
    with pytest.raises(DivergenceError, match=message):
        train(recipe, tmp_path / "run", resume=True)


def test_a_group_of_batches_is_skipped_as_a_whole(tiny_recipe, tmp_path, break_loss, states):
    """The second batch of three is not finite; no part of the first is left."""
    break_loss({1})
    run = train(tiny_recipe(accumulate=3, epochs=2, evaluate_every=2), tmp_path / "run")
    assert len(states) == 2 + 3, "the third batch of the first epoch is left out"
    assert unchanged((states[0][0], states[1][1]))
    trained = [entry for entry in log(run) if entry["event"] == "train"]
    assert [(entry["step"], entry["skipped_steps"]) for entry in trained] == [(0, 1), (1, 0)]


def test_skips_are_resumed(tiny_recipe, tmp_path, break_loss, stop_after):
    break_loss({0})
    with pytest.raises(KeyboardInterrupt), stop_after(2):
        train(tiny_recipe(), tmp_path / "run")
    state = TrainingState.load(tmp_path / "run" / "checkpoints" / "last")
    assert state.skipped == {"total": 1, "in_row": 0, "in_epoch": 1}
    train(tiny_recipe(), tmp_path / "run", resume=True)
    assert [e["skipped_steps"] for e in log(tmp_path / "run") if e["event"] == "train"] == [1, 0]
