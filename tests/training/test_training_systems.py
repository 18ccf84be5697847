"""Each system that is a choice of distillation learns from the rooms of its shipped recipe."""

from __future__ import annotations

import pytest
import torch

from taskprism.data.sample import collate
from taskprism.training import load_recipe
from taskprism.training.experiment import build_experiment

SIZE = (64, 64)
SYSTEMS = ["pad_net", "pap_net", "ctal", "ctal_multiscale", "concat", "tpim", "dense_mtl", "atrc"]


@pytest.mark.slow
@pytest.mark.parametrize("name", SYSTEMS)
def test_every_loss_falls(name: str) -> None:
    overrides = {
        "data.options.input_size": SIZE,
        "data.options.train_length": 4,
        "model.pretrained": False,
    }
    experiment = build_experiment(load_recipe(f"rooms/{name}", overrides))
    model, criterion = experiment.model.train(), experiment.criterion()
    protocol = experiment.protocol
    rooms = protocol.dataset("train", protocol.evaluation_transform())
    batch = collate([rooms[index] for index in range(4)], experiment.tasks)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    history = []
    for _ in range(15):
        predictions = model(model.normalise(batch.images))
        total, losses = criterion(predictions, batch.targets, batch.valid)
        history.append({task: loss.item() for task, loss in losses.per_task().items()})
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
    assert list(history[0]) == ["semseg", "depth", "normals", "edge"]
    for task, first in history[0].items():
        assert history[-1][task] < 0.9 * first, (task, [each[task] for each in history])


def test_a_model_of_one_size_gets_the_protocols() -> None:
    changes = {"data.options.input_size": SIZE, "model.pretrained": False}
    assert build_experiment(load_recipe("rooms/ctal", changes)).model.input_size == SIZE
    other = {**changes, "model.options.size": (32, 64)}
    assert build_experiment(load_recipe("rooms/ctal", other)).model.input_size == (32, 64)
