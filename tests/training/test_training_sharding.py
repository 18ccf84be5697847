"""Divided among two processes (FSDP), a model trains as if it were not."""

from __future__ import annotations

import shutil
from contextlib import suppress
from types import SimpleNamespace

import pytest
import torch
from torch.distributed.tensor import DTensor

import commands
from reference.run_files import log, weights
from taskprism.errors import RecipeError
from taskprism.recipes.files import validate
from taskprism.training import Reporter, Trainer, evaluate, sharding, train
from taskprism.training.experiment import build_experiment
from taskprism.training.run_directory import TrainingState


def train_divided(values, folder):
    """Runs without FSDP, with it, and stopped and resumed with it; returns the share of a process.

    All in one start of two processes.
    """
    sharding._BLOCK_PARAMETERS = 100
    quiet = Reporter(quiet=True)
    recipe = validate(values | {"fsdp": True}, source="test")
    train(validate(values, source="test"), folder / "ddp", reporter=quiet)
    train(recipe, folder / "fsdp", reporter=quiet)

    train_batch, done = Trainer._train_batch, []

    def counting(self, *arguments):
        train_batch(self, *arguments)
        done.append(1)
        if len(done) == 2:
            self.stop.ask()

    Trainer._train_batch = counting
    with suppress(KeyboardInterrupt):
        train(recipe, folder / "stopped", reporter=quiet)
    Trainer._train_batch = train_batch
    experiment = build_experiment(recipe)
    trainer = Trainer(experiment.model, experiment.protocol, recipe=recipe, reporter=quiet)
    if trainer.accelerator.is_main_process:
        shutil.copytree(folder / "stopped", folder / "alone")
    train(recipe, folder / "stopped", resume=True, reporter=quiet)

    parameters = list(trainer.learner.model.parameters())
    assert all(isinstance(p, DTensor) for p in parameters if p.ndim)
    kept = sum(p.to_local().numel() for p in parameters if isinstance(p, DTensor))
    return len(done), kept / sum(p.numel() for p in parameters)


@pytest.mark.slow
def test_divided_training_is_that_of_whole_models(tiny_values, tmp_path):
    """Step, save, load, resume with and without; the checkpoints have the usual format."""
    values = tiny_values | {
        "optimizer": {"name": "sgd", "lr": 0.01},
        "clip_norm": 0.5,
        "epochs": 3,
        "evaluate_every": 3,
    }
    done, share = commands.call(train_divided, values, tmp_path, processes=2, timeout=300)[0]
    assert done == 2
    assert 0.4 < share < 0.6
    expected = weights(tmp_path / "ddp")
    divided = weights(tmp_path / "fsdp")
    assert divided.keys() == expected.keys()
    for key, value in expected.items():  # another memory layout sums in another order
        torch.testing.assert_close(divided[key], value, rtol=1e-3, atol=1e-4)
    resumed = weights(tmp_path / "stopped")
    assert all(torch.equal(resumed[key], value) for key, value in divided.items())
    assert log(tmp_path / "stopped") == log(tmp_path / "fsdp")
    states = [
        TrainingState.load(tmp_path / name / "checkpoints" / "last").optimizer["state"]
        for name in ("ddp", "fsdp")
    ]
    assert states[0].keys() == states[1].keys()
    for index, entry in states[0].items():
        torch.testing.assert_close(
            states[1][index]["momentum_buffer"], entry["momentum_buffer"], rtol=1e-2, atol=1e-3
        )
    alone = train(validate(values, source="test"), tmp_path / "alone", resume=True)
    scores = evaluate(alone, pictures=False)
    assert scores.keys() == {"semseg", "depth"}


def test_one_process_has_nothing_to_divide(tiny_recipe, tmp_path):
    with pytest.raises(RecipeError, match="key 'fsdp': there is one process"):
        train(tiny_recipe(fsdp=True), tmp_path / "run")


@pytest.mark.parametrize(
    ("key", "changes"),
    [
        ("ema_decay", {"ema_decay": 0.9}),
        ("precision", {"precision": "fp16"}),
        ("stepping.mode", {"stepping": {"mode": "per_task"}}),
    ],
)
def test_what_cannot_be_combined_is_refused(tiny_recipe, key, changes):
    several = SimpleNamespace(num_processes=2)
    with pytest.raises(RecipeError, match=f"key '{key}'"):
        sharding.check_sharding(tiny_recipe(fsdp=True, **changes), several, torch.nn.Identity())
