"""``taskprism import``: convert a released checkpoint into a taskprism model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from taskprism.cli.arguments import Folder, OptionalSize, TasksWithChannels, channels_of
from taskprism.interop import import_official as read
from taskprism.progress import Reporter


def import_official(
    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")],
    /,
    *,
    source: Annotated[str, tyro.conf.arg(metavar="SOURCE")],
    model: Annotated[str, tyro.conf.arg(metavar="MODEL")],
    tasks: Annotated[tuple[str, ...], tyro.conf.arg(metavar="TASK=CHANNELS [...]")],
    out: Folder,
    auxiliary_tasks: TasksWithChannels = (),
    size: OptionalSize = None,
) -> None:
    """Convert a checkpoint that a paper's authors released into a taskprism model.

    `taskprism predict`, `taskprism profile` and taskprism.load accept the folder it writes.

    Args:
        file: The released .pth file. Only tensors are read from it; it cannot run code.
        source: multi_task_learning_pytorch (MTI-Net), ema_net (CTAL) or astmt.
        model: Model in the file: single_task, multi_task, pad_net, mti_net, ...
        tasks: Main tasks with their channels: semseg=40 depth=1, in any order.
        out: Folder for the model.
        auxiliary_tasks: Tasks that only the front end predicts: normals=3 edge=1.
        size: Height and width of the training images, if the file does not determine them.
    """
    imported = read(file, source, model, channels_of(tasks), channels_of(auxiliary_tasks), size)
    imported.save_pretrained(out)
    Reporter().line(f"Wrote the model to {out}.")
