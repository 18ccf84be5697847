"""Score a model over a split."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch
from torch.utils.data import DataLoader

from taskprism.data.protocol import Protocol, Split
from taskprism.data.sample import Batch
from taskprism.models.base import MultiTaskModel
from taskprism.scoring.image_state_recording import ImageStateRecorder
from taskprism.tasks.base import Task
from taskprism.training.feeding import evaluation_loader
from taskprism.training.selection import Results


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

    Images come one by one if labels keep their own sizes, which may differ.

    Raises:
        InputError: The protocol has no such split.
    """
    protocol.check_split(split)
    dataset = protocol.dataset(split, protocol.evaluation_transform())
    if protocol.scores_at_label_size:
        batch_size = 1
    return evaluation_loader(dataset, model.tasks, batch_size, workers, rank, processes)


def tasks_as_in(protocol: Protocol, tasks: Sequence[Task]) -> tuple[Task, ...]:
    """A network's tasks with the protocol's metrics; those that it has no equal of stay."""
    named = {(task.name, task.kind, task.channels): task for task in protocol.tasks}
    return tuple(named.get((task.name, task.kind, task.channels), task) for task in tasks)


@torch.inference_mode()
def score(
    model: MultiTaskModel,
    batches: Iterable[Batch],
    device: torch.device | str = "cpu",
    precision: Callable[[], AbstractContextManager] = nullcontext,
    on_batch: Callable[[], None] | None = None,
    recorder: ImageStateRecorder | None = None,
) -> Results:
    """Metrics of every main task over ``batches``.

    Predictions are resized to the labels where these have another size.

    With several processes each passes its own share, and the metrics join their sums before the
    division, so that the result is that of one process. The model keeps its mode.

    Args:
        model: On ``device``.
        batches: Each image once over all processes.
        device: Where batches are moved.
        precision: Makes the context that the network runs in (autocast).
        on_batch: Called after each batch; may raise to give up.
        recorder: Keeps the metrics' states of each image.

    Returns:
        Task name -> metric name -> value; NaN where nothing was ever valid.
    """
    metrics = {task.name: task.metrics().to(device) for task in model.tasks}
    was_training = model.training
    model.eval()
    try:
        for batch in batches:
            batch = batch.to(device)
            with precision():
                predictions = model(model.normalize(batch.images))
            if recorder is not None:
                recorder.add_images(batch.names)
            for task in model.tasks:
                target, valid = batch.targets[task.name], batch.valid[task.name]
                size = (target.shape[-2], target.shape[-1])
                output = task.resize_output(predictions[task.name].float(), size)
                add = task.update_metrics if recorder is None else partial(recorder.update, task)
                add(metrics[task.name], output, target, valid)
            if on_batch is not None:
                on_batch()
    finally:
        model.train(was_training)
    return {
        name: {str(key): float(value) for key, value in collection.compute().items()}
        for name, collection in metrics.items()
    }


def describe(results: Results, model: MultiTaskModel) -> str:
    """Primary metric of each main task in one line."""
    return "  ".join(
        f"{task.name} {task.primary_metric} {results[task.name][task.primary_metric]:.4g}"
        for task in model.tasks
    )


def flat(results: Results, prefix: Sequence[str] = ()) -> dict[str, float]:
    """``{"prefix/task/metric": value}``, the form that trackers take."""
    return {
        "/".join((*prefix, task, metric)): value
        for task, values in results.items()
        for metric, value in values.items()
    }
