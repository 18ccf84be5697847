"""The public list of tasks, and the ways to name one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from taskprism.errors import InputError, UnknownNameError
from taskprism.tasks.albedo import Albedo
from taskprism.tasks.base import Task
from taskprism.tasks.depth import Depth
from taskprism.tasks.disparity import Disparity
from taskprism.tasks.edge import Edge
from taskprism.tasks.human_parts import HumanParts
from taskprism.tasks.inverse_depth import InverseDepth
from taskprism.tasks.normals import Normals
from taskprism.tasks.saliency import Saliency
from taskprism.tasks.semseg import SemanticSegmentation

#: All kinds of task; the list is the registry.
TASKS: list[type[Task]] = [
    SemanticSegmentation,
    Depth,
    Normals,
    Edge,
    Saliency,
    HumanParts,
    Albedo,
    Disparity,
    InverseDepth,
]


def list_tasks() -> list[str]:
    """Names that :func:`create_task` knows."""
    return [task.kind for task in TASKS]


def create_task(kind: str, channels: int | None = None, **fields: Any) -> Task:
    """Make a task.

    Args:
        kind: One of :func:`list_tasks`.
        channels: Output channels; by default what the task says. Semantic segmentation has no
            default: give the number of classes, or ``class_names``.
        fields: Further fields of the task, such as ``name``, ``loss_weight`` or ``class_names``.

    Raises:
        UnknownNameError: If there is no such kind.
        InputError: If a field is unknown, missing or does not fit.
    """
    types = {task.kind: task for task in TASKS}
    if kind not in types:
        raise UnknownNameError("task", kind, types)
    task_type = types[kind]
    known = {f.name: f for f in dataclasses.fields(task_type)}
    unknown = sorted(set(fields) - set(known))
    if unknown:
        raise InputError(
            f"Task {kind!r} has no field {', '.join(unknown)}; it has {', '.join(known)}."
        )
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
    if channels is None and values.get("class_names"):
        channels = len(values["class_names"])
    if channels is not None:
        values["channels"] = channels
    elif known["channels"].default is dataclasses.MISSING:
        raise InputError(
            f"Task {kind!r} needs its number of classes: {{{kind!r}: 40}}, "
            f"or create_task({kind!r}, 40)."
        )
    return task_type(**values)


def task_from_config(config: Mapping[str, Any]) -> Task:
    """Make the task again whose :meth:`Task.to_config` is ``config``."""
    if "kind" not in config:
        raise InputError(
            f"A task's config needs the key 'kind', one of {', '.join(list_tasks())}; "
            f"got the keys {', '.join(map(str, config))}."
        )
    fields = dict(config)
    return create_task(fields.pop("kind"), **fields)


def change_task(task: Task, fields: Mapping[str, Any]) -> Task:
    """The task with other values of some fields.

    Raises:
        InputError: If there is no such field, or it is what the task is known by: its kind, name
            or number of channels.
    """
    fixed = sorted({"kind", "name", "channels"} & set(fields))
    if fixed:
        raise InputError(f"{', '.join(fixed)} of task {task.name!r} cannot be changed.")
    return task_from_config({**task.to_config(), **fields}) if fields else task


def resolve_tasks(
    tasks: Mapping[str, int | None] | Sequence[Task | str | Mapping[str, Any]],
) -> tuple[Task, ...]:
    """Make tasks of the short forms in which they can be named, in the given order.

    Args:
        tasks: A mapping from kind to channels, ``{"semseg": 40, "depth": 1}``, or a sequence of
            tasks, kinds and configs.

    Raises:
        InputError: If ``tasks`` is neither, or two tasks have one name.
    """
    if isinstance(tasks, str):
        raise InputError(f"Tasks come in a list or mapping; write [{tasks!r}] for one task.")
    if isinstance(tasks, Mapping):
        made = tuple(create_task(kind, channels) for kind, channels in tasks.items())
    else:
        made = tuple(_resolve(task) for task in tasks)
    names = [task.name for task in made]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"Tasks {', '.join(twice)} are named twice; give each its own name.")
    return made


def _resolve(task: Task | str | Mapping[str, Any]) -> Task:
    if isinstance(task, Task):
        return task
    if isinstance(task, str):
        return create_task(task)
    if isinstance(task, Mapping):
        return task_from_config(task)
    raise InputError(f"{task!r} is no task; give a Task, a name or a config with the key 'kind'.")
