"""``taskprism predict FILE.onnx``: run an exported file on images, without PyTorch."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro
from PIL import Image, ImageOps, UnidentifiedImageError

from taskprism.atomic import (
    check_writable,
    path_inside,
    write_bytes,
    write_json,
    write_picture,
)
from taskprism.cli.arguments import Folder, Tasks
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
from taskprism.errors import DataError, InputError
from taskprism.export.runtime import OnnxPredictor, Output
from taskprism.progress import Reporter
from taskprism.video import separate_videos

_SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


def predict(
    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE.onnx")],
    images: Annotated[
        tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE [IMAGE ...]")
    ] = (),
    /,
    *,
    out: Folder,
    raw: bool = False,
    size: Literal["network", "native"] = "network",
    tasks: Tasks = (),
    webcam: Webcam = None,
    video_tasks: VideoTasks = (),
    video_range: VideoRanges = (),
    video_height: VideoHeight = None,
    video_columns: VideoColumns = None,
    start: Start = 0.0,
    end: End = None,
    every: Every = 1,
    resume: bool = False,
) -> None:
    """Run an exported file on images of any size, videos and webcams, without PyTorch.

    A video gives DIR/videos/NAME.mp4 at the same frame rate, with the frames and all predictions
    side by side.

    An image gives DIR/TASK/NAME.png (a colored picture), DIR/panels/NAME.png (the image with all
    pictures from left to right), with --raw DIR/TASK/NAME.npy, and DIR/classes.json.

    Args:
        file: File of `taskprism export`.
        images: Image files, video files, or folders of images, which are searched with their
            subfolders.
        out: Folder for the results.
        raw: Also write arrays, of each image and of each frame of a video.
        size: Whether the network sees the image at about its training size, or at the size of the
            image. The results are as large as the image either way.
        tasks: Tasks to predict; by default all.
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
        resume: Skip videos that an interrupted command with the same options has finished, and
            continue the one that it has not.
    """
    reporter = Reporter()
    predictor = OnnxPredictor(file)
    outputs = predictor.choose(tasks)
    native = size == "native"
    videos, others = separate_videos(images)
    look = (video_tasks, video_range, video_height, video_columns, start, end, every)
    video = VideoOptions(videos, webcam, *look)
    found = [] if video and not others else _find([Path(path) for path in others])
    check_writable(out)
    failed: list[str] = []
    names = dict(zip(found, unique_names(found), strict=True))
    for path in reporter.track(found, "predicting"):
        try:
            pixels = _read(path)
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
            reporter.line(f"Cannot read {path}: {error}")
            failed.append(str(path))
            continue
        predictions = predictor.predict(pixels, [output.name for output in outputs], native)
        name = names[path]
        pictures = {output.name: output.color(predictions[output.name]) for output in outputs}
        for task, picture in pictures.items():
            write_picture(path_inside(out, task, f"{name}.png"), picture)
        if raw:
            _write_arrays(out, name, predictions)
        photograph = (pixels * 255).round().astype(np.uint8)
        panel = np.concatenate([photograph, *pictures.values()], axis=1)
        write_picture(path_inside(out, "panels", f"{name}.png"), panel)
    classes = {output.name: output.class_names for output in outputs if output.class_names}
    if classes:
        write_json(out / "classes.json", classes)
    if found:
        reporter.line(f"Predicted {len(found) - len(failed)} of {len(found)} images, see {out}.")
    if video:
        frames = _Frames(predictor, outputs, native, out if raw else None)
        settings = {"file": str(file), "size": size, "tasks": list(frames.tasks), "raw": raw}
        failed += predict_videos(frames, video, out, settings, reporter, resume=resume)
    if failed:
        what = "files" if videos else "images"
        raise DataError(
            f"Cannot read {len(failed)} of {len(found) + len(videos)} {what}: {', '.join(failed)}."
        )


class _Frames:
    """Predicts frames of videos."""

    def __init__(
        self,
        predictor: OnnxPredictor,
        outputs: Sequence[Output],
        native: bool,
        arrays: Path | None,
    ) -> None:
        self.predictor, self.native, self.arrays = predictor, native, arrays
        self.outputs = {output.name: output for output in outputs}
        self.tasks: Sequence[str] = list(self.outputs)

    def predict(self, frames: Sequence[np.ndarray]) -> list[_Frame]:
        """Predictions for frames ``(H, W, 3)`` uint8 RGB."""
        return [
            _Frame(self.predictor.predict(frame, self.tasks, self.native), self) for frame in frames
        ]


class _Frame:
    """The predictions for one frame."""

    def __init__(self, predictions: dict[str, np.ndarray], frames: _Frames) -> None:
        self.predictions, self.frames = predictions, frames

    def limits(self, task: str) -> tuple[float, float] | None:
        """Ends of the color scale of this frame, if the task has one."""
        return self.frames.outputs[task].limits(self.predictions[task])

    def color(self, task: str, limits: tuple[float, float] | None) -> np.ndarray:
        """Picture ``(H, W, 3)`` uint8."""
        return self.frames.outputs[task].color(self.predictions[task], limits)

    def save(self, name: str) -> None:
        """Write the arrays of this frame, if they are wanted."""
        if self.frames.arrays is not None:
            _write_arrays(self.frames.arrays, name, self.predictions)


def _write_arrays(folder: Path, name: str, predictions: Mapping[str, np.ndarray]) -> None:
    for task, values in predictions.items():
        stream = io.BytesIO()
        np.save(stream, values, allow_pickle=False)
        write_bytes(path_inside(folder, task, f"{name}.npy"), stream.getvalue())


def _find(paths: Sequence[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = (each for each in path.rglob("*") if each.suffix.lower() in _SUFFIXES)
            found += sorted(inside)
        elif path.is_file():
            found.append(path)
        else:
            raise InputError(f"There is no image or folder {str(path)!r}. Check its name.")
    if not paths:
        raise InputError("No image was given. Give image files, folders of them, or videos.")
    if not found:
        raise DataError(f"There is no image in {', '.join(map(str, paths))}.")
    return found


def _read(path: Path) -> np.ndarray:
    """RGB ``(H, W, 3)`` float32 in [0, 1], upright; opacity is dropped."""
    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I;16"):
            gray = np.asarray(upright, np.float32) / np.float32(65535)
            return np.repeat(gray[..., None], 3, axis=2)
        if upright.mode in ("I", "F"):
            raise OSError(
                f"its numbers have 32 bits, of which it is not known what is white (mode "
                f"{upright.mode}). Save it with 8 or 16 bits"
            )
        return np.asarray(upright.convert("RGB"), np.float32) / np.float32(255)
