"""``taskprism distill``: label images with a trained network."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Annotated

import torch
import tyro

from taskprism.cli.arguments import (
    Address,
    Between,
    Count,
    CountOrNone,
    Device,
    EngineName,
    Folder,
    OptionalCount,
    OptionalFolder,
    OptionalSize,
    Options,
    PerRun,
    Split,
    Tasks,
    Workers,
    options_of,
)
from taskprism.errors import InputError
from taskprism.teachers import TeacherSource
from taskprism.teachers import distill as distill_labels
from taskprism.teachers.distill import THRESHOLD
from taskprism.teachers.engines import ray_settings

Relabel = Annotated[bool, tyro.conf.FlagCreatePairsOff, tyro.conf.arg(name="all")]


def distill(
    teacher: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TEACHER")],
    images: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")],
    /,
    *,
    out: Folder,
    tasks: Tasks = (),
    root: OptionalFolder = None,
    splits: Annotated[tuple[Split, ...], tyro.conf.arg(metavar="[SPLIT ...]")] = ("train",),
    relabel: Relabel = False,
    threshold: Annotated[tuple[str, ...], tyro.conf.arg(metavar="[NUMBER TASK=NUMBER ...]")] = (),
    held_out: Annotated[float, tyro.conf.arg(metavar="SHARE"), Between(0, 1)] = 0.0,
    name: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None,
    input_size: OptionalSize = None,
    teacher_kind: Annotated[str | None, tyro.conf.arg(metavar="KIND")] = None,
    teacher_option: Options = (),
    batch_size: Count = 8,
    workers: Workers = 0,
    pictures: CountOrNone = 8,
    device: Device = None,
    engine: EngineName = "local",
    address: Address = None,
    models: OptionalCount = None,
    per_run: PerRun = None,
    imports: Annotated[tuple[str, ...], tyro.conf.Fixed, tyro.conf.Suppress] = (),
) -> None:
    """Label images with a trained network, and write a data YAML to train from.

    TEACHER is a run directory, a saved model, a hub id, an ONNX file, or a depth or segmentation
    model of the transformers library. FOLDER is a folder of images (with its subfolders), a
    pattern, a text file with one path per line, or a data YAML, of which only missing labels are
    made. Every label has a confidence from 0 to 1; pixels below the threshold in data.yaml have no
    label. An interrupted run resumes with the same command.

    Args:
        teacher: The network that labels.
        images: The images.
        out: Folder for the labels, data.yaml and distill.json.
        tasks: Tasks to label, with spaces or commas between them; by default all of the teacher.
        root: Folder of the data, for a data YAML that needs one.
        splits: Splits of a data YAML to label.
        relabel: Also label images of a data YAML that have a label.
        threshold: Confidence from which pixels count as labeled: one number, or TASK=NUMBER.
        held_out: Share of the images that becomes a test split (without a data YAML). Its scores
            measure agreement with the teacher.
        name: Name of the data; by default that of the folder.
        input_size: Height and width of the network that will be trained; by default those of the
            teacher or the data YAML.
        teacher_kind: model, onnx, transformers, or your own as module:Class; by default what
            TEACHER is.
        teacher_option: Options of the teacher, such as checkpoint=best, size=[192,256],
            depth=metric or classes=classes.yaml.
        batch_size: Images per batch.
        workers: Processes that read images; with 0 the main process does.
        pictures: Number of images of which a panel is drawn.
        device: Device such as cpu or cuda:1; by default a GPU if available.
        engine: local runs here; ray on all processors and GPUs of this machine or of a cluster.
        address: Address of a Ray cluster; by default Ray starts on this machine.
        models: Number of processes on Ray, each with its own network; by default as many as fit.
        per_run: What Ray reserves for each of them: gpus=1,cpus=4. By default one CPU, and one GPU
            if there are any.
        imports: Values of --import, which the teacher's parts may need.
    """
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    source = TeacherSource(teacher, teacher_kind, _options(teacher_option), imports)
    file = distill_labels(
        source,
        images,
        out,
        [task for word in tasks for task in word.split(",") if task] or None,
        root=root,
        splits=splits,
        relabel=relabel,
        thresholds=_thresholds(threshold),
        held_out=held_out,
        name=name,
        input_size=input_size,
        batch_size=batch_size,
        workers=workers,
        pictures=pictures,
        device=device if engine == "local" else "cpu",
        ray=ray_settings(engine, address, models, per_run),
    )
    shown = shlex.quote(str(file))
    print(f"Look at {file.parent / 'panels'}, then:")
    print(f"  taskprism data check {shown}")
    print(f"  taskprism train multi_task --data REAL.yaml {shown} --out runs/both")


def _options(words: Sequence[str]) -> dict[str, object]:
    try:
        return options_of(words)
    except InputError as error:
        raise InputError(str(error).replace("--options", "--teacher-option")) from None


def _thresholds(words: Sequence[str]) -> float | dict[str, float]:
    """``0.7`` for all tasks, or ``normals=0.7 depth=0.4``."""
    limits: dict[str, float] = {}
    everywhere = THRESHOLD
    for word in words:
        task, equals, number = word.rpartition("=")
        try:
            limit = float(number)
        except ValueError:
            raise InputError(
                f"--threshold takes a number from 0 to 1, or TASK=NUMBER, got {word!r}."
            ) from None
        if equals:
            limits[task] = limit
        elif len(words) > 1:
            raise InputError("--threshold takes one number for all tasks, or TASK=NUMBER for each.")
        else:
            everywhere = limit
    return limits or everywhere
