"""Stopping and going on changes no number, wherever a run is stopped."""

import json

import pytest
import torch

from reference.run_files import log, weights
from taskprism.training import train
from taskprism.training.run_directory import TrainingState
from taskprism.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("quick")


def assert_same_run(a, b):
    assert log(a) == log(b)
    for name in ("last", "best"):
        first, second = weights(a, name), weights(b, name)
        assert first.keys() == second.keys()
        assert all(torch.equal(first[key], second[key]) for key in first), name
    metrics = [json.loads((run / "metrics.json").read_text()) for run in (a, b)]
    assert metrics[0] == metrics[1]
    states = [TrainingState.load(run / "checkpoints" / "last") for run in (a, b)]
    assert states[0].position == states[1].position
    moments = [state.optimizer["state"] for state in states]
    for index, values in moments[0].items():
        assert all(torch.equal(values[k], moments[1][index][k]) for k in values)


@pytest.fixture
def stop_after():
    """Ask a run to stop after so many batches, as Ctrl-C would."""

    def patch(monkeypatch, batches):
        done = 0
        descend = Trainer._train_batch

        def counting(self, *args):
            nonlocal done
            descend(self, *args)
            done += 1
            if done == batches:
                self.stop.ask()

        monkeypatch.setattr(Trainer, "_train_batch", counting)

    return patch


def test_the_same_seed_gives_the_same_run(tiny_recipe, tmp_path):
    a, b = (train(tiny_recipe(), tmp_path / name) for name in "ab")
    assert_same_run(a, b)
    other = train(tiny_recipe(seed=1), tmp_path / "c")
    assert log(other)[0]["losses"] != log(a)[0]["losses"]


RECIPES = {
    "plain": {},
    "everything": {
        "model": {"name": "mti_net"},
        "auxiliary_tasks": ["edge"],
        "accumulate": 2,
        "clip_norm": 1.0,
        "ema_decay": 0.9,
        "optimizer": {"name": "sgd", "lr": 1e-2, "nesterov": True},
        "schedule": {"name": "cosine", "warmup_epochs": 1},
    },
}


@pytest.mark.parametrize(
    ("kind", "batches"), [("plain", 1), ("plain", 3), ("plain", 5), ("everything", 1)]
)
def test_stopped_and_resumed_is_bit_equal(
    tiny_recipe, tmp_path, monkeypatch, stop_after, kind, batches
):
    recipe = tiny_recipe(**RECIPES[kind])
    with monkeypatch.context() as patch:
        stop_after(patch, batches)
        with pytest.raises(KeyboardInterrupt, match=r"Resume with: taskprism train .* --resume"):
            train(recipe, tmp_path / "stopped")
    assert not (tmp_path / "stopped" / "metrics.json").exists()
    resumed = train(recipe, tmp_path / "stopped", resume=True)
    whole = train(recipe, tmp_path / "whole")
    assert_same_run(resumed, whole)
    manifest = json.loads((resumed / "manifest.json").read_text())
    assert len(manifest["resumed"]) == 1


def test_stopped_twice_amid_one_epoch(tiny_recipe, tmp_path, monkeypatch, stop_after):
    recipe = tiny_recipe(evaluate_every=2)
    for resume in (False, True):
        with monkeypatch.context() as patch:
            stop_after(patch, 1)
            with pytest.raises(KeyboardInterrupt):
                train(recipe, tmp_path / "stopped", resume=resume)
    train(recipe, tmp_path / "stopped", resume=True)
    assert_same_run(tmp_path / "stopped", train(recipe, tmp_path / "whole"))


def test_stopped_amid_an_evaluation(tiny_recipe, tmp_path, monkeypatch):
    recipe = tiny_recipe()
    evaluate_split = Trainer.evaluate

    def asking(self, split, is_last=False):
        self.stop.ask()
        return evaluate_split(self, split, is_last)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "evaluate", asking)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, tmp_path / "stopped")
    assert log(tmp_path / "stopped") == []
    train(recipe, tmp_path / "stopped", resume=True)
    assert_same_run(tmp_path / "stopped", train(recipe, tmp_path / "whole"))


def test_killed_between_log_and_checkpoint(tiny_recipe, tmp_path, monkeypatch):
    """The log forgets what the checkpoint does not know of."""
    recipe = tiny_recipe()

    class Killed(BaseException):
        pass

    def die(self, run, name):
        raise Killed

    run = tmp_path / "killed"
    original = Trainer._finish_epoch

    def second_dies(self, started):
        if self.learner.position.epoch == 1:
            monkeypatch.setattr(type(self.learner), "save", die)
        original(self, started)

    with monkeypatch.context():
        monkeypatch.setattr(Trainer, "_finish_epoch", second_dies)
        with pytest.raises(Killed):
            train(recipe, run)
    monkeypatch.undo()
    assert [e["epoch"] for e in log(run)] == [1, 1, 2, 2]
    train(recipe, run, resume=True)
    assert_same_run(run, train(recipe, tmp_path / "whole"))


def test_resuming_a_finished_run_only_scores_it(tiny_recipe, tmp_path):
    run = train(tiny_recipe(), tmp_path / "run")
    before = log(run), (run / "metrics.json").read_text()
    (run / "metrics.json").unlink()
    train(tiny_recipe(), run, resume=True)
    assert (log(run), (run / "metrics.json").read_text()) == before
