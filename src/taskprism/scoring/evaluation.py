"""The evaluation loop: load a split, run a model on it, and score each task."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from types import FrameType
from typing import TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torchmetrics import MetricCollection

from taskprism.checks import check_integer
from taskprism.data.loading import ReadingDataset, SampleLoader, collate_read
from taskprism.data.protocol import Protocol, SizedDataset, Split
from taskprism.data.sample import Batch, Sample
from taskprism.errors import DataError
from taskprism.models.base import MultiTaskModel
from taskprism.models.predictions import Predictions
from taskprism.scoring.image_states import ImageStateRecorder
from taskprism.tasks.base import Task

#: Task name -> metric name -> value; NaN where no label was valid.
Results = dict[str, dict[str, float]]
K = TypeVar("K", bound=Hashable)

#: Samples that :func:`check_labels` reads at most.
MOST_CHECKED = 500

_GRACE_SECONDS = 20
_FINAL = "final"


def split_loader(
    protocol: Protocol,
    split: Split,
    model: MultiTaskModel,
    batch_size: int,
    workers: int = 0,
    rank: int = 0,
    processes: int = 1,
) -> DataLoader:
    """All images of a split at the protocol's evaluation size, with labels of the main tasks.

    The batch size is 1 if labels keep their own sizes, which may differ.

    Raises:
        InputError: The protocol has no such split, or a number is out of range.
        DataError: The split is empty.

    Example:
        >>> from taskprism.data import create_protocol
        >>> from taskprism.models import create_model
        >>> rooms = create_protocol("rooms", input_size=(32, 48), test_length=3)
        >>> model = create_model("multi_task", [rooms.task("depth")], backbone="resnet10t")
        >>> [len(batch.images) for batch in split_loader(rooms, "test", model, batch_size=2)]
        [2, 1]
    """
    check_integer("Evaluation", "batch_size", batch_size, low=1)
    check_integer("Evaluation", "workers", workers, low=0)
    protocol.check_split(split)
    dataset = protocol.dataset(split, protocol.evaluation_transform())
    if not len(dataset):
        raise DataError(f"The split {split!r} of {protocol.name!r} has no image.")
    if protocol.scores_at_label_size:
        batch_size = 1
    return evaluation_loader(dataset, model.tasks, batch_size, workers, rank, processes)


def check_labels(
    protocol: Protocol, split: Split, tasks: Sequence[Task], skip: bool = False
) -> list[str]:
    """Check that the split has a label of each task with a pixel that is not ignored.

    Samples are read in random order until that is known; of a large split at most
    :data:`MOST_CHECKED`.

    Args:
        protocol: The data.
        split: Which images.
        tasks: Tasks to find labels of.
        skip: Leave out samples that cannot be read.

    Returns:
        Names of the tasks without any label in the samples that were read. Partly labeled data may
        have such tasks.

    Raises:
        DataError: Every pixel of a task's labels is ignored, or no task has a label.
    """
    dataset = protocol.dataset(split)
    missing, ignored = {task.name for task in tasks}, set()
    length = len(dataset)
    for index in random.Random(0).sample(range(length), min(length, MOST_CHECKED)):
        if not missing:
            return []
        try:
            sample = dataset[index]
        except Exception:  # data sets of users raise nearly anything
            if not skip:
                raise
            continue
        for name, mask in sample["valid"].items():
            if name in missing:
                ignored.add(name)
                if bool(mask.any()):
                    missing.remove(name)
    ignored &= missing
    if ignored:
        raise DataError(
            f"{protocol.name!r}: every pixel of the {split} labels of {', '.join(sorted(ignored))} "
            "is ignored, so there is nothing to learn or score. Check the ignored values of the "
            "task with `taskprism data check`."
        )
    if len(missing) == len(tasks):
        raise DataError(
            f"{protocol.name!r} has no {split} label of {', '.join(sorted(missing))}, so there is "
            "nothing to learn or score."
        )
    return [task.name for task in tasks if task.name in missing]


def evaluation_loader(
    dataset: SizedDataset,
    tasks: Sequence[Task],
    batch_size: int,
    workers: int = 0,
    rank: int = 0,
    processes: int = 1,
) -> DataLoader[Sample]:
    """Every image once, in order, divided among processes without repeating any.

    An image that cannot be read is an error: scores over other images would not be comparable.

    The numbers of images of the processes may differ by one. This is allowed because evaluation
    runs the model without a distributed wrapper, and metrics are synchronized only at the end.

    Example:
        >>> from taskprism.data import create_protocol
        >>> rooms = create_protocol("rooms", input_size=(32, 48), test_length=3)
        >>> dataset = rooms.dataset("test", rooms.evaluation_transform())
        >>> len(evaluation_loader(dataset, rooms.tasks, batch_size=2, rank=1, processes=2))
        1
    """
    length = len(dataset)
    own = list(range(rank, length, processes))
    return SampleLoader(
        ReadingDataset(dataset),
        batch_sampler=[own[i : i + batch_size] for i in range(0, len(own), batch_size)],
        collate_fn=partial(collate_read, tasks=tuple(tasks)),
        num_workers=workers,
        worker_init_fn=leave_signals_to_parent,
        pin_memory=torch.cuda.is_available(),
    )


def leave_signals_to_parent(worker: int) -> None:
    """Keep loaders running until the last save, because the signals that stop a run reach them too.

    The parent also ends a loader that hangs with SIGTERM, so this signal is only delayed.

    Args:
        worker: Index of the loader process, as ``DataLoader(worker_init_fn=...)`` passes it.

    Example:
        >>> loader = DataLoader([0, 1], num_workers=1, worker_init_fn=leave_signals_to_parent)
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not hasattr(signal, "alarm"):
        return  # Windows ends processes without signals
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)

    def end_soon(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.alarm(_GRACE_SECONDS)

    signal.signal(signal.SIGTERM, end_soon)


def tasks_as_in(protocol: Protocol, tasks: Sequence[Task]) -> tuple[Task, ...]:
    """A network's tasks with the protocol's metrics; a task that the protocol lacks is kept.

    Example:
        >>> from taskprism.data import create_protocol
        >>> rooms = create_protocol("rooms")
        >>> tasks_as_in(rooms, [rooms.task("depth")]) == (rooms.task("depth"),)
        True
    """
    named = {(task.name, task.kind, task.channels): task for task in protocol.tasks}
    return tuple(named.get((task.name, task.kind, task.channels), task) for task in tasks)


def score(
    model: MultiTaskModel,
    batches: Iterable[Batch],
    device: torch.device | str = "cpu",
    precision: Callable[[], AbstractContextManager] = nullcontext,
    on_batch: Callable[[], None] | None = None,
    recorder: ImageStateRecorder | None = None,
) -> Results:
    """Metrics of every main task over ``batches``.

    Predictions are resized to the labels if sizes differ. The model keeps its mode.

    With several processes, each passes its part of the images. Metrics add up their sums over
    processes before they divide, so the result is the same as with one process.

    Args:
        model: The model, on ``device``.
        batches: Each image once over all processes.
        device: Device that batches are moved to.
        precision: Returns the context in which the network runs (autocast).
        on_batch: Called after each batch; may raise to stop the evaluation.
        recorder: Records the states of the metrics for each image.

    Returns:
        Task name -> metric name -> value; NaN where no label was valid.

    Example:
        >>> from taskprism.data import create_protocol
        >>> from taskprism.models import create_model
        >>> rooms = create_protocol("rooms", input_size=(32, 48), test_length=2)
        >>> model = create_model("multi_task", [rooms.task("depth")], backbone="resnet10t")
        >>> results = score(model, split_loader(rooms, "test", model, batch_size=2))
        >>> "rmse" in results["depth"]
        True
    """
    # Every process needs all metrics, even without images: computing them synchronizes.
    metrics = {_FINAL: {task.name: task.metrics().to(device) for task in model.tasks}}
    read = partial(_final_outputs, model.tasks)
    return _score(model, batches, read, metrics, device, precision, on_batch, recorder)[_FINAL]


def score_outputs(
    model: MultiTaskModel,
    batches: Iterable[Batch],
    read: Callable[[Predictions, Batch], Mapping[K, Mapping[str, Tensor]]],
    device: torch.device | str = "cpu",
) -> dict[K, Results]:
    """Metrics of several outputs of one network, such as its initial predictions.

    Args:
        model: The model, on ``device``; it keeps its mode.
        batches: Each image once.
        read: Takes predictions and their batch. Returns key -> task name -> raw output
            ``(B, channels, h, w)``; main tasks that are missing are skipped.
        device: Device that batches are moved to.

    Returns:
        Key -> task name -> metric name -> value.

    Example:
        >>> from taskprism.data import create_protocol
        >>> from taskprism.models import create_model
        >>> rooms = create_protocol("rooms", input_size=(32, 48), test_length=2)
        >>> model = create_model("multi_task", [rooms.task("depth")], backbone="resnet10t")
        >>> batches = split_loader(rooms, "test", model, batch_size=2)
        >>> list(score_outputs(model, batches, lambda predictions, _: {"final": dict(predictions)}))
        ['final']
    """
    return _score(model, batches, read, {}, device)


def _final_outputs(
    tasks: Sequence[Task], predictions: Predictions, batch: Batch
) -> dict[str, dict[str, Tensor]]:
    return {_FINAL: {task.name: predictions[task.name] for task in tasks}}


@torch.inference_mode()
def _score(
    model: MultiTaskModel,
    batches: Iterable[Batch],
    read: Callable[[Predictions, Batch], Mapping[K, Mapping[str, Tensor]]],
    metrics: dict[K, dict[str, MetricCollection]],
    device: torch.device | str,
    precision: Callable[[], AbstractContextManager] = nullcontext,
    on_batch: Callable[[], None] | None = None,
    recorder: ImageStateRecorder | None = None,
) -> dict[K, Results]:
    was_training = model.training
    model.eval()
    try:
        for batch in batches:
            batch = batch.to(device)
            with precision():
                predictions = model(model.normalize(batch.images))
            if recorder is not None:
                recorder.add_images(batch.names)
            for key, outputs in read(predictions, batch).items():
                collections = metrics.setdefault(key, {})
                for task in model.tasks:
                    if task.name not in outputs:
                        continue
                    if task.name not in collections:
                        collections[task.name] = task.metrics().to(device)
                    target, valid = batch.targets[task.name], batch.valid[task.name]
                    size = (target.shape[-2], target.shape[-1])
                    output = task.resize_output(outputs[task.name].float(), size)
                    add = (
                        task.update_metrics if recorder is None else partial(recorder.update, task)
                    )
                    add(collections[task.name], output, target, valid)
            if on_batch is not None:
                on_batch()
    finally:
        model.train(was_training)
    return {
        key: {
            name: {str(metric): float(value) for metric, value in collection.compute().items()}
            for name, collection in collections.items()
        }
        for key, collections in metrics.items()
    }


def describe(results: Results, model: MultiTaskModel) -> str:
    """Primary metric of each main task in one line.

    Example:
        >>> from taskprism.models import create_model
        >>> model = create_model("multi_task", {"depth": 1}, backbone="resnet10t")
        >>> describe({"depth": {"rmse": 0.5}}, model)
        'depth rmse 0.5'
    """
    return "  ".join(
        f"{task.name} {task.primary_metric} {results[task.name][task.primary_metric]:.4g}"
        for task in model.tasks
    )


def flat(results: Results, prefix: Sequence[str] = ()) -> dict[str, float]:
    """``{"prefix/task/metric": value}``, the form that trackers take.

    Example:
        >>> flat({"depth": {"rmse": 0.5}}, ["test"])
        {'test/depth/rmse': 0.5}
    """
    return {
        "/".join((*prefix, task, metric)): value
        for task, values in results.items()
        for metric, value in values.items()
    }


def evenly_spaced(length: int, count: int | None) -> list[int]:
    """At most ``count`` of ``range(length)``, from first to last at even steps; None takes all.

    Example:
        >>> evenly_spaced(9, 3)
        [0, 4, 8]
    """
    if count is None or count >= length:
        return list(range(length))
    return sorted({round(i * (length - 1) / max(count - 1, 1)) for i in range(count)})
