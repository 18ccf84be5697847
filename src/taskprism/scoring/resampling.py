"""Scores of a finished run over resampled images, all at once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from taskprism.errors import InputError, UnknownNameError
from taskprism.scoring.image_states import ImageStates


def image_counts(images: int, samples: int, seed: int) -> np.ndarray:
    """How often each image counts.

    Args:
        images: How many there are.
        samples: Number of draws of ``images`` images with replacement.
        seed: Of the draws.

    Returns:
        ``(1 + samples, images)`` float64: every image once, then the draws.
    """
    draws = np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), samples)
    return np.concatenate([np.ones((1, images)), draws])


def resampled_scores(states: ImageStates, task: str, metric: str, counts: np.ndarray) -> np.ndarray:
    """A task's score over each choice of images.

    Args:
        states: Of one run.
        task: Name of the task.
        metric: Key of one of its metrics.
        counts: ``(R, images)``, how often each image counts.

    Returns:
        ``(R,)`` float64; NaN where no image has a label.

    Raises:
        UnknownNameError: The run has no states of this task, or the task no such metric.
        InputError: The metric is made of sums that were too many to keep.
    """
    if task not in states.tasks:
        raise UnknownNameError("task with image states", task, list(states.tasks))
    metrics = states.tasks[task].metrics()
    if metric not in metrics:
        raise UnknownNameError(f"metric of task {task!r}", metric, map(str, metrics.keys()))
    chosen, kept = metrics[metric], states.states[task]
    shapes = {name: tuple(torch.as_tensor(s).shape) for name, s in chosen.metric_state.items()}
    if any(name not in kept or kept[name].shape[1:] != shape for name, shape in shapes.items()):
        raise InputError(
            f"The image states of task {task!r} do not hold the sums that {metric!r} is made of "
            f"({', '.join(shapes)}), which may be too many to keep; take another metric."
        )
    return _scores(chosen, {name: _weighted(kept[name], counts) for name in shapes})


def _weighted(values: np.ndarray, counts: np.ndarray) -> Tensor:
    """Sums ``(R, ...)`` of ``values`` ``(images, ...)``, of the same type."""
    flat = values.reshape(len(values), math.prod(values.shape[1:]))
    used = np.flatnonzero(flat.any(axis=0))  # most cells of a confusion matrix are empty
    sums = np.zeros((len(counts), flat.shape[1]), values.dtype)
    products = counts @ flat[:, used].astype(np.float64)
    sums[:, used] = np.rint(products) if np.issubdtype(values.dtype, np.integer) else products
    return torch.from_numpy(sums.reshape(len(counts), *values.shape[1:]))


def _scores(metric: Metric, states: Mapping[str, Tensor]) -> np.ndarray:
    names, stacks = list(states), list(states.values())
    compute = partial(_compute, metric, names)
    try:
        scores = torch.func.vmap(compute)(*stacks)
    except RuntimeError:  # it asks for single values, as boundary scores do: one after the other
        scores = torch.stack([compute(*one) for one in zip(*stacks, strict=True)])
    return scores.double().numpy()


def _compute(metric: Metric, names: list[str], *values: Tensor) -> Tensor:
    for name, value in zip(names, values, strict=True):
        setattr(metric, name, value)
    return type(metric).compute(metric)  # not the instance's, which caches and synchronizes
