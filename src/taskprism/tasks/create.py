"""Ways to create tasks: by name, class, ``"module:Class"`` or config."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from taskprism.errors import InputError
from taskprism.metrics.base import METRICS
from taskprism.registry import describe_part
from taskprism.tasks.base import TASKS, Task, check_task_name
from taskprism.tasks.losses import check_saved_losses


def list_tasks() -> list[str]:
    """Registered names that :func:`create_task` accepts, in alphabetical order.

    Example:
        >>> from taskprism.tasks import list_tasks
        >>> list_tasks()[:3]
        ['albedo', 'depth', 'disparity']
    """
    return TASKS.names()


def create_task(kind: str | type[Task] | Task, channels: int | None = None, **fields: Any) -> Task:
    """Create a task.

    Args:
        kind: One of :func:`list_tasks`, ``"module:Class"``, a subclass of :class:`Task`, or a task.
            Of a task, a copy with the given fields is returned.
        channels: Number of output channels; by default that of the class. Semantic segmentation
            has no default: give the number of classes, or ``class_names``.
        fields: Other fields of the task, such as ``name``, ``loss_weight`` or ``class_names``.

    Raises:
        UnknownNameError: No task is registered under this name.
        InputError: A field is unknown or missing, or its value is not allowed.

    Example:
        >>> from taskprism.tasks import create_task
        >>> create_task("semseg", class_names=["floor", "wall"]).channels
        2
    """
    if isinstance(kind, Task):
        values = {f.name: getattr(kind, f.name) for f in dataclasses.fields(kind)}
        return _build(type(kind), kind.kind, channels, {**values, **fields})
    name = kind if isinstance(kind, str) else describe_part(kind)
    return _build(TASKS.find(kind), name, channels, fields)


def task_from_config(config: Mapping[str, Any], trusted: bool = False) -> Task:
    """Recreate a task from the dictionary of :meth:`Task.to_config`.

    Args:
        config: Field values, and the class under ``"kind"``.
        trusted: Whether ``"kind"`` may import a module. Leave it False for a config read from a
            file that someone else may have written (checkpoint, hub config, shard index, image
            states). Set it for recipes and for configs that the caller wrote.

    Raises:
        UnknownNameError: No task is registered under the given kind.
        InputError: The config has no kind, the kind is ``"module:Class"`` of a module that is not
            imported, or a value is not allowed, such as a name that is a path.

    Example:
        >>> from taskprism.tasks import task_from_config
        >>> task_from_config({"kind": "edge", "positive_weight": 0.8}).positive_weight
        0.8
    """
    if not isinstance(config, Mapping):
        raise InputError(f"Expected the config of a task, a mapping with 'kind', got {config!r}.")
    if "kind" not in config:
        raise InputError(
            f"A task config needs the key 'kind', one of {', '.join(list_tasks())}; "
            f"got the keys {', '.join(map(str, config))}."
        )
    fields = dict(config)
    kind = fields.pop("kind")
    channels = fields.pop("channels", None)
    found = TASKS.find(kind) if trusted else TASKS.find_saved(kind)
    if not trusted:
        metrics = fields.get("extra_metrics", ())
        for metric in metrics if isinstance(metrics, list | tuple) else ():
            METRICS.find_saved(metric)
        check_saved_losses(fields.get("losses", ()))
    return _build(found, str(kind), channels, fields)


def change_task(task: Task, fields: Mapping[str, Any]) -> Task:
    """Copy of a task with new values for some fields.

    Raises:
        InputError: A field does not exist, or identifies the task: kind, name or channels.

    Example:
        >>> from taskprism.tasks import create_task
        >>> change_task(create_task("depth"), {"loss_weight": 2.0}).loss_weight
        2.0
    """
    fixed = sorted({"kind", "name", "channels"} & set(fields))
    if fixed:
        raise InputError(f"{', '.join(fixed)} of task {task.name!r} cannot be changed.")
    return create_task(task, **fields) if fields else task


def resolve_tasks(
    tasks: Mapping[str, int | None] | Sequence[Task | type[Task] | str | Mapping[str, Any]],
    trusted: bool = True,
) -> tuple[Task, ...]:
    """Create tasks from their short forms, in the same order.

    Args:
        tasks: A mapping from kind to number of channels, ``{"semseg": 40, "depth": 1}``, or a
            sequence of tasks, task classes, kinds, ``"module:Class"`` and configs.
        trusted: See :func:`task_from_config`; pass False for tasks that a saved file lists.

    Raises:
        InputError: ``tasks`` is neither, or two tasks have the same name.

    Example:
        >>> from taskprism.tasks import resolve_tasks
        >>> [task.channels for task in resolve_tasks({"semseg": 40, "depth": 1})]
        [40, 1]
    """
    if isinstance(tasks, str):
        raise InputError(f"Expected a list or mapping of tasks. Write [{tasks!r}] for one task.")
    if isinstance(tasks, Mapping):
        created = tuple(create_task(kind, channels) for kind, channels in tasks.items())
    else:
        created = tuple(_resolve(task, trusted) for task in tasks)
    names = [task.name for task in created]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InputError(
            f"Tasks named twice: {', '.join(repeated)}. Give each task a different name."
        )
    return created


def _resolve(task: Task | type[Task] | str | Mapping[str, Any], trusted: bool) -> Task:
    if isinstance(task, Task):
        return task
    if isinstance(task, Mapping):
        return task_from_config(task, trusted)
    if isinstance(task, str) and not trusted:
        return task_from_config({"kind": task})
    if isinstance(task, (str, type)):
        return create_task(task)
    raise InputError(
        f"Expected a Task, a task class, a registered name, 'module:Class' or a config dict, got "
        f"{task!r}."
    )


def _build(
    task_type: type[Task], kind: str, channels: int | None, fields: Mapping[str, Any]
) -> Task:
    known = {f.name: f for f in dataclasses.fields(task_type)}
    if "loss_name" in fields and "losses" in known:  # the name in earlier files
        fields = dict(fields)
        fields.setdefault("losses", fields.pop("loss_name"))
    unknown = sorted(map(str, set(fields) - set(known)))
    if unknown:
        raise InputError(
            f"Task {kind!r} has no field {', '.join(unknown)}. It has {', '.join(known)}."
        )
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
    names = values.get("class_names")
    if channels is None and "channels" not in values and isinstance(names, tuple) and names:
        channels = len(names)
    if channels is not None:
        values["channels"] = channels
    elif "channels" not in values and known["channels"].default is dataclasses.MISSING:
        raise InputError(
            f"Task {kind!r} needs a number of classes: {{{kind!r}: 40}}, "
            f"or create_task({kind!r}, 40)."
        )
    task = task_type(**values)
    check_task_name(task.name)  # a subclass may have replaced the checks of Task
    return task
