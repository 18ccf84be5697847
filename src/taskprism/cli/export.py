"""``taskprism export``: write a trained network as an ONNX file or a torch.export program."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table
from torch import Tensor

from taskprism.cli.arguments import Between, File, Images, OptionalSize, Tasks
from taskprism.data.files import find_images, read_image
from taskprism.errors import InputError
from taskprism.export import OnnxModel, export_onnx, export_torch, quantize_onnx
from taskprism.layers import resize
from taskprism.models.base import MultiTaskModel
from taskprism.models.hub import find_model_folder, load, run_manifest
from taskprism.progress import Reporter
from taskprism.scoring.evaluation import Results, score, split_loader
from taskprism.stores.paths import AnyPath
from taskprism.training.experiment import saved_protocol
from taskprism.training.run_directory import RunDirectory

Paths = Annotated[tuple[Path, ...], tyro.conf.arg(metavar="[IMAGE ...]")]


def export(
    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    /,
    *,
    out: File,
    format: Literal["onnx", "torch"] = "onnx",
    checkpoint: Literal["last", "best"] = "last",
    size: OptionalSize = None,
    tasks: Tasks = (),
    raw: bool = False,
    normalize: bool = True,
    dynamic_size: bool = True,
    per_task: bool = False,
    opset: Annotated[int, tyro.conf.arg(metavar="VERSION"), Between(18, 99)] = 18,
    int8: Paths = (),
    int8_images: Images = 100,
    evaluate: bool = False,
) -> None:
    """Write a trained network as a file that other programs run, and compare the file with it.

    The file has the input images (B x 3 x H x W, RGB from 0 to 1, any B) and one output per task
    with the name of the task: class indices, meters, unit vectors or probabilities.

    Args:
        run: A run directory, a saved model, or a model id of the Hugging Face hub.
        out: The file to write, such as model.onnx or model.pt2.
        format: ONNX, or a program of torch.export for images of one size.
        checkpoint: Weights of the last epoch of a run directory, or of the best one.
        size: Height and width of the images; by default those of the training.
        tasks: Tasks to export; by default all.
        raw: Write raw outputs instead of decoded predictions. Label distillation and metrics need
            them.
        normalize: Normalize images inside the file. Otherwise it takes normalized images.
        dynamic_size: Accept images of other sizes if the model allows it.
        per_task: Write one file per task, FILE_TASK.onnx. A network that runs one task at a time
            (astmt) is then as fast as for one task.
        opset: Version of the ONNX operator set.
        int8: Images, or folders of images, to calibrate a second file with 8-bit integers,
            FILE_int8.onnx.
        int8_images: Use at most this many calibration images.
        evaluate: Score PyTorch, the file and the file with 8-bit integers on the data of the run.
    """
    reporter = Reporter()
    model = load(find_model_folder(run, checkpoint))
    size = size or model.input_size
    if size is None:
        raise InputError(f"{run} does not record its training size. Give it: --size HEIGHT WIDTH.")
    if format == "torch" and (int8 or evaluate):
        raise InputError("--int8 and --evaluate need --format onnx.")
    chosen = list(tasks) or [task.name for task in model.tasks]
    groups = [[name] for name in chosen] if per_task else [chosen]
    terms = _license(run)
    photographs = find_images(int8)[:int8_images] if int8 else []
    for group in groups:
        path = out.with_name(f"{out.stem}_{group[0]}{out.suffix}") if per_task else out
        if format == "torch":
            export_torch(model, path, size, group, normalize, not raw, terms)
            reporter.line(f"Wrote {path} ({size[0]} x {size[1]} only).")
            continue
        settings = {"normalize": normalize, "dynamic_size": dynamic_size and None}
        report = export_onnx(
            model, path, size, group, decode=not raw, opset=opset, license_terms=terms, **settings
        )
        for line in report.lines():
            reporter.line(line)
        if photographs:
            quantized = path.with_name(f"{path.stem}_int8{path.suffix}")
            count = quantize_onnx(path, quantized, _images(photographs, model, size, normalize))
            reporter.line(f"Wrote {quantized}, calibrated with {count} image(s).")
        if evaluate:
            table = _scores(Path(run), model, size, group, photographs, settings)
            Console().print(table)


def _scores(
    run: Path,
    model: MultiTaskModel,
    size: tuple[int, int],
    tasks: list[str],
    photographs: Sequence[AnyPath],
    settings: dict[str, Any],
) -> Table:
    """Metrics of the network and of its files, on the split that scores the run."""
    protocol = saved_protocol(RunDirectory(run).recipe(), run)
    columns: dict[str, Results] = {}
    with tempfile.TemporaryDirectory() as folder:
        file, quantized = Path(folder) / "raw.onnx", Path(folder) / "int8.onnx"
        export_onnx(model, file, size, tasks, **settings)
        networks: dict[str, MultiTaskModel] = {"PyTorch": model, "ONNX": OnnxModel(file)}
        if photographs:
            images = _images(photographs, model, size, settings["normalize"])
            quantize_onnx(file, quantized, images)
            networks["ONNX int8"] = OnnxModel(quantized)
        for name, network in networks.items():
            loader = split_loader(protocol, protocol.scored_split, network, batch_size=1)
            batches = Reporter().track(loader, f"scoring {name}")
            columns[name] = score(network, batches)
    table = Table(title=f"{protocol.name} {protocol.scored_split}")
    for title in ("task", "metric"):
        table.add_column(title)
    for name in columns:
        table.add_column(name, justify="right")
    for task in tasks:
        for metric in columns["PyTorch"][task]:
            values = [f"{results[task][metric]:.4f}" for results in columns.values()]
            table.add_row(task, metric, *values)
    return table


def _images(
    files: Sequence[AnyPath], model: MultiTaskModel, size: tuple[int, int], normalize: bool
) -> Iterator[np.ndarray]:
    """Calibration images as the exported file takes them."""
    for file in Reporter().track(files, "calibrating"):
        image = read_image(file).as_subclass(Tensor)[None]
        resized = resize(image, size, antialias=True)
        yield (resized if normalize else model.normalize(resized)).numpy()


def _license(run: str) -> str:
    """Terms of backbone weights and data as the manifest of the run states them; JSON."""
    terms = run_manifest(run).get("licenses")
    return json.dumps(terms) if terms else ""
