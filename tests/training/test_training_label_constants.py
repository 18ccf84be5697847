"""Class weights that come from the training labels are counted once and kept in checkpoints."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

from taskprism.data import Protocol, TransformedDataset, make_sample
from taskprism.models import create_model
from taskprism.progress import Reporter
from taskprism.tasks import create_task
from taskprism.training.run_directory import RunDirectory
from taskprism.training.trainer import Trainer


class Labels(Protocol):
    name = "labels"
    tasks = (create_task("semseg", 4, class_weights="balanced"),)
    input_size = (16, 16)

    def dataset(self, split, transform=None):
        generator = torch.Generator().manual_seed(0)
        images = torch.rand(3, 3, 16, 16, generator=generator)
        labels = [(3 * image[0].square()).long() for image in images]  # the last class never occurs
        labels[0][:4] = 255
        samples = [
            make_sample(name, image, {"semseg": label}, self.tasks)
            for name, image, label in zip("abc", images, labels, strict=True)
        ]
        return TransformedDataset(samples, transform)


def trainer(folder):
    options = {"backbone": "test_resnet", "neck_channels": 8}
    model = create_model("multi_task", Labels.tasks, **options)
    return Trainer(model, Labels(), folder, reporter=Reporter(quiet=True), epochs=3)


def test_balanced_class_weights_are_counted_once_and_resumed(tmp_path, monkeypatch):
    first = trainer(tmp_path / "run")
    first._epoch()
    first._save("last")
    samples = Labels().dataset("train")
    labels = [sample["targets"]["semseg"][sample["valid"]["semseg"]] for sample in samples]
    flat = torch.cat([label.as_subclass(torch.Tensor) for label in labels]).numpy()
    expected = compute_class_weight("balanced", classes=np.arange(3), y=flat)
    weights = first.learner.criterion.tasks["semseg"].class_weights
    assert weights == pytest.approx([*expected, 1.0])

    monkeypatch.setattr(type(first.experiment), "plain_training_images", None)  # not read again
    second = trainer(None)
    second.learner.restore(RunDirectory(tmp_path / "run"))
    second._set_label_statistics()
    assert second.learner.criterion.tasks["semseg"].class_weights == weights
