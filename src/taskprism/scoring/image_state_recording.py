"""Collect the metrics' states of each image while a split is scored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, zip_longest
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed
from torchmetrics import MetricCollection
from torchmetrics.utilities import dim_zero_sum

from taskprism.scoring.image_states import ImageStates
from taskprism.tasks.base import Task

#: Numbers per image beyond which a metric's states are not kept: a histogram of angles would take
#: gigabytes for a split of a thousand images.
LARGEST_STATE = 2**16

_Image = dict[str, dict[str, np.ndarray]]  # task -> state -> value


class ImageStateRecorder:
    """Keeps, per image, the states of each task's metrics, but for those too large to keep.

    The state of an image depends on this image alone, not on its batch or process. A task of which
    some metric is no sum over images has no states.

    Args:
        tasks: Main tasks of the model that is scored.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._tasks = {task.name: task for task in tasks if _adds_up(task.metrics())}
        self._kept = {name: _small_states(task.metrics()) for name, task in self._tasks.items()}
        self._names: list[str] = []
        self._images: list[_Image] = []

    def add_images(self, names: Sequence[str]) -> None:
        """Begin a batch of the images ``names``; each task may :meth:`update` for it once."""
        self._names.extend(names)
        self._images.extend({} for _ in names)

    def update(
        self,
        task: Task,
        metrics: MetricCollection,
        output: Tensor,
        target: Tensor,
        valid: Tensor,
    ) -> None:
        """Add the current batch to ``metrics``, image by image, and keep what each image adds.

        Args:
            task: Whose.
            metrics: The task's.
            output: Raw output ``(B, channels, H, W)`` at the target's size.
            target: ``(B, target_channels, H, W)``.
            valid: Boolean ``(B, 1, H, W)``.
        """
        if task.name not in self._tasks:
            task.update_metrics(metrics, output, target, valid)
            return
        keys, rows = self._kept[task.name], []
        for image in range(len(output)):
            before = _states(metrics)
            metrics.reset()  # so that the states are those of this image, to the last bit
            part = slice(image, image + 1)
            task.update_metrics(metrics, output[part], target[part], valid[part])
            added = _states(metrics)
            rows.append({state: added[key][state] for state, key in keys.items()})
            for key, metric in metrics.items(copy_state=False):
                for state, value in added[key].items():
                    setattr(metric, state, before[key][state] + value)
        for state in keys:
            values = torch.stack([row[state] for row in rows]).cpu().numpy()  # one copy per batch
            for image, value in zip(self._images[-len(output) :], values, strict=True):
                image.setdefault(task.name, {})[state] = value

    def gathered(self) -> ImageStates:
        """States of all images in the order of the split, the same in every process.

        Processes take turns in a split, see
        :func:`~taskprism.training.feeding.evaluation_loader`.
        """
        shares = _gather((self._names, self._images))
        names = tuple(_in_turn(names for names, _ in shares))
        images: list[_Image] = list(_in_turn(images for _, images in shares))
        states = {
            name: {state: np.stack([image[name][state] for image in images]) for state in kept}
            for name, kept in self._kept.items()
            if images
        }
        return ImageStates(names, self._tasks, states)


def _states(metrics: MetricCollection) -> dict[str, dict[str, Tensor]]:
    """States of each metric by its key."""
    states: dict[str, Any] = {
        key: metric.metric_state for key, metric in metrics.items(copy_state=False)
    }
    return states


def _adds_up(metrics: MetricCollection) -> bool:
    return all(
        reduction is dim_zero_sum
        for metric in metrics.values(copy_state=False)
        for reduction in metric._reductions.values()
    )


def _small_states(metrics: MetricCollection) -> dict[str, str]:
    """Name of each state that is kept -> key of a metric that has it.

    Metrics of a task that have a state of the same name share it.
    """
    kept: dict[str, str] = {}
    for key, states in _states(metrics).items():
        if sum(state.numel() for state in states.values()) <= LARGEST_STATE:
            for state in states:
                kept.setdefault(state, key)
    return kept


def _gather(share: Any) -> list[Any]:
    """The shares of all processes, by rank."""
    if not distributed.is_available() or not distributed.is_initialized():
        return [share]
    shares: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(shares, share)
    return shares


def _in_turn(shares: Iterable[Sequence[Any]]) -> Iterator[Any]:
    """First of each, second of each, and so on; later shares may be shorter by one."""
    return (one for one in chain.from_iterable(zip_longest(*shares)) if one is not None)
