"""``taskprism predict``: run a trained network on images and folders of images."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro
from torch import Tensor

from taskprism.atomic import check_writable, path_inside, safe_name, write_text
from taskprism.cli.arguments import (
    Address,
    Between,
    Device,
    EngineName,
    Folder,
    Images,
    OptionalCount,
    OptionalFile,
    PerRun,
    Tasks,
)
from taskprism.cluster import connect
from taskprism.data.files import find_images, read_image
from taskprism.data.point_clouds import Intrinsics
from taskprism.errors import DataError, InputError
from taskprism.models.base import MultiTaskModel
from taskprism.models.hub import find_model_folder, load, run_manifest
from taskprism.models.inference import Inference
from taskprism.models.predicted_image import check_outputs, predict_each
from taskprism.progress import Reporter
from taskprism.stores.paths import AnyPath, as_path
from taskprism.tasks.base import Task
from taskprism.teachers.engines import absolute_path, ray_settings, run_on_ray
from taskprism.text_files import read_names

#: File in the folder of the results: settings, then one line per finished image.
RECORD = "predictions.jsonl"
_RAY_BATCH = 8  # images that a process takes at a time


def predict(
    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    images: Annotated[
        tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE [IMAGE ...]")
    ] = (),
    /,
    *,
    out: Folder,
    outputs: Annotated[tuple[str, ...], tyro.conf.arg(metavar="[OUTPUT ...]")] = (
        "panels",
        "pictures",
    ),
    raw: bool = False,
    image_list: OptionalFile = None,
    recursive: bool = False,
    size: Literal["network", "native"] = "network",
    tile: Annotated[int | None, tyro.conf.arg(metavar="PIXELS"), Between(1)] = None,
    overlap: Annotated[int, tyro.conf.arg(metavar="PIXELS"), Between(0)] = 64,
    flip: bool = False,
    scales: Annotated[tuple[float, ...], tyro.conf.arg(metavar="[SCALE ...]"), Between(0.1, 10)] = (
        1.0,
    ),
    intrinsics: Annotated[
        tuple[float, float, float, float] | None,
        tyro.conf.arg(metavar="FX FY CX CY"),
        Between(0, 1_000_000),
    ] = None,
    tasks: Tasks = (),
    checkpoint: Literal["last", "best"] = "last",
    batch_size: Images = 1,
    resume: bool = False,
    device: Device = None,
    engine: EngineName = "local",
    address: Address = None,
    models: OptionalCount = None,
    per_run: PerRun = None,
    imports: Annotated[tuple[str, ...], tyro.conf.Fixed, tyro.conf.Suppress] = (),
) -> None:
    """Predict every task of a trained network on images of any size.

    OUTPUT is one or more of: panels, DIR/panels/NAME.png, the image with all predictions; pictures,
    DIR/TASK/NAME.png, one colored picture per task, as large as the image; overlays,
    DIR/overlays/TASK/NAME.png, these over the image; arrays, DIR/TASK/NAME.npy, class indices,
    meters, unit vectors or probabilities (height x width [x channels]); labels,
    DIR/labels/TASK/NAME.png, numbers as in label files: depth in 16 bits, classes with a palette;
    DIR/labels/labels.json states the scale of each task, and classes.json the names of classes;
    points, DIR/points/NAME.ply, a colored point cloud from depth and --intrinsics.

    Args:
        run: A run directory, a saved model, the URL of one, or a model id of the Hugging Face hub.
        images: Image files, folders of images, patterns such as "photos/**/*.jpg", or URLs of
            images.
        out: Folder for the results.
        outputs: What to write.
        raw: Also write arrays.
        image_list: Text file with one more image per line.
        recursive: Search subfolders too.
        size: Whether the network sees the image at about its training size, or at the size of the
            image. The results are as large as the image either way.
        tile: Predict tiles of so many pixels of the image at its own size, and blend them: for
            images larger than memory allows.
        overlap: Pixels that neighboring tiles share.
        flip: Average with the predictions for the mirror image.
        scales: Average over these multiples of the size, such as 0.75 1 1.25.
        intrinsics: Focal lengths and center of the camera in pixels of the image, for points.
        tasks: Tasks to predict; by default all.
        checkpoint: Weights of the last epoch of a run directory, as in evaluate, or of its best.
        batch_size: Images of one size that pass through the network together.
        resume: Skip images that an interrupted command with the same options has finished.
        device: Device such as cpu or cuda:1; by default a GPU if available.
        engine: local runs here; ray on all processors and GPUs of this machine or of a cluster.
        address: Address of a Ray cluster; by default Ray starts on this machine.
        models: Number of processes on Ray, each with its own network; by default as many as fit.
        per_run: What Ray reserves for each of them: gpus=1,cpus=4. By default one CPU, and one GPU
            if there are any.
        imports: Values of --import, which every process on Ray needs too.
    """
    on_ray = ray_settings(engine, address, models, per_run)
    how = Inference("native" if size == "native" else None, flip, scales, tile, overlap)
    outputs = tuple(dict.fromkeys([*outputs, *(["arrays"] if raw else [])]))
    check_outputs(outputs)
    camera = None if intrinsics is None else Intrinsics(*intrinsics)
    listed = () if image_list is None else read_names(image_list, InputError)
    files = find_images([*images, *listed], recursive)
    if device is None:
        device = "cuda" if torch.cuda.is_available() and on_ray is None else "cpu"
    folder = find_model_folder(run, checkpoint)
    model = load(folder, device)
    wanted = _choose(model, tasks)
    for task in wanted:
        path_inside(out, task.name)
    if "points" in outputs and (camera is None or not any(task.is_depth for task in wanted)):
        raise InputError(
            "A point cloud needs the task depth and --intrinsics FX FY CX CY; leave points out of "
            "--outputs otherwise."
        )
    check_writable(out)
    reporter = Reporter()
    if size == "network" and tile is None and model.input_size is None:
        reporter.line(f"{run} does not record its training size; images are not resized.")
    _warn_of_best(run, checkpoint, reporter)
    settings = {
        "run": run,
        "checkpoint": checkpoint,
        "tasks": [task.name for task in wanted],
        "outputs": list(outputs),
        "intrinsics": intrinsics,
        **json.loads(json.dumps(asdict(how))),
    }
    record = _Record(out / RECORD, json.loads(json.dumps(settings)), resume)
    names = dict(zip(files, unique_names(files), strict=True))
    for file, name in names.items():
        if safe_name(file.stem) != file.stem:
            reporter.line(f"The results of {str(file)!r} are named {name!r}.")
    remaining = [file for file in files if str(file) not in record.finished]
    before = len(files) - len(remaining)
    if before:
        reporter.line(f"Skipping {before} of {len(files)} images, which are finished.")
    failed: list[AnyPath] = []

    def readable() -> Iterator[tuple[str, Tensor]]:
        shown = reporter.track(remaining, "predicting", len(files), before)
        for file in shown:
            try:
                yield names[file], read_image(file).as_subclass(Tensor)
            except DataError as error:
                reporter.line(str(error))
                failed.append(file)

    started, by_name = time.monotonic(), {name: file for file, name in names.items()}
    chosen = tuple(task.name for task in wanted)
    if on_ray is None:
        for result in predict_each(model, readable(), chosen, how, batch_size):
            result.save(out, outputs, camera, name=result.name)
            record.add(str(by_name[result.name]), result.name)
    else:
        gpu = on_ray.resources.uses_gpu(connect(on_ray.address))
        parts = tuple(absolute_path(each) for each in imports)
        save = _Save(out.resolve(), outputs, camera, chosen, how, batch_size)
        make = _MakePredictor(absolute_path(str(folder)), parts, gpu, save)
        items = [(names[file], absolute_path(str(file))) for file in remaining]
        outcomes = run_on_ray(make, items, max(batch_size, _RAY_BATCH), on_ray)
        for name, error in reporter.track(outcomes, "predicting", len(files), before):
            if error:
                reporter.line(error)
                failed.append(by_name[name])
            else:
                record.add(str(by_name[name]), name)
    count = len(remaining) - len(failed)
    rate = count / max(time.monotonic() - started, 1e-9)
    reporter.line(
        f"Predicted {before + count} of {len(files)} images ({rate:.2g} per second), see {out}."
    )
    if failed:
        raise DataError(
            f"Cannot read {len(failed)} of {len(files)} images: {', '.join(map(str, failed))}."
        )


@dataclass(frozen=True)
class _Save:
    """What is predicted and written by each process."""

    folder: Path
    outputs: tuple[str, ...]
    camera: Intrinsics | None
    tasks: tuple[str, ...]
    how: Inference
    batch_size: int


@dataclass(frozen=True)
class _MakePredictor:
    """Makes the predictor of a process on any machine."""

    model: str
    imports: tuple[str, ...]
    on_gpu: bool
    save: _Save

    def __call__(self) -> _Predictor:
        """The predictor."""
        device = "cuda" if self.on_gpu else "cpu"
        return _Predictor(load(self.model, device, self.imports), self.save)


class _Predictor:
    """Predicts batches of images and writes the results."""

    def __init__(self, model: MultiTaskModel, save: _Save) -> None:
        self.model = model
        self.save = save

    def read(self, item: tuple[str, str]) -> Tensor | str:
        """The image ``(3, H, W)``, or why it cannot be read."""
        try:
            return read_image(as_path(item[1])).as_subclass(Tensor)
        except DataError as error:
            return str(error)

    def __call__(
        self, items: Sequence[tuple[str, str]], images: Sequence[Tensor | str]
    ) -> list[tuple[str, str]]:
        """Name of each image, and why it could not be read or an empty text."""
        save = self.save
        good = [
            (name, image)
            for (name, _), image in zip(items, images, strict=True)
            if not isinstance(image, str)
        ]
        for result in predict_each(self.model, good, save.tasks, save.how, save.batch_size):
            result.save(save.folder, save.outputs, save.camera, name=result.name)
        errors = (image if isinstance(image, str) else "" for image in images)
        return [(name, error) for (name, _), error in zip(items, errors, strict=True)]


class _Record:
    """Which images are finished, in a file that an interrupted command leaves behind."""

    def __init__(self, file: Path, settings: dict[str, Any], resume: bool) -> None:
        self.file = file
        self.finished: set[str] = set()
        if resume and file.is_file():
            self._read(settings)
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"settings": settings}) + "\n", encoding="utf-8")

    def _read(self, settings: dict[str, Any]) -> None:
        entries = []
        for line in self.file.read_text(encoding="utf-8").splitlines():
            try:
                entries.append(json.loads(line))
            except ValueError:
                continue  # the last line, cut short
        before = entries[0].get("settings", {}) if entries else {}
        changed = [key for key in settings if settings[key] != before.get(key)]
        if changed:
            shown = ", ".join(f"{k} ({before.get(k)!r} -> {settings[k]!r})" for k in changed)
            raise InputError(
                f"The results in {self.file.parent} were made with other options: {shown}. Use "
                "these, leave out --resume, or choose another --out."
            )
        self.finished = {entry["image"] for entry in entries[1:] if "image" in entry}
        write_text(self.file, "".join(f"{json.dumps(e)}\n" for e in entries))

    def add(self, image: str, name: str) -> None:
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"image": image, "name": name}) + "\n")


def unique_names(files: Sequence[Any]) -> list[str]:
    """Name of the results of each file: its stem, or more of its name if stems are equal.

    What cannot be in the name of a file on every system, such as a line break, becomes ``_``.
    """
    stems = Counter(file.stem for file in files)
    names: list[str] = []
    taken: set[str] = set()  # without case, which some file systems do not distinguish
    for file in files:
        base = safe_name(file.stem if stems[file.stem] == 1 else file.name)
        name, number = base, 2
        while name.casefold() in taken:
            name, number = f"{base}_{number}", number + 1
        taken.add(name.casefold())
        names.append(name)
    return names


def _choose(model: MultiTaskModel, names: Sequence[str]) -> list[Task]:
    known = {task.name: task for task in model.tasks}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InputError(
            f"This {model.name} does not predict {', '.join(unknown)}; it predicts "
            f"{', '.join(known)}."
        )
    return [known[name] for name in names or known]


def _warn_of_best(run: str, checkpoint: str, reporter: Reporter) -> None:
    """Say so if the best epoch was chosen on the test images."""
    if checkpoint == "best" and run_manifest(run).get("best_chosen_on") == "test":
        reporter.line(
            "The best epoch was chosen on the test images, because the data have no validation "
            "images: its scores on them are too good."
        )
