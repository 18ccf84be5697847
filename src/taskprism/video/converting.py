"""Turn a video into a video of predictions, part by part, so that it can be resumed."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from taskprism.errors import CheckpointError, DataError, InputError, UnknownNameError
from taskprism.journal import Journal
from taskprism.progress import Reporter
from taskprism.video.joining import join_parts
from taskprism.video.opencv import opencv
from taskprism.video.reading import VideoFrame, VideoSource
from taskprism.video.writing import LARGEST_SIDE, VideoPart

IMAGE = "image"  # the frame itself
OVERLAYS = "overlays/"  # before the name of a task
_WIDEST = 3840  # pixels of the whole picture, unless a height is given
_SECONDS_PER_PART = 20.0  # of work that is lost when a command is killed
_RANGE_SECONDS = 1.0  # after which a range has moved half of its way
_MOST_REPEATS = 100_000  # frames of one part
_SUMMARY = "parts.jsonl"


class FrameResult(Protocol):
    """The predictions for one frame."""

    def limits(self, task: str) -> tuple[float, float] | None:
        """Ends of the color scale of this frame; None if the colors do not depend on them."""
        ...

    def color(self, task: str, limits: tuple[float, float] | None) -> np.ndarray:
        """Picture ``(H, W, 3)`` uint8 RGB at the size of the frame."""
        ...

    def save(self, name: str) -> None:
        """Write the files of this frame, if any are wanted."""
        ...


class FramePredictor(Protocol):
    """A network that predicts frames.

    Attributes:
        tasks: Names of what it predicts.
    """

    tasks: Sequence[str]

    def predict(self, frames: Sequence[np.ndarray]) -> Sequence[FrameResult]:
        """Predictions for frames ``(H, W, 3)`` uint8 RGB of one size."""
        ...


@dataclass(frozen=True)
class VideoLook:
    """What a video of predictions shows.

    Attributes:
        pictures: From left to right: ``"image"``, names of tasks, and ``"overlays/TASK"``. Empty:
            the image and every task.
        ranges: Task name -> ends of its color scale. The ends of other tasks follow those of the
            frames, halfway within one second, so that colors do not flicker.
        height: Of each picture in pixels; None for that of the frames, or less if the video would
            be wider than 3840 pixels.
        columns: Pictures side by side; further ones are below. None: all.
        opacity: Of overlays.

    Example:
        >>> VideoLook(("image", "depth"), {"depth": (0.5, 8.0)}).opacity
        0.6
    """

    pictures: tuple[str, ...] = ()
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    height: int | None = None
    columns: int | None = None
    opacity: float = 0.6

    def chosen(self, tasks: Sequence[str]) -> tuple[str, ...]:
        """Names of the pictures for a network that predicts ``tasks``.

        Raises:
            UnknownNameError: A picture or range is of another task.
        """
        known = [IMAGE, *tasks, *(f"{OVERLAYS}{task}" for task in tasks)]
        for name in self.pictures:
            if name not in known:
                raise UnknownNameError("picture of a video", name, known)
        for name, (low, high) in self.ranges.items():
            if name not in tasks:
                raise UnknownNameError("predicted task", name, tasks)
            if not (math.isfinite(low) and math.isfinite(high) and low < high):
                raise InputError(f"The range of {name} must ascend, got {low:g}:{high:g}.")
        return self.pictures or (IMAGE, *tasks)


def convert(
    source: VideoSource,
    predictor: FramePredictor,
    target: Path,
    look: VideoLook,
    *,
    settings: Mapping[str, Any],
    resume: bool = False,
    batch_size: int = 1,
    reporter: Reporter | None = None,
    seconds_per_part: float = _SECONDS_PER_PART,
) -> int:
    """Predict the frames of a video or camera, and write them side by side into an MP4 file.

    Parts of the file are kept in a hidden folder next to it until the last frame is written. An
    interrupted call leaves this folder, and with ``resume`` the next one continues after the last
    complete part. The target is written at the end only.

    Args:
        source: Frames.
        predictor: Predicts them, and writes files for each if wanted.
        target: The video to write.
        look: What it shows.
        settings: Plain values that must be the same when a video is resumed.
        resume: Continue an interrupted call.
        batch_size: Frames that pass through the network together.
        reporter: Shows progress.
        seconds_per_part: Seconds of work after which a part is complete.

    Returns:
        Number of frames that this call has predicted.

    Raises:
        DataError: The source has no frame.
        InputError: ``resume`` with other settings than before, or a part cannot be joined.
        CheckpointError: The video cannot be written.

    Example:
        >>> source, target = VideoFile("a.mp4"), Path("out/a.mp4")  # doctest: +SKIP
        >>> convert(source, predictor, target, VideoLook(), settings={})  # doctest: +SKIP
        300
    """
    reporter = reporter or Reporter(quiet=True)
    look.chosen(predictor.tasks)
    folder = target.with_name(f".{target.name}.parts")
    resume = resume and not source.is_live
    if not resume:
        shutil.rmtree(folder, ignore_errors=True)
    journal = Journal(folder / _SUMMARY, settings, resume)
    before = journal.entries[-1] if journal.entries else {"next": 0, "predicted": 0}
    if before["predicted"]:
        reporter.line(f"Continuing {source.name} after {before['predicted']} frames.")
    state = _State(look, predictor.tasks, source.rate, before)
    frames = source.frames(before["next"])
    shown = reporter.track(frames, target.stem, source.total, state.predicted, unit="frames")
    first = state.predicted
    stem = target.stem
    writer = _PartWriter(folder, journal, source.rate, seconds_per_part)
    with closing(frames):
        try:
            while batch := list(islice(shown, batch_size)):
                results = predictor.predict([frame.pixels for frame in batch])
                for frame, result in zip(batch, results, strict=True):
                    result.save(f"{stem}_{frame.number:06d}")
                    writer.write(state.draw(frame, result), frame.repeat)
                    state.next, state.predicted = frame.number + 1, state.predicted + 1
                writer.finish_if_due(state)
        except KeyboardInterrupt:
            with suppress(CheckpointError):  # interrupted between a frame and its count
                writer.finish(state)
            if not source.is_live:
                raise KeyboardInterrupt(
                    f"Stopped after {state.predicted} frames of {source.name}. The same command "
                    "with --resume continues."
                ) from None
        except BaseException:
            writer.discard()
            raise
    writer.finish(state)
    if source.lost:
        reporter.line(
            f"{source.name} ends {source.lost} frames earlier than it states; the file may be cut "
            "off."
        )
    if not journal.entries:
        raise DataError(f"{source.name}: this video has no frame that can be read.")
    join_parts([folder / entry["part"] for entry in journal.entries], target)
    shutil.rmtree(folder, ignore_errors=True)
    return state.predicted - first


class _State:
    """What the next frame depends on."""

    def __init__(
        self, look: VideoLook, tasks: Sequence[str], rate: float, before: Mapping[str, Any]
    ) -> None:
        self.look, self.pictures = look, look.chosen(tasks)
        self.next: int = before["next"]
        self.predicted: int = before["predicted"]
        self.ranges: dict[str, tuple[float, float]] = {
            name: (low, high) for name, (low, high) in before.get("ranges", {}).items()
        }
        self.size: tuple[int, int] | None = None
        self.moved = 1 - 0.5 ** (1 / max(rate * _RANGE_SECONDS, 1))

    def entry(self) -> dict[str, Any]:
        """Plain values from which the state is made again."""
        return {"next": self.next, "predicted": self.predicted, "ranges": self.ranges}

    def draw(self, frame: VideoFrame, result: FrameResult) -> np.ndarray:
        """All pictures of a frame in one."""
        colored: dict[str, np.ndarray] = {}
        pictures = []
        for name in self.pictures:
            if name == IMAGE:
                pictures.append(frame.pixels)
                continue
            task = name.removeprefix(OVERLAYS)
            if task not in colored:
                colored[task] = result.color(task, self._limits(task, result))
            over = name.startswith(OVERLAYS)
            pictures.append(
                overlay(frame.pixels, colored[task], self.look.opacity) if over else colored[task]
            )
        if self.size is None:
            height, width = frame.pixels.shape[:2]
            self.size = tile_size(height, width, len(pictures), self.look)
        return tiles(pictures, self.size, self.look.columns)

    def _limits(self, task: str, result: FrameResult) -> tuple[float, float] | None:
        if task in self.look.ranges:
            return self.look.ranges[task]
        now = result.limits(task)
        if now is None:
            return None
        before = self.ranges.get(task, now)
        low, high = (a + self.moved * (b - a) for a, b in zip(before, now, strict=True))
        self.ranges[task] = low, high
        return low, high


class _PartWriter:
    """Writes pictures into parts, and complete parts into the journal."""

    def __init__(self, folder: Path, journal: Journal, rate: float, seconds: float) -> None:
        self.folder, self.journal, self.rate, self.seconds = folder, journal, rate, seconds
        self.part: VideoPart | None = None
        self.started = 0.0

    def write(self, picture: np.ndarray, repeat: int) -> None:
        if self.part is None:
            name = f"{len(self.journal.entries):06d}.mp4"
            self.part = VideoPart(self.folder / name, picture.shape[:2], self.rate)
            self.started = time.monotonic()
        self.part.write(picture, repeat)

    def finish_if_due(self, state: _State) -> None:
        if self.part is not None and (
            time.monotonic() - self.started >= self.seconds or self.part.count > _MOST_REPEATS
        ):
            self.finish(state)

    def finish(self, state: _State) -> None:
        if self.part is not None:
            part, self.part = self.part, None
            self.journal.add({"part": part.close().name, **state.entry()})

    def discard(self) -> None:
        if self.part is not None:
            self.part.discard()


def overlay(image: np.ndarray, colors: np.ndarray, opacity: float) -> np.ndarray:
    """Colors over the gray image, both ``(H, W, 3)`` uint8.

    Example:
        >>> black, white = np.zeros((1, 1, 3), np.uint8), np.full((1, 1, 3), 255, np.uint8)
        >>> overlay(black, white, 0.6).tolist()
        [[[153, 153, 153]]]
    """
    gray = image.astype(np.float32).mean(axis=2, keepdims=True)  # colors stay readable on it
    return (opacity * colors.astype(np.float32) + (1 - opacity) * gray).round().astype(np.uint8)


def tile_size(height: int, width: int, count: int, look: VideoLook) -> tuple[int, int]:
    """Height and width of each of ``count`` pictures, both even.

    Raises:
        InputError: The video would be larger than its codec allows.

    Example:
        >>> tile_size(1080, 1920, 3, VideoLook())
        (720, 1280)
    """
    columns = min(look.columns or count, count)
    rows = -(-count // columns)
    scale = min(1.0, _WIDEST / (columns * width))
    if look.height is not None:
        scale = look.height / height
    rounded = tuple(max(round(side * scale / 2) * 2, 2) for side in (height, width))
    if rounded[0] * rows > LARGEST_SIDE or rounded[1] * columns > LARGEST_SIDE:
        raise InputError(
            f"A video of {rounded[0] * rows} x {rounded[1] * columns} pixels is too large; at most "
            f"{LARGEST_SIDE} are possible. Give --video-height a smaller number."
        )
    return rounded[0], rounded[1]


def tiles(pictures: Sequence[np.ndarray], size: tuple[int, int], columns: int | None) -> np.ndarray:
    """Pictures side by side, each resized to ``size``; a last row that is not full ends black.

    Example:
        >>> tiles([np.zeros((2, 4, 3), np.uint8)] * 3, (2, 4), 2).shape
        (4, 8, 3)
    """
    cv2 = opencv()
    height, width = size
    columns = min(columns or len(pictures), len(pictures))
    rows = -(-len(pictures) // columns)
    page = np.zeros((rows * height, columns * width, 3), np.uint8)
    for index, picture in enumerate(pictures):
        if picture.shape[:2] != size:
            picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
        top, left = index // columns * height, index % columns * width
        page[top : top + height, left : left + width] = picture
    return page
