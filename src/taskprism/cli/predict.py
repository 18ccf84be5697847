"""``taskprism predict``: run a trained network on images, folders of images, and videos."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import tyro
from torch import Tensor

from taskprism.atomic import check_writable, path_inside, safe_name
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
from taskprism.cli.naming import unique_names
from taskprism.cli.predict_video import (
    End,
    Every,
    Start,
    VideoColumns,
    VideoHeight,
    VideoOptions,
    VideoRanges,
    VideoTasks,
    Webcam,
    predict_videos,
)
from taskprism.cluster import connect
from taskprism.data.files import find_images, read_image
from taskprism.data.point_clouds import Intrinsics
from taskprism.errors import DataError, InputError
from taskprism.journal import Journal
from taskprism.models.base import MultiTaskModel
from taskprism.models.hub import find_model_folder, load, run_manifest
from taskprism.models.inference import Inference
from taskprism.models.predicted_image import PredictedImage, check_outputs, predict_each
from taskprism.progress import Reporter
from taskprism.stores.paths import AnyPath, as_path
from taskprism.tasks.base import Task
from taskprism.tasks.colors import ColorScale
from taskprism.teachers.engines import OnRay, absolute_path, ray_settings, run_on_ray
from taskprism.text_files import read_names
from taskprism.video import separate_videos

#: File in the folder of the results: settings, then one line per finished image.
RECORD = "predictions.jsonl"
_FOR_IMAGES = ("panels", "pictures")
_RAY_BATCH = 8  # images that a process takes at a time


def predict(
    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    images: Annotated[
        tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE [IMAGE ...]")
    ] = (),
    /,
    *,
    out: Folder,
    outputs: Annotated[tuple[str, ...], tyro.conf.arg(metavar="[OUTPUT ...]")] = (),
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
    webcam: Webcam = None,
    video_tasks: VideoTasks = (),
    video_range: VideoRanges = (),
    video_height: VideoHeight = None,
    video_columns: VideoColumns = None,
    start: Start = 0.0,
    end: End = None,
    every: Every = 1,
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
    """Predict every task of a trained network on images of any size, videos and webcams.

    A video gives DIR/videos/NAME.mp4 at the same frame rate, with the frames and all predictions
    side by side. Files for each frame are written if --outputs names them.

    OUTPUT is one or more of: panels, DIR/panels/NAME.png, the image with all predictions; pictures,
    DIR/TASK/NAME.png, one colored picture per task, as large as the image; overlays,
    DIR/overlays/TASK/NAME.png, these over the image; arrays, DIR/TASK/NAME.npy, class indices,
    meters, unit vectors or probabilities (height x width [x channels]); labels,
    DIR/labels/TASK/NAME.png, numbers as in label files: depth in 16 bits, classes with a palette;
    DIR/labels/labels.json states the scale of each task, and classes.json the names of classes;
    points, DIR/points/NAME.ply, a colored point cloud from depth and --intrinsics.

    Args:
        run: A run directory, a saved model, the URL of one, or a model id of the Hugging Face hub.
        images: Image files, folders of images, patterns such as "photos/**/*.jpg", URLs of images,
            or video files.
        out: Folder for the results.
        outputs: What to write; by default panels and pictures for images, and no files for frames
            of videos.
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
        webcam: Number of a camera, from 0, to read until Ctrl-C or --end.
        video_tasks: Pictures in the video from left to right: image, TASK, overlays/TASK. By
            default the image and every task.
        video_range: Smallest and largest value of the colors of a task, such as depth=0.5:8. By
            default they follow those of the frames slowly.
        video_height: Height of each picture; by default that of the frames, or less if the video
            would be wider than 3840 pixels.
        video_columns: Pictures side by side; further ones are below. By default all.
        start: Skip so many seconds of a video.
        end: Stop at this second of a video, or of a webcam.
        every: Predict every n-th frame of a video.
        tasks: Tasks to predict; by default all.
        checkpoint: Weights of the last epoch of a run directory, as in evaluate, or of its best.
        batch_size: Images of one size, or frames, that pass through the network together.
        resume: Skip what an interrupted command with the same options has finished.
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
    arrays = ("arrays",) if raw else ()
    for_images = tuple(dict.fromkeys((*(outputs or _FOR_IMAGES), *arrays)))
    for_frames = tuple(dict.fromkeys((*outputs, *arrays)))
    check_outputs(for_images)
    camera = None if intrinsics is None else Intrinsics(*intrinsics)
    listed = () if image_list is None else read_names(image_list, InputError)
    videos, others = separate_videos([*images, *listed])
    look = (video_tasks, video_range, video_height, video_columns, start, end, every)
    video = VideoOptions(videos, webcam, *look)
    files = [] if video and not others else find_images(others, recursive)
    if video and on_ray is not None:
        raise InputError("Videos are predicted on this machine. Leave out --engine ray.")
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
        "intrinsics": intrinsics,
        **asdict(how),
    }
    failed: list[str] = []
    if files:
        names = tuple(task.name for task in wanted)
        save = _Save(out, for_images, camera, names, how, batch_size)
        parts = tuple(absolute_path(each) for each in imports)
        elsewhere = None if on_ray is None else (on_ray, str(folder), parts)
        own = {**settings, "outputs": for_images}
        failed += _predict_images(model, files, save, own, resume, reporter, elsewhere)
    if video:
        frames = _Frames(model, wanted, how, out, for_frames, camera)
        own = {**settings, "outputs": for_frames}
        failed += predict_videos(
            frames, video, out, own, reporter, resume=resume, batch_size=batch_size
        )
    if failed:
        what = "files" if videos else "images"
        raise DataError(
            f"Cannot read {len(failed)} of {len(files) + len(videos)} {what}: {', '.join(failed)}."
        )


