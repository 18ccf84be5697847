"""States of the metrics for each image, from which the scores of a run are computed.

The state of every metric of this library is a sum over images. From the states of single images,
the score over any selection of images can be computed without running the network again, even if
images count several times. Resampling uses this (:mod:`taskprism.scoring.intervals`).
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed
from torchmetrics import Metric, MetricCollection
from torchmetrics.utilities import dim_zero_sum

from taskprism.errors import DataError, InputError, UnknownNameError
from taskprism.metrics.base import state_names
from taskprism.scoring.runs import IMAGE_STATES_FILE
from taskprism.tasks import Task, task_from_config

_TASKS, _NAMES = "tasks", "names"


@dataclass(frozen=True)
class ImageStates:
    """States of the primary metrics for each image of a split.

    Attributes:
        names: Names of the images, in the order of the split.
        tasks: Task name -> task; tasks with a metric that is not a sum over images are missing.
        states: Task name -> name of the state -> ``(images, ...)``, integers or float64. An image
            without a label of the task has zeros.

    Example:
        >>> states = ImageStates(("a", "b"), {}, {})
        >>> len(states.to_bytes()) > 0
        True
    """

    names: tuple[str, ...]
    tasks: Mapping[str, Task]
    states: Mapping[str, Mapping[str, np.ndarray]]

    def to_bytes(self) -> bytes:
        """Content of a compressed ``.npz`` file; equal states give equal bytes."""
        arrays = {
            f"{task}/{state}": values
            for task, states in self.states.items()
            for state, values in states.items()
        }
        configs = json.dumps([task.to_config() for task in self.tasks.values()])
        head = {_TASKS: np.array(configs), _NAMES: np.array(self.names, dtype=np.str_)}
        file = io.BytesIO()
        np.savez_compressed(file, allow_pickle=False, **head, **arrays)
        return file.getvalue()

    def of_metric(self, task: str, metric: str) -> tuple[Metric, dict[str, np.ndarray]]:
        """A metric of a task, and its states for each image.

        Returns:
            The metric, empty, and the name of each of its states -> ``(images, ...)``.

        Raises:
            UnknownNameError: There are no states of this task, or it has no such metric.
            InputError: The metric's states were too large to record.
        """
        if task not in self.tasks:
            raise UnknownNameError("task with image states", task, list(self.tasks))
        metrics = self.tasks[task].metrics()
        if metric not in metrics:
            raise UnknownNameError(f"metric of task {task!r}", metric, map(str, metrics.keys()))
        chosen, kept = metrics[metric], self.states[task]
        names = state_names(metrics)[metric]  # in the metric -> in the file
        kept = {name: kept[stored] for name, stored in names.items() if stored in kept}
        shapes = {name: tuple(torch.as_tensor(s).shape) for name, s in chosen.metric_state.items()}
        if any(name not in kept or kept[name].shape[1:] != shape for name, shape in shapes.items()):
            raise InputError(
                f"The image states of task {task!r} do not include the states of {metric!r} "
                f"({', '.join(shapes)}), which may be too large to record; use another metric."
            )
        return chosen, kept

    def image_scores(self, task: str, metric: str) -> np.ndarray:
        """Score of each image alone, ``(images,)`` float64; NaN for an image without a label.

        Raises:
            UnknownNameError: See :meth:`of_metric`.
            InputError: See :meth:`of_metric`.
        """
        chosen, kept = self.of_metric(task, metric)
        return scores_of_states(chosen, {name: torch.from_numpy(v) for name, v in kept.items()})

    def total(self, task: str) -> MetricCollection:
        """Metrics of a task with the states of all images together.

        A metric whose states were too large to record is left empty.
        """
        metrics = self.tasks[task].metrics()
        names = state_names(metrics)
        for key, metric in metrics.items(copy_state=False):
            for state, stored in names[key].items():
                if stored in self.states[task]:
                    total = self.states[task][stored].sum(axis=0)
                    setattr(metric, state, torch.as_tensor(total))
        return metrics


def read_image_states(run: str | Path) -> ImageStates:
    """Read the states in a run directory.

    Raises:
        DataError: There are none, or the file is broken; the message says how to write it.

    Example:
        >>> read_image_states("runs/mti_net").names[:2]  # doctest: +SKIP
        ('0', '1')
    """
    file = Path(run) / IMAGE_STATES_FILE
    again = f"`taskprism evaluate {run}`"
    if not file.is_file():
        raise DataError(f"{run} has no {IMAGE_STATES_FILE}. Write it with {again}.")
    try:
        with np.load(file, allow_pickle=False) as content:
            arrays = {key: content[key] for key in content.files}
        tasks = [task_from_config(config) for config in json.loads(str(arrays.pop(_TASKS)))]
        names = tuple(str(name) for name in arrays.pop(_NAMES))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"Cannot read {file}: {error}. Write it again with {again}.") from error
    states: dict[str, dict[str, np.ndarray]] = {task.name: {} for task in tasks}
    for key, values in arrays.items():
        task, _, state = key.rpartition("/")
        if task not in states or len(values) != len(names):
            raise DataError(f"{file} is incomplete ({key}). Write it again with {again}.")
        states[task][state] = values
    return ImageStates(names, {task.name: task for task in tasks}, states)


#: States of a metric with more numbers per image than this are not kept. A histogram of angles, for
#: example, would take gigabytes for a thousand images.
LARGEST_STATE = 2**16

_Image = dict[str, dict[str, np.ndarray]]  # task -> state -> value


class ImageStateRecorder:
    """Records the states of each task's metrics for each image, except states that are too large.

    The state of an image depends only on this image, not on its batch or process. Tasks with a
    metric that is not a sum over images are not recorded.

    Args:
        tasks: Main tasks of the model that is scored.

    Example:
        >>> from taskprism.tasks import create_task
        >>> depth = create_task("depth")
        >>> recorder, metrics = ImageStateRecorder([depth]), depth.metrics()
        >>> recorder.add_images(["a", "b"])
        >>> maps = torch.rand(2, 1, 4, 6)
        >>> recorder.update(depth, metrics, maps, maps, torch.ones(2, 1, 4, 6, dtype=torch.bool))
        >>> recorder.gathered().names
        ('a', 'b')
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._tasks = {task.name: task for task in tasks if _adds_up(task.metrics())}
        self._kept = {name: _small_states(task.metrics()) for name, task in self._tasks.items()}
        self._names: list[str] = []
        self._images: list[_Image] = []

    def add_images(self, names: Sequence[str]) -> None:
        """Start a batch of images with these names; then call :meth:`update` once per task."""
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
        """Add the current batch to ``metrics`` image by image, and record the states of each image.

        Args:
            task: The task.
            metrics: Metrics of the task.
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
            rows.append({name: added[key][state] for name, (key, state) in keys.items()})
            for key, metric in metrics.items(copy_state=False):
                for state, value in added[key].items():
                    setattr(metric, state, before[key][state] + value)
        for state in keys:
            values = torch.stack([row[state] for row in rows]).cpu().numpy()  # one copy per batch
            for image, value in zip(self._images[-len(output) :], values, strict=True):
                image.setdefault(task.name, {})[state] = value

    def gathered(self) -> ImageStates:
        """States of all images in the order of the split, the same in every process.

        The images of a split are dealt to the processes in turn, see
        :func:`~taskprism.scoring.evaluation.evaluation_loader`.
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


