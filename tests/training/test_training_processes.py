"""Two processes: the same scores as one, and training that keeps them in step."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import commands
from reference.run_files import log, weights
from taskprism.scoring.image_states import read_image_states
from taskprism.training import Reporter, evaluate, train

pytestmark = pytest.mark.slow


def in_two(function, *arguments):
    """Run ``function(*arguments)`` in two processes that know of each other."""
    commands.call(function, *arguments, processes=2)


def quiet_train(*arguments):
    train(*arguments, reporter=Reporter(quiet=True))


def test_evaluation_is_that_of_one_process(tiny_recipe, tmp_path):
    """Five images: the shares differ in length."""
    run = train(tiny_recipe(epochs=1), tmp_path / "run")
    one = evaluate(run, pictures=False)
    images = read_image_states(run)
    (run / "metrics.json").unlink()
    (run / "image_states.npz").unlink()
    in_two(evaluate, run, "test", "last", None, None, None, False)
    two = json.loads((run / "metrics.json").read_text())["metrics"]
    images_of_two = read_image_states(run)
    assert images_of_two.names == images.names
    for task, values in one.items():
        assert two[task] == pytest.approx(values, rel=1e-5), task
        for state, kept in images.states[task].items():  # alone or in batches, up to rounding
            np.testing.assert_allclose(images_of_two.states[task][state], kept, rtol=1e-5)


def test_training_keeps_in_step(tiny_recipe, tmp_path):
    """Deep supervision, accumulation and missing labels; both score the weights that are saved."""
    recipe = tiny_recipe(
        model={"name": "mti_net"}, auxiliary_tasks=["edge"], accumulate=2, clip_norm=1.0
    )
    in_two(quiet_train, recipe, tmp_path / "run")
    entries = log(tmp_path / "run")
    assert [e["event"] for e in entries] == ["train", "evaluate"] * 2
    assert all(v.isfinite().all() for v in weights(tmp_path / "run").values())
    scores = json.loads((tmp_path / "run" / "metrics.json").read_text())["metrics"]
    alone = evaluate(tmp_path / "run", pictures=False)
    for task, values in alone.items():
        assert scores[task] == pytest.approx(values, rel=1e-5), task


def test_two_half_batches_step_like_one_whole(tiny_recipe, tmp_path):
    """Without batch statistics the averaged gradient is that of the whole batch."""
    shared = {
        "model": {"backbone": "test_convnext"},
        "tasks": ["semseg"],
        "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.0},
        "epochs": 1,
    }
    train(tiny_recipe(**shared, data={"batch_size": 6}), tmp_path / "one")
    in_two(quiet_train, tiny_recipe(**shared, data={"batch_size": 3}), tmp_path / "two")
    assert [log(tmp_path / name)[0]["step"] for name in ("one", "two")] == [1, 1]
    for key, value in weights(tmp_path / "one").items():
        torch.testing.assert_close(weights(tmp_path / "two")[key], value, rtol=1e-4, atol=1e-6)
