"""Class weights that come from the training labels are counted once and kept in checkpoints."""

from __future__ import annotations

import pytest
import torch

from taskprism.data import create_protocol
from taskprism.models import create_model
from taskprism.progress import Reporter
from taskprism.training.run_directory import RunDirectory
from taskprism.training.trainer import Trainer


@pytest.fixture
def rooms():
    return create_protocol(
        "rooms",
        tasks=["semseg"],
        task_options={"semseg": {"class_weights": "balanced"}},
        input_size=(32, 32),
        train_length=3,
        test_length=1,
    )


def trainer(protocol, folder):
    model = create_model("multi_task", protocol.tasks, backbone="test_resnet", neck_channels=8)
    return Trainer(model, protocol, folder, reporter=Reporter(quiet=True), epochs=1)


def test_balanced_class_weights_are_counted_once_and_resumed(rooms, tmp_path, monkeypatch):
    first = trainer(rooms, tmp_path / "run")
    first.train()
    task = rooms.task("semseg")
    plain = rooms.dataset("train", rooms.evaluation_transform())
    labels = torch.cat([s["targets"]["semseg"][s["valid"]["semseg"]] for s in plain])
    counts = torch.bincount(labels.as_subclass(torch.Tensor), minlength=task.channels)
    weights = torch.tensor(first.learner.criterion.tasks["semseg"].class_weights)
    mean = (weights * counts).sum() / counts.sum()  # over pixels
    assert mean == pytest.approx(1.0, abs=1e-6)
    products = (weights * counts)[counts > 0]
    assert products == pytest.approx(products.mean().expand_as(products), rel=1e-5)

    monkeypatch.setattr(first.experiment.__class__, "plain_training_images", None)
    second = trainer(rooms, None)
    second.learner.restore(RunDirectory(tmp_path / "run"))
    second._set_label_statistics()
    assert second.learner.criterion.tasks["semseg"].class_weights == tuple(
        first.learner.criterion.tasks["semseg"].class_weights
    )
