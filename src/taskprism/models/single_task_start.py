"""Weights of trained single-task networks, for systems that start from them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from taskprism.backbones import Backbone
from taskprism.errors import CheckpointError, InputError
from taskprism.models.base import MultiTaskModel
from taskprism.models.single_task import SingleTask

#: Name of the option: task name -> run directory or saved model.
START = "from_single_task"


def start_from_single_task(
    model: MultiTaskModel,
    encoders: Mapping[str, Backbone],
    heads: nn.ModuleDict,
    runs: Mapping[str, str | Path],
) -> None:
    """Copy each task's trained encoder and head into ``model``.

    Args:
        model: Gets the image statistics that the networks were trained with.
        encoders: Encoders by the task whose network they start from.
        heads: Heads of all tasks.
        runs: Task name -> whatever :func:`taskprism.load` takes; of a ``single_task`` model with a
            task of that name.

    Raises:
        InputError: If a task is missing or unknown, or its network is another architecture.
        CheckpointError: If a run cannot be read.
    """
    names = [task.name for task in model.tasks]
    if not isinstance(runs, Mapping) or set(runs) != set(names):
        raise InputError(
            f"{START} needs a run for each of {', '.join(names)} (NAME: directory), got {runs!r}."
        )
    statistics: dict[str, tuple[list[float], list[float]]] = {}
    for name in names:
        network = _single_task(runs[name], name)
        source = f"the network of {name!r} in {str(runs[name])!r}"
        if name in encoders:
            strides = encoders[name].strides, network.backbones[name].strides
            if strides[0] != strides[1]:
                raise InputError(
                    f"The encoder of {source} has maps at strides {strides[1]}, not {strides[0]}; "
                    "train it with the same output_stride."
                )
            _copy(network.backbones[name], encoders[name], f"The encoder of {source}")
        _copy(network.heads[name], heads[name], f"The head of {source}")
        statistics[name] = (
            network.image_mean.flatten().tolist(),
            network.image_std.flatten().tolist(),
        )
    first = next(iter(statistics.values()))
    if any(each != first for each in statistics.values()):
        raise InputError(
            f"The networks of {START} expect differently normalized images (mean, std): "
            f"{statistics}. Train all of them with the same backbone."
        )
    for buffer, values in zip((model.image_mean, model.image_std), first, strict=True):
        buffer.copy_(torch.tensor(values).view(3, 1, 1))


def _single_task(path: str | Path, task: str) -> SingleTask:
    from taskprism.models.hub import load  # it builds models, so it stands above this module

    try:
        network = load(path)
    except CheckpointError as error:
        raise CheckpointError(f"{START}: no network for {task!r}. {error}") from error
    if not isinstance(network, SingleTask):
        raise InputError(
            f"{START}: {str(path)!r} holds a {network.name!r}; give a trained 'single_task' run."
        )
    if task not in network.heads:
        raise InputError(
            f"{START}: the run {str(path)!r} predicts {', '.join(network.heads)}, not {task!r}."
        )
    return network


def _copy(trained: nn.Module, start: nn.Module, what: str) -> None:
    try:
        start.load_state_dict(trained.state_dict())
    except RuntimeError as error:
        raise InputError(
            f"{what} does not fit: {error}. Train it with the backbone, the head and the channels "
            "of the system that starts from it, and with neck: none."
        ) from error
