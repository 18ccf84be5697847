"""Constant baselines: the best constant prediction of each task.

Majority class, mean depth in meters, mean normal, one probability of an edge, mean albedo: each
task computes its constant from the labels of the training images
(:meth:`taskprism.tasks.Task.constant_output`). A network that is not better than this has learned
nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from taskprism.data.sample import Sample
from taskprism.errors import DataError
from taskprism.models.base import MultiTaskModel
from taskprism.models.predictions import Predictions
from taskprism.tasks.base import Task


class ConstantModel(MultiTaskModel):
    """A model without weights that predicts the same value at every pixel of every image.

    Args:
        tasks: Tasks to predict.
        outputs: Task name -> raw output ``(channels,)``.

    Example:
        >>> from taskprism.tasks import create_task
        >>> model = ConstantModel([create_task("depth")], {"depth": torch.tensor([2.5])})
        >>> model(torch.rand(1, 3, 4, 6))["depth"].shape
        torch.Size([1, 1, 4, 6])
    """

    name: ClassVar[str] = "trivial"

    def __init__(self, tasks: Sequence[Task], outputs: Mapping[str, Tensor]) -> None:
        super().__init__(tasks)
        self.outputs = {task.name: outputs[task.name].view(1, -1, 1, 1) for task in tasks}

    def forward(self, images: Tensor) -> Predictions:
        """The constants at the size of ``images``."""
        count, _, height, width = images.shape
        return Predictions(
            {
                name: output.to(images.device).expand(count, -1, height, width)
                for name, output in self.outputs.items()
            }
        )


def fit_constants(samples: Iterable[Sample], tasks: Sequence[Task]) -> ConstantModel:
    """Best constant prediction of each task for labeled images.

    Args:
        samples: Training images, each once, with the evaluation transform.
        tasks: Tasks to predict.

    Raises:
        DataError: A task has no label in any image.

    Example:
        >>> from taskprism.data import create_protocol
        >>> rooms = create_protocol("rooms", input_size=(32, 48), train_length=2)
        >>> samples = rooms.dataset("train", rooms.evaluation_transform())
        >>> model = fit_constants((samples[i] for i in range(2)), [rooms.task("depth")])
        >>> model(torch.rand(1, 3, 32, 48))["depth"].shape
        torch.Size([1, 1, 32, 48])
    """
    sums: dict[str, Tensor] = {}
    for sample in samples:
        for task in tasks:
            if task.name not in sample["targets"]:
                continue
            target = sample["targets"][task.name].as_subclass(Tensor)
            valid = sample["valid"][task.name].as_subclass(Tensor)
            if valid.any():
                statistics = task.target_statistics(target, valid)
                sums[task.name] = sums.get(task.name, torch.zeros_like(statistics)) + statistics
    missing = [task.name for task in tasks if task.name not in sums]
    if missing:
        raise DataError(
            f"No training image has a label of {', '.join(missing)}, so there is no constant "
            "prediction. Remove the task."
        )
    return ConstantModel(
        tasks, {task.name: task.constant_output(sums[task.name]) for task in tasks}
    )
