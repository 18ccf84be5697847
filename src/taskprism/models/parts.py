"""Which part of a model a weight belongs to: backbone, neck, distillation, or layers of a task."""

from __future__ import annotations

import re
from collections.abc import Iterable

from torch import nn

from taskprism.backbones import Backbone, Neck
from taskprism.distillation import Distillation
from taskprism.models.base import MultiTaskModel
from taskprism.models.projected import ProjectedDistillation

BACKBONE, NECK, DISTILLATION, OTHER = "backbone", "neck", "distillation", "other layers"
_HEADS = "heads"
_SAVED_BACKBONE = re.compile(r"(backbone|encoder|backbones\.[^.]+)\.")


def model_parts(model: MultiTaskModel) -> dict[str, str]:
    """Part of every parameter and buffer of a model, by its name in ``state_dict()``.

    The parts are ``backbone``, ``neck``, ``distillation``, ``head of TASK`` (the final head),
    ``layers of TASK`` (all else that belongs to one task, such as its initial head), and
    ``other layers``.

    Example:
        >>> from taskprism import create_model
        >>> model = create_model("multi_task", ["depth"], backbone="test_resnet", neck_channels=8)
        >>> sorted(set(model_parts(model).values()))
        ['backbone', 'head of depth', 'neck']
    """
    kinds = {path: kind for path, module in model.named_modules() if (kind := _kind(module))}
    tasks = [task.name for task in model.all_tasks]
    return {name: _innermost(name, kinds) or _of_task(name, tasks) for name in model.state_dict()}


def trained_parameters(model: MultiTaskModel) -> dict[str, tuple[int, int]]:
    """Numbers of trained parameters and of all parameters in each part of a model.

    Example:
        >>> from taskprism import create_model
        >>> from taskprism.models.parts import trained_parameters
        >>> model = create_model("multi_task", ["depth"], backbone="test_resnet", neck="none")
        >>> trained, total = trained_parameters(model)["backbone"]
        >>> trained == total > 0
        True
    """
    parts = model_parts(model)
    counts: dict[str, tuple[int, int]] = {}
    for name, parameter in model.named_parameters():
        trained, total = counts.get(parts[name], (0, 0))
        size = parameter.numel()
        counts[parts[name]] = trained + size * parameter.requires_grad, total + size
    return counts


def saved_part(name: str, names: Iterable[str], tasks: Iterable[str]) -> str:
    """Most likely part of a tensor in a file without a model.

    Args:
        name: Name of the tensor.
        names: Names of all tensors in the file.
        tasks: Names of the tasks that may occur in names.

    Example:
        >>> saved_part("heads.depth.predict.weight", [], ["depth"])
        'head of depth'
    """
    found = _SAVED_BACKBONE.match(name)
    if found is not None:
        trunk = f"{found[0]}trunk."
        has_neck = any(each.startswith(trunk) for each in names)
        return NECK if has_neck and not name.startswith(trunk) else BACKBONE
    if name.startswith(DISTILLATION):
        return DISTILLATION
    return _of_task(name, tasks)


def _kind(module: nn.Module) -> str | None:
    if isinstance(module, Neck):
        return NECK
    if isinstance(module, Backbone):
        return BACKBONE
    return DISTILLATION if isinstance(module, Distillation | ProjectedDistillation) else None


def _innermost(name: str, kinds: dict[str, str]) -> str | None:
    """Kind of the innermost module with a kind that holds the tensor."""
    path = name
    while "." in path:
        path = path.rpartition(".")[0]
        if path in kinds:
            return kinds[path]
    return None


def _of_task(name: str, tasks: Iterable[str]) -> str:
    first, *rest = name.split(".")
    task = next((word for word in rest if word in tasks), None)
    if task is None:
        return OTHER
    return f"head of {task}" if first == _HEADS and rest[0] == task else f"layers of {task}"