def _small_states(metrics: MetricCollection) -> dict[str, tuple[str, str]]:
    """Name of each recorded state -> key of a metric that has it, and its name in that metric.

    Metrics in one compute group share their states; see :func:`state_names` for the others.
    """
    names = state_names(metrics)
    kept: dict[str, tuple[str, str]] = {}
    for key, states in _states(metrics).items():
        if sum(state.numel() for state in states.values()) <= LARGEST_STATE:
            for state in states:
                kept.setdefault(names[key][state], (key, state))
    return kept


def _gather(share: Any) -> list[Any]:
    """Parts of all processes, by rank."""
    if not distributed.is_available() or not distributed.is_initialized():
        return [share]
    shares: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(shares, share)
    return shares


def _in_turn(shares: Iterable[Sequence[Any]]) -> Iterator[Any]:
    """First of each part, second of each, and so on; later parts may be shorter by one."""
    return (one for one in chain.from_iterable(zip_longest(*shares)) if one is not None)


def scores_of_states(metric: Metric, states: Mapping[str, Tensor]) -> np.ndarray:
    """Score of each of several states of a metric.

    Args:
        metric: Its own states are not read.
        states: Name of the state -> ``(R, ...)``.

    Returns:
        ``(R,)`` float64.

    Example:
        >>> from taskprism.metrics import DepthRmse
        >>> metric = DepthRmse()
        >>> state = torch.as_tensor(metric.metric_state["depth_sums"])
        >>> scores_of_states(metric, {"depth_sums": torch.stack([state, state])})
        array([nan, nan])
    """
    names, stacks = list(states), list(states.values())
    compute = partial(_compute, metric, names)
    try:
        scores = torch.func.vmap(compute)(*stacks)
    except (
        RuntimeError
    ):  # metrics that read single values, such as boundary scores, cannot be mapped
        scores = torch.stack([compute(*one) for one in zip(*stacks, strict=True)])
    return scores.double().numpy()


def _compute(metric: Metric, names: list[str], *values: Tensor) -> Tensor:
    for name, value in zip(names, values, strict=True):
        setattr(metric, name, value)
    return type(metric).compute(metric)  # not the instance's, which caches and synchronizes
