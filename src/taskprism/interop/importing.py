"""Checkpoints of public repositories as models of this package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from taskprism.errors import CheckpointError, InputError, UnknownNameError
from taskprism.interop.astmt import ASTMT
from taskprism.interop.ema_net import EMA_NET
from taskprism.interop.layout import Checkpoint, Layout, Source
from taskprism.interop.matching import Matching, match
from taskprism.interop.multi_task_learning_pytorch import MULTI_TASK_LEARNING_PYTORCH
from taskprism.interop.naming import tasks_in, translate
from taskprism.interop.reading import read_checkpoint
from taskprism.models import MultiTaskModel, create_model
from taskprism.tasks import Task, resolve_tasks

#: Every repository whose checkpoints can be imported; the list is the registry.
SOURCES: list[Source] = [MULTI_TASK_LEARNING_PYTORCH, EMA_NET, ASTMT]

_Tasks = Mapping[str, int | None] | Sequence[Task | str | Mapping[str, Any]]


def import_official(
    path: str | Path,
    source: str,
    model: str,
    tasks: _Tasks,
    auxiliary_tasks: _Tasks | None = None,
    size: tuple[int, int] | None = None,
    **options: Any,
) -> MultiTaskModel:
    """Make a model that computes what a released network does, from its checkpoint.

    Backbone and variant are read from the file. Every tensor must find its place; what is no part
    of inference (a discriminator, second names of a layer) is dropped, and said to be, on stderr.
    Wherever the order of tasks matters it is the source's, whatever the order of the arguments.

    ``model(images)`` takes what the released network takes, and ``model.normalize`` makes that
    from RGB in [0, 1]: ImageNet's mean and standard deviation (``multi_task_learning_pytorch``),
    [0, 1] as it is (``ema_net``), 0..255 (``astmt``).

    Args:
        path: The released file.
        source: ``"multi_task_learning_pytorch"`` (MTI-Net's repository), ``"ema_net"`` (CTAL's) or
            ``"astmt"``.
        model: The system that the file holds, by its name here.
        tasks: Main tasks, as for :func:`taskprism.create_model`: ``{"semseg": 40, "depth": 1}``.
        auxiliary_tasks: Tasks that only the front end predicts.
        size: Input image's ``(H, W)`` that the network was trained at, where a network is made for
            one size and the file leaves open which.
        **options: Of :func:`taskprism.create_model`, for what the file does not say
            (``output_stride`` of ASTMT, ``distillation_options`` of PAP-Net).

    Returns:
        The model, in evaluation mode.

    Raises:
        CheckpointError: If the file cannot be read, or a tensor is missing, left over or of
            another shape.
        InputError: If the tasks are not those of the file, or the size is not its.
        UnknownNameError: For an unknown source or model.
    """
    origin = find_source(source)
    layout = find_layout(origin, model)
    main, auxiliary = (
        _ordered(resolve_tasks(each or ()), origin) for each in (tasks, auxiliary_tasks)
    )
    named = {origin.tasks[task.kind]: task.name for task in _ordered((*main, *auxiliary), origin)}
    checkpoint = Checkpoint(read_checkpoint(path), named, size)
    _check_tasks(checkpoint, layout, origin, path)
    try:
        backbone = layout.backbone(checkpoint.tensors)
    except CheckpointError as error:
        raise CheckpointError(f"{str(path)!r}: {error}{_advice(checkpoint)}") from error
    settings = {**layout.options(checkpoint), **options}
    with torch.random.fork_rng(devices=[]):  # random weights that are overwritten below
        built = create_model(model, main, auxiliary, backbone=backbone, **settings)
    matching = match(checkpoint.tensors, layout.rules, named, origin.dropped, built.state_dict())
    if not matching.is_complete:
        raise CheckpointError(
            f"{str(path)!r} does not fit {model!r} of {source!r} on {backbone!r} with the tasks "
            f"{', '.join(task.name for task in built.all_tasks)}:\n{matching.problems()}"
            f"{_advice(checkpoint, layout)}"
        )
    built.load_state_dict(dict(matching.found), strict=False)
    _set_image_statistics(built, origin)
    _report(path, built, matching)
    return built.eval()


def list_sources() -> dict[str, list[str]]:
    """Name of every source -> the models that can be imported from it."""
    return {source.name: [layout.model for layout in source.layouts] for source in SOURCES}


def find_source(name: str) -> Source:
    """Source of that name; an unknown name answers with those that exist."""
    for source in SOURCES:
        if source.name == name:
            return source
    raise UnknownNameError("source of checkpoints", name, list_sources())


def find_layout(source: Source, model: str) -> Layout:
    """Layout of a model in a source; an unknown name answers with those that exist."""
    for layout in source.layouts:
        if layout.model == model:
            return layout
    raise UnknownNameError(f"model of {source.name!r}", model, list_sources()[source.name])


def _ordered(tasks: Sequence[Task], source: Source) -> tuple[Task, ...]:
    kinds = [task.kind for task in tasks]
    for task in tasks:
        if task.kind not in source.tasks:
            raise UnknownNameError(f"kind of task in {source.name!r}", task.kind, source.tasks)
        if kinds.count(task.kind) > 1:
            raise InputError(f"A network of {source.name!r} has one task of a kind, not {kinds}.")
    order = list(source.tasks)
    return tuple(sorted(tasks, key=lambda task: order.index(task.kind)))


def _check_tasks(checkpoint: Checkpoint, layout: Layout, source: Source, path: str | Path) -> None:
    found = set(tasks_in(checkpoint.tensors, layout.rules)) & set(source.tasks.values())
    if not found and len(checkpoint.tasks) > 1:
        found = {"one task, which it does not name"} if layout.model == "single_task" else set()
    if found and found != set(checkpoint.tasks):
        raise InputError(
            f"{str(path)!r} holds layers of the tasks {', '.join(sorted(found))}, but you named "
            f"{', '.join(checkpoint.tasks)}. Name all of them in tasks and auxiliary_tasks."
        )


def _advice(checkpoint: Checkpoint, tried: Layout | None = None) -> str:
    """Which layouts know all of the file's names, if others do."""
    fitting = []
    for source in SOURCES:
        for layout in source.layouts:
            rules = (*layout.rules, *source.dropped)
            names = checkpoint.tensors
            if layout is not tried and all(translate(n, rules, checkpoint.tasks) for n in names):
                fitting.append(f"model={layout.model!r} of source={source.name!r}")
    return f"\n  Its names are those of {' or '.join(fitting)}." if fitting else ""


def _set_image_statistics(model: MultiTaskModel, source: Source) -> None:
    for name in ("image_mean", "image_std"):
        values = list(getattr(source, name))
        getattr(model, name).copy_(torch.tensor(values, device="cpu").view(3, 1, 1))
        model.config[name] = values


def _report(path: str | Path, model: MultiTaskModel, matching: Matching) -> None:
    lines = [f"Imported {len(matching.found)} tensors of {path} into {model.name!r}."]
    if summary := matching.summary():
        lines.append(summary)
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    console.print("\n".join(lines), markup=False)
