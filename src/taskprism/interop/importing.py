"""Import of checkpoints of public repositories as models of this package."""

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
# Modules that wrap a network (data parallelism, a wrapper class) put their name in front.
_WRAPPERS = ("module.", "model.")
# Training code saves scores with the weights. As NumPy numbers they are harmless but refused by
# default. The second name is from NumPy before version 2.
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
    """Create a model from a released checkpoint; it computes the same as the released network.

    Backbone and variant are read from the file. Every tensor must match. Tensors that inference
    does not need (a discriminator, second names of a layer) are dropped and reported on stderr.
    Where the order of tasks matters, the order of the source is used, not that of the arguments.

    ``model(images)`` expects the same input as the released network, and ``model.normalize``
    computes it from RGB in [0, 1]: normalized with the mean and standard deviation of ImageNet
    (``multi_task_learning_pytorch`` and the systems on transformers), [0, 1] unchanged
    (``ema_net``), or 0..255 (``astmt``).

    Args:
        path: The released file.
        source: ``"multi_task_learning_pytorch"`` (repository of MTI-Net), ``"ema_net"`` (of CTAL),
            ``"astmt"``, ``"invpt"``, ``"mtlora"``, ``"mlore"``, ``"taskprompter"``, another
            registered name, ``"module:Class"`` or a subclass of :class:`Source`.
        model: The system in the file, by its name here.
        tasks: Main tasks, as for :func:`taskprism.create_model`: ``{"semseg": 40, "depth": 1}``.
        auxiliary_tasks: Tasks that only the front end predicts.
        size: ``(H, W)`` of the images in training, if the network was built for one size and the
            file does not determine it.
        **options: Options of :func:`taskprism.create_model` that the file does not determine
            (``output_stride`` of ASTMT, ``distillation_options`` of PAP-Net).

    Returns:
        The model, in evaluation mode.

    Raises:
        CheckpointError: The file cannot be read, or a tensor is missing, not part of the model or
            of another shape.
        InputError: The tasks or the size are not those of the file.
        UnknownNameError: The source or the model does not exist.

    Example:
        >>> import taskprism, tempfile, torch
        >>> from taskprism.interop import Layout, Source, import_official
        >>> class Repository(Source):
        ...     name, tasks = "repository", {"depth": "depth"}
        ...     image_mean, image_std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
        ...     layouts = (Layout("multi_task", (("net.{rest}", "{rest}"),),
        ...                       lambda tensors: "test_resnet", lambda checkpoint: {}),)
        >>> network = taskprism.create_model("multi_task", ["depth"], backbone="test_resnet")
        >>> with tempfile.NamedTemporaryFile(suffix=".pth") as file:
        ...     torch.save({f"net.{k}": v for k, v in network.state_dict().items()}, file.name)
        ...     import_official(file.name, Repository, "multi_task", ["depth"]).name
        'multi_task'
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
    """Name of every source -> the models that can be imported from it.

    Example:
        >>> from taskprism.interop import list_sources
        >>> sorted(list_sources())[:3]
        ['astmt', 'ema_net', 'invpt']
    """
    return {
        name: [layout.model for layout in find_source(name).layouts] for name in SOURCES.names()
    }


def find_source(source: str | type[Source]) -> type[Source]:
    """Source of a registered name or of ``"module:Class"``.

    Raises:
        UnknownNameError: No source has this name.

    Example:
        >>> from taskprism.interop import find_source
        >>> find_source("astmt").tasks["saliency"]
        'sal'
    """
    return SOURCES.find(source)


def find_layout(source: type[Source], model: str) -> Layout:
    """Layout of a model in a source.

    Raises:
        UnknownNameError: The source has no such model.

    Example:
        >>> from taskprism.interop import find_layout, find_source
        >>> find_layout(find_source("ema_net"), "pap_net").model
        'pap_net'
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
            raise InputError(
                f"A network of {source.name!r} has at most one task of each kind, got {kinds}; "
                "name each kind once."
            )
    order = list(source.tasks)
    return tuple(sorted(tasks, key=lambda task: order.index(task.kind)))


def _check_tasks(
    checkpoint: Checkpoint, layout: Layout, source: type[Source], path: str | Path
) -> None:
    found = set(tasks_in(checkpoint.tensors, layout.rules)) & set(source.tasks.values())
    if not found and len(checkpoint.tasks) > 1:
        found = {"one task without a name"} if layout.model == "single_task" else set()
    if found and found != set(checkpoint.tasks):
        raise InputError(
            f"{str(path)!r} holds layers of the tasks {', '.join(sorted(found))}, but you named "
            f"{', '.join(checkpoint.tasks)}. Name all of them in tasks and auxiliary_tasks."
        )


def _advice(checkpoint: Checkpoint, tried: Layout | None = None) -> str:
    """Names the other layouts that have all tensor names of the file, if there are any."""
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
    """How the tensors of a checkpoint match those of a model.

    Attributes:
        found: Own name -> tensor.
        dropped: Released name -> why it is not needed.
        counters: Own names of batch counters that the checkpoint lacks (PyTorch before 0.4.1).
        missing: Other own names that it lacks.
        unknown: Released names that the model does not have.
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
        """Whether nothing is missing, unknown or of another shape."""
        return not (self.missing or self.unknown or self.mismatched)

    def problems(self) -> str:
        """The names that do not match, a line for each kind."""
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
        """The names that were dropped or absent, a line for each reason."""
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
    """Match the tensors of a checkpoint with the names of a model.

    Args:
        tensors: Tensors of the checkpoint.
        rules: Rules of its layout.
        tasks: Released name of every task -> own name.
        dropped: Patterns of tensors that are not needed, and why.
        own: State dict of the model; only shapes are used.

    Example:
        >>> import torch
        >>> from taskprism.interop.importing import match
        >>> released, own = {"net.weight": torch.ones(2)}, {"weight": torch.zeros(2)}
        >>> match(released, [("net.{rest}", "{rest}")], {"depth": "depth"}, [], own).is_complete
        True
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
    """The tensor, or the same values in the form in which the model has them.

    A linear layer of squeeze-and-excitation is a 1x1 convolution. Position embeddings have no entry
    of a class token where the network has none.
    """
    if tensor.ndim == 2 and own.ndim == 4 and own.shape[2:] == (1, 1):
        return tensor[:, :, None, None]
    if tensor.ndim == own.ndim == 3 and tensor.shape[1] == own.shape[1] + 1:
        return tensor[:, 1:]
    return tensor


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """Read a ``.pth``, ``.pth.tar`` or ``.safetensors`` file; code in it is never run.

    The state dict of the network is the whole file or its entry ``"model"``. The prefixes
    ``module.`` and ``model.`` are removed from names.

    Raises:
        CheckpointError: The file is missing, unreadable, or holds no tensors by name.
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
