"""``taskprism profile``: parameters, operations, latency and memory of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table

from taskprism.cli.arguments import (
    Count,
    CountOrNone,
    OnDevice,
    Options,
    Size,
    TasksWithChannels,
    channels_of,
    options_of,
)
from taskprism.models import MultiTaskModel, create_model, list_models
from taskprism.models.hub import load
from taskprism.scoring.resources import Resources
from taskprism.scoring.resources import profile as measure


def profile(
    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")],
    /,
    *,
    tasks: TasksWithChannels = ("semseg=40", "depth"),
    auxiliary_tasks: TasksWithChannels = (),
    backbone: Annotated[str, tyro.conf.arg(metavar="NAME")] = "hrnet_w18_small_v2",
    options: Options = (),
    size: Size = (480, 640),
    batch: Count = 1,
    repeats: CountOrNone = 5,
    device: Annotated[str, tyro.conf.arg(metavar="DEVICE"), OnDevice()] = "cpu",
) -> None:
    """Print parameters, operations, latency and memory of a model.

    Args:
        model: A name of `taskprism list models`, module:Class, or a run directory or saved model,
            which determines tasks, backbone and options itself.
        tasks: Main tasks, with channels if the task has no default: semseg=40 depth normals.
        auxiliary_tasks: Tasks that only the front end predicts.
        backbone: Any name of timm (`taskprism list backbones`).
        options: Options of the model and backbone, as in recipes: propagation=false
            neck_channels=64.
        size: Height and width of the input image.
        batch: Images per batch.
        repeats: Timed forward passes; 0 skips latency.
        device: Device for latency, such as cpu or cuda:1.
    """
    built = _build(model, tasks, auxiliary_tasks, backbone, options).to(device)
    resources = measure(built, size, batch, repeats)
    Console().print(_table(built, resources, size, batch, device))


def _build(
    model: str,
    tasks: tuple[str, ...],
    auxiliary_tasks: tuple[str, ...],
    backbone: str,
    options: tuple[str, ...],
) -> MultiTaskModel:
    if model not in list_models() and Path(model).exists():
        return load(model)
    return create_model(
        model,
        channels_of(tasks),
        channels_of(auxiliary_tasks),
        backbone=backbone,
        **options_of(options),
    )


def _table(
    model: MultiTaskModel, resources: Resources, size: tuple[int, int], batch: int, device: str
) -> Table:
    main = ", ".join(task.name for task in model.tasks)
    auxiliary = ", ".join(task.name for task in model.auxiliary_tasks)
    table = Table(title=f"{model.name} on {model.config['backbone']}", show_header=False)
    table.add_row("tasks", main + (f" (auxiliary: {auxiliary})" if auxiliary else ""))
    table.add_row("input", f"{batch} x 3 x {size[0]} x {size[1]}")
    table.add_row("parameters", f"{resources.parameters / 1e6:.4f} M")
    table.add_row("multiply-adds", f"{resources.macs / 1e9:.3f} G")
    if resources.latency_s is not None:
        table.add_row("latency", f"{resources.latency_s * 1e3:.1f} ms on {device} (median)")
    table.add_row("peak memory", f"{resources.peak_memory_bytes / 2**20:.1f} MiB")
    return table
