"""Constants of losses that come from all training labels, such as balanced class weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from accelerate import Accelerator
from torch import Tensor

from taskprism.data.protocol import SizedDataset
from taskprism.errors import TaskprismError
from taskprism.progress import Reporter
from taskprism.tasks.base import Task
from taskprism.training.feeding import seeded


def sum_label_statistics(
    images: SizedDataset,
    tasks: Sequence[Task],
    accelerator: Accelerator,
    reporter: Reporter,
    skip_bad: bool = False,
) -> dict[str, Tensor]:
    """Sum of :meth:`~taskprism.tasks.Task.target_statistics` over the labels of all images.

    Every process reads its share of the images; the result is the same in all of them.

    Args:
        images: Training images without augmentation.
        tasks: Tasks whose labels are read.
        accelerator: Connects the processes.
        reporter: Shows progress.
        skip_bad: Leave out images that cannot be read, instead of raising their error.

    Returns:
        Task name -> ``(K,)`` float64.

    Raises:
        TaskprismError: A file cannot be read.

    Example:
        >>> from taskprism.data import create_protocol
        >>> rooms = create_protocol("rooms", input_size=(32, 32), train_length=1)
        >>> tasks = [rooms.task("semseg")]
        >>> images, reporter = rooms.dataset("train"), Reporter(quiet=True)
        >>> int(sum_label_statistics(images, tasks, Accelerator(), reporter)["semseg"].sum())
        1024
    """
    mine = range(accelerator.process_index, len(images), accelerator.num_processes)
    sums = {task.name: _empty(task) for task in tasks}
    with seeded(0):  # data may draw random numbers
        for index in reporter.track(mine, "counting labels", len(mine)):
            try:
                sample = images[index]
            except TaskprismError:
                if not skip_bad:
                    raise
                continue
            for task in tasks:
                if task.name in sample["targets"]:
                    target = sample["targets"][task.name].as_subclass(Tensor)
                    valid = sample["valid"][task.name].as_subclass(Tensor)
                    sums[task.name] += task.target_statistics(target, valid)
    if accelerator.num_processes > 1:
        for name, values in sums.items():
            total = values.to(accelerator.device)
            dist.all_reduce(total)
            sums[name] = total.cpu()
    return sums


def _empty(task: Task) -> Tensor:
    """Statistics of no label."""
    target = task.empty_target(1, 1).as_subclass(Tensor)
    return task.target_statistics(target, torch.zeros(1, 1, 1, dtype=torch.bool)).double()
