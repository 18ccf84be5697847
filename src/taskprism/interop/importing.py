"""Checkpoints of public repositories as models of this package."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy._core import multiarray
from rich.console import Console
from torch import Tensor

from taskprism.backbones.sources import from_file
from taskprism.errors import CheckpointError, InputError, UnknownNameError
from taskprism.interop.source import (
    SOURCES,
    Checkpoint,
    Layout,
    Rule,
    Source,
    tasks_in,
    translate,
)
from taskprism.models import MultiTaskModel, create_model
from taskprism.tasks import Task, resolve_tasks

_Tasks = Mapping[str, int | None] | Sequence[Task | str | Mapping[str, Any]]
_ROW = re.compile(r"(.+)\[(.+)\]")
_COUNTER = "num_batches_tracked"
_SHOWN = 6
# What wraps a network puts its own name in front: data parallelism, or a wrapper class.
_WRAPPERS = ("module.", "model.")
# Training code keeps scores beside the weights; as NumPy numbers they are harmless but refused by
# default. The second name is that of NumPy before version 2.
_NUMBERS: list[Any] = [
    (multiarray.scalar, "numpy._core.multiarray.scalar"),
    (multiarray.scalar, "numpy.core.multiarray.scalar"),
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("float64", "float32", "int64", "int32", "bool")),
]


def import_official(
    path: str | Path,
    source: str | type[Source],
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
            f"{str(path)!r} does not fit {model!r} of {origin.name!r} on {backbone!r} with the "
            f"tasks {', '.join(task.name for task in built.all_tasks)}:\n{matching.problems()}"
            f"{_advice(checkpoint, layout)}"
        )
    built.load_state_dict(dict(matching.found), strict=False)
    _set_image_statistics(built, origin)
    _report(path, built, matching)
    return built.eval()


def list_sources() -> dict[str, list[str]]:
    """Name of every source -> the models that can be imported from it."""
    return {
        name: [layout.model for layout in find_source(name).layouts] for name in SOURCES.names()
    }


def find_source(source: str | type[Source]) -> type[Source]:
    """Source of a registered name or of ``"module:Class"``.

    Raises:
        UnknownNameError: No source has this name.
    """
    return SOURCES.find(source)


def find_layout(source: type[Source], model: str) -> Layout:
    """Layout of a model in a source.

    Raises:
        UnknownNameError: The source has no such model.
    """
    for layout in source.layouts:
        if layout.model == model:
            return layout
    raise UnknownNameError(
        f"model of {source.name!r}", model, [each.model for each in source.layouts]
    )


def _ordered(tasks: Sequence[Task], source: type[Source]) -> tuple[Task, ...]:
    kinds = [task.kind for task in tasks]
    for task in tasks:
        if task.kind not in source.tasks:
            raise UnknownNameError(f"kind of task in {source.name!r}", task.kind, source.tasks)
        if kinds.count(task.kind) > 1:
            raise InputError(f"A network of {source.name!r} has one task of a kind, not {kinds}.")
    order = list(source.tasks)
    return tuple(sorted(tasks, key=lambda task: order.index(task.kind)))


def _check_tasks(
    checkpoint: Checkpoint, layout: Layout, source: type[Source], path: str | Path
) -> None:
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
    for source in map(find_source, SOURCES):
        for layout in source.layouts:
            rules = (*layout.rules, *source.dropped)
            names = checkpoint.tensors
            if layout is not tried and all(translate(n, rules, checkpoint.tasks) for n in names):
                fitting.append(f"model={layout.model!r} of source={source.name!r}")
    return f"\n  Its names are those of {' or '.join(fitting)}." if fitting else ""


def _set_image_statistics(model: MultiTaskModel, source: type[Source]) -> None:
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


@dataclass(frozen=True)
class Matching:
    """Tensors of a checkpoint beside those of a model.

    Attributes:
        found: Own name -> tensor that fits.
        dropped: Released name -> why it is not needed.
        counters: Own names of batch counters that the checkpoint lacks (PyTorch before 0.4.1).
        missing: Other own names that it lacks.
        unknown: Released names that the model has no place for.
        mismatched: Own name, shape in the file, shape in the model.
    """

    found: Mapping[str, Tensor]
    dropped: Mapping[str, str]
    counters: Sequence[str]
    missing: Sequence[str]
    unknown: Sequence[str]
    mismatched: Sequence[tuple[str, tuple[int, ...], tuple[int, ...]]]

    @property
    def is_complete(self) -> bool:
        """Whether nothing is missing, left over or of another shape."""
        return not (self.missing or self.unknown or self.mismatched)

    def problems(self) -> str:
        """What does not fit, a line for each kind."""
        shapes = [f"{name}: {file} in the file, {own} here" for name, file, own in self.mismatched]
        lines = []
        for what, names in (
            ("not in the file", self.missing),
            ("in the file, but not part of this model", self.unknown),
            ("of another shape", shapes),
        ):
            if names:
                shown = "; ".join(names[:_SHOWN]) + ("; ..." if len(names) > _SHOWN else "")
                lines.append(f"  {len(names)} tensors {what}: {shown}")
        return "\n".join(lines)

    def summary(self) -> str:
        """What was dropped or not there, a line for each reason."""
        lines = []
        for reason in dict.fromkeys(self.dropped.values()):
            names = [name for name, why in self.dropped.items() if why == reason]
            lines.append(f"  dropped {len(names)} tensors ({names[0]}, ...): {reason}")
        if self.counters:
            lines.append(f"  {len(self.counters)} batch counters are not in the file and stay at 0")
        return "\n".join(lines)


def match(
    tensors: Mapping[str, Tensor],
    rules: Sequence[Rule],
    tasks: Mapping[str, str],
    dropped: Iterable[Rule],
    own: Mapping[str, Tensor],
) -> Matching:
    """File a checkpoint's tensors under the names of a model.

    Args:
        tensors: Of the checkpoint.
        rules: Of its layout.
        tasks: Released name of every task -> own name.
        dropped: Patterns of tensors that are not needed, and why.
        own: The model's state dict, of which only shapes matter.
    """
    found: dict[str, Tensor] = {}
    rows: dict[str, dict[str, Tensor]] = {}
    unknown: list[str] = []
    reasons: dict[str, str] = {}
    for name, tensor in tensors.items():
        ours = translate(name, rules, tasks)
        if ours is not None and (row := _ROW.fullmatch(ours)) is not None:
            rows.setdefault(row[1], {})[row[2]] = tensor
        elif ours is not None and ours in own and ours not in found:
            found[ours] = _reshaped(tensor, own[ours])
        elif (reason := translate(name, dropped, tasks)) is not None:
            reasons[name] = reason
        else:
            unknown.append(name)
    for name, by_task in rows.items():
        ordered = [by_task[task] for task in tasks.values() if task in by_task]
        found[name] = torch.stack(ordered)
    absent = [name for name in own if name not in found]
    mismatched = [
        (name, tuple(tensor.shape), tuple(own[name].shape))
        for name, tensor in found.items()
        if tensor.shape != own[name].shape
    ]
    return Matching(
        found,
        reasons,
        counters=[name for name in absent if name.endswith(_COUNTER)],
        missing=[name for name in absent if not name.endswith(_COUNTER)],
        unknown=unknown,
        mismatched=mismatched,
    )


def _reshaped(tensor: Tensor, own: Tensor) -> Tensor:
    """A linear layer of squeeze-and-excitation as the 1x1 convolution that it is here."""
    is_linear = tensor.ndim == 2 and own.ndim == 4 and own.shape[2:] == (1, 1)
    return tensor[:, :, None, None] if is_linear else tensor


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """Read a ``.pth``, ``.pth.tar`` or ``.safetensors`` file; no code in it is ever run.

    The network's state dict may be the whole file or its entry ``"model"``; names lose the prefixes
    ``module.`` and ``model.``.

    Raises:
        CheckpointError: If the file is missing, unreadable, or holds no tensors by name.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"There is no file {str(path)!r} to import.")
    with torch.serialization.safe_globals(_NUMBERS):
        state = from_file(path).state
    return {_unwrapped(name): tensor for name, tensor in state.items()}


def _unwrapped(name: str) -> str:
    while name.startswith(_WRAPPERS):
        name = name.split(".", 1)[1]
    return name
