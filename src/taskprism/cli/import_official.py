"""``taskprism import``: a released checkpoint as a model of this package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from taskprism.cli.words import channels_of
from taskprism.interop import import_official as read
from taskprism.progress import Reporter


def import_official(
    file: Annotated[Path, tyro.conf.Positional],
    /,
    *,
    source: str,
    model: str,
    tasks: tuple[str, ...],
    out: Path,
    auxiliary_tasks: tuple[str, ...] = (),
    size: tuple[int, int] | None = None,
) -> None:
    """Turn a checkpoint that a paper's authors released into a model of this package.

    The folder can then be given to `taskprism predict`, `taskprism profile` and taskprism.load.

    Args:
        file: The released .pth file. Only tensors are read from it.
        source: multi_task_learning_pytorch (MTI-Net), ema_net (CTAL) or astmt.
        model: The system in the file: single_task, multi_task, pad_net, mti_net, ...
        tasks: Main tasks with their channels: semseg=40 depth=1, in any order.
        out: Folder for the model.
        auxiliary_tasks: Tasks that only the front end predicts: normals=3 edge=1.
        size: Height and width of the images it was trained on, where the file leaves them open.
    """
    imported = read(file, source, model, channels_of(tasks), channels_of(auxiliary_tasks), size)
    imported.save_pretrained(out)
    Reporter().line(f"The model is in {out}.")