def _predict_images(
    model: MultiTaskModel,
    files: Sequence[AnyPath],
    save: _Save,
    settings: Mapping[str, Any],
    resume: bool,
    reporter: Reporter,
    on_ray: tuple[OnRay, str, tuple[str, ...]] | None,
) -> list[str]:
    """Predict images here, or on Ray with a saved model and the imports; return failed images."""
    record = Journal(save.folder / RECORD, settings, resume)
    finished = {entry["image"] for entry in record.entries}
    names = dict(zip(files, unique_names(files), strict=True))
    for file, name in names.items():
        if safe_name(file.stem) != file.stem:
            reporter.line(f"The results of {str(file)!r} are named {name!r}.")
    remaining = [file for file in files if str(file) not in finished]
    before = len(files) - len(remaining)
    if before:
        reporter.line(f"Skipping {before} of {len(files)} images, which are finished.")
    failed: list[str] = []

    def readable() -> Iterator[tuple[str, Tensor]]:
        shown = reporter.track(remaining, "predicting", len(files), before)
        for file in shown:
            try:
                yield names[file], read_image(file).as_subclass(Tensor)
            except DataError as error:
                reporter.line(str(error))
                failed.append(str(file))

    started, by_name = time.monotonic(), {name: str(file) for file, name in names.items()}
    if on_ray is None:
        for result in predict_each(model, readable(), save.tasks, save.how, save.batch_size):
            result.save(save.folder, save.outputs, save.camera, name=result.name)
            record.add({"image": by_name[result.name], "name": result.name})
    else:
        cluster, folder, imports = on_ray
        gpu = cluster.resources.uses_gpu(connect(cluster.address))
        remote = replace(save, folder=save.folder.resolve())
        make = _MakePredictor(absolute_path(folder), imports, gpu, remote)
        items = [(names[file], absolute_path(str(file))) for file in remaining]
        outcomes = run_on_ray(make, items, max(save.batch_size, _RAY_BATCH), cluster)
        for name, error in reporter.track(outcomes, "predicting", len(files), before):
            if error:
                reporter.line(error)
                failed.append(by_name[name])
            else:
                record.add({"image": by_name[name], "name": name})
    count = len(remaining) - len(failed)
    rate = count / max(time.monotonic() - started, 1e-9)
    reporter.line(
        f"Predicted {before + count} of {len(files)} images ({rate:.2g} per second), see "
        f"{save.folder}."
    )
    return failed


class _Frames:
    """Predicts frames of videos."""

    def __init__(
        self,
        model: MultiTaskModel,
        tasks: Sequence[Task],
        how: Inference,
        folder: Path,
        outputs: tuple[str, ...],
        camera: Intrinsics | None,
    ) -> None:
        self.model, self.how, self.folder = model, how, folder
        self.outputs, self.camera = outputs, camera
        self.tasks: Sequence[str] = [task.name for task in tasks]

    def predict(self, frames: Sequence[np.ndarray]) -> list[_Frame]:
        """Predictions for frames ``(H, W, 3)`` uint8 RGB."""
        images = (
            ("frame", torch.from_numpy(frame).permute(2, 0, 1).float() / 255) for frame in frames
        )
        results = predict_each(self.model, images, self.tasks, self.how, len(frames))
        return [_Frame(result, self) for result in results]


class _Frame:
    """The predictions for one frame."""

    def __init__(self, result: PredictedImage, frames: _Frames) -> None:
        self.result, self.frames = result, frames

    def limits(self, task: str) -> tuple[float, float] | None:
        """Ends of the color scale of this frame, if the task has one."""
        legend = self.result.task(task).legend(self.result.tensors[task])
        return (legend.low, legend.high) if isinstance(legend, ColorScale) else None

    def color(self, task: str, limits: tuple[float, float] | None) -> np.ndarray:
        """Picture ``(H, W, 3)`` uint8."""
        reference = None
        if limits is not None:  # values whose percentiles are the limits
            low, high = (max(limit, torch.finfo(torch.float32).tiny) for limit in limits)
            reference = torch.tensor([low, low, high, high]).view(1, 1, 4)
        return self.result.task(task).color(self.result.tensors[task], None, reference)

    def save(self, name: str) -> None:
        """Write the files of this frame."""
        frames = self.frames
        if frames.outputs:
            self.result.save(frames.folder, frames.outputs, frames.camera, name=name)


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
