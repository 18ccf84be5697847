"""``taskprism predict``: run a trained network on images and folders of images."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro
from torch import Tensor

from taskprism.atomic import check_writable, path_inside, safe_name, write_text
from taskprism.cli.arguments import Between, Device, Folder, Images, OptionalFile, Tasks
from taskprism.data.files import find_images, read_image
from taskprism.data.point_clouds import Intrinsics
from taskprism.errors import DataError, InputError
from taskprism.models.base import MultiTaskModel
from taskprism.models.hub import find_model_folder, load, run_manifest
from taskprism.models.inference import Inference
from taskprism.models.predicted_image import check_outputs, predict_each
from taskprism.progress import Reporter
from taskprism.stores.paths import AnyPath
from taskprism.tasks.base import Task
from taskprism.text_files import read_names

#: File in the folder of the results: settings, then one line per finished image.
RECORD = "predictions.jsonl"


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
    scales: Annotated[tuple[float, ...], tyro.conf.arg(metavar="[SCALE ...]")] = (1.0,),
    intrinsics: Annotated[
        tuple[float, float, float, float] | None, tyro.conf.arg(metavar="FX FY CX CY")
    ] = None,
    tasks: Tasks = (),
    checkpoint: Literal["last", "best"] = "last",
    batch_size: Images = 1,
    resume: bool = False,
    device: Device = None,
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
    """
    how = Inference("native" if size == "native" else None, flip, scales, tile, overlap)
    outputs = tuple(dict.fromkeys([*outputs, *(["arrays"] if raw else [])]))
    check_outputs(outputs)
    camera = None if intrinsics is None else Intrinsics(*intrinsics)
    listed = () if image_list is None else read_names(image_list, InputError)
    files = find_images([*images, *listed], recursive)
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
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
    chosen = [task.name for task in wanted]
    for result in predict_each(model, readable(), chosen, how, batch_size):
        result.save(out, outputs, camera, name=result.name)
        record.add(str(by_name[result.name]), result.name)
    count = len(remaining) - len(failed)
    rate = count / max(time.monotonic() - started, 1e-9)
    reporter.line(
        f"Predicted {before + count} of {len(files)} images ({rate:.2g} per second), see {out}."
    )
    if failed:
        raise DataError(
            f"Cannot read {len(failed)} of {len(files)} images: {', '.join(map(str, failed))}."
        )


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
