"""Videos and webcams in ``taskprism predict``, for networks of PyTorch and exported files."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from taskprism.atomic import path_inside
from taskprism.checks import LONGEST_SIDE
from taskprism.cli.arguments import Between
from taskprism.cli.naming import unique_names
from taskprism.errors import DataError, InputError
from taskprism.journal import Journal
from taskprism.progress import Reporter
from taskprism.video import Camera, VideoFile, VideoLook, convert
from taskprism.video.converting import FramePredictor
from taskprism.video.reading import VideoSource

FOLDER = "videos"
_RECORD = "videos.jsonl"
_DAY = 86_400.0
_named = tyro.conf.arg

Webcam = Annotated[int | None, _named(metavar="NUMBER"), Between(0, 1000)]
VideoTasks = Annotated[tuple[str, ...], _named(metavar="[PICTURE ...]")]
VideoRanges = Annotated[tuple[str, ...], _named(metavar="[TASK=LOW:HIGH ...]")]
VideoHeight = Annotated[int | None, _named(metavar="PIXELS"), Between(2, LONGEST_SIDE)]
VideoColumns = Annotated[int | None, _named(metavar="COUNT"), Between(1, 1000)]
Start = Annotated[float, _named(metavar="SECONDS"), Between(0, 365 * _DAY)]
End = Annotated[float | None, _named(metavar="SECONDS"), Between(0, 365 * _DAY)]
Every = Annotated[int, _named(metavar="COUNT"), Between(1, 1_000_000)]


@dataclass(frozen=True)
class VideoOptions:
    """Options of ``taskprism predict`` for videos and webcams.

    Attributes:
        files: Video files.
        webcam: Number of a camera, or None.
        pictures: Names of the pictures in the video.
        ranges: Words such as ``"depth=0.5:8"``.
        height: Of each picture in pixels, or None.
        columns: Pictures side by side, or None for all.
        start: Seconds from the beginning that are skipped.
        end: Seconds from the beginning at which reading ends.
        every: Every n-th frame is predicted.

    Raises:
        InputError: An option is wrong, or does not fit the others.
    """

    files: Sequence[Path] = ()
    webcam: int | None = None
    pictures: tuple[str, ...] = ()
    ranges: tuple[str, ...] = ()
    height: int | None = None
    columns: int | None = None
    start: float = 0.0
    end: float | None = None
    every: int = 1

    def __post_init__(self) -> None:
        if self.end is not None and self.end <= self.start:
            raise InputError(f"--end {self.end:g} must be greater than --start {self.start:g}.")
        if self.webcam is not None and (self.start or self.every != 1):
            raise InputError("A webcam has no --start and no --every. Leave them out.")
        used = self.pictures or self.ranges or self.height or self.columns
        if (used or self.start or self.end or self.every != 1) and not self:
            raise InputError(
                "The options --video-*, --start, --end and --every are for videos. Name a video "
                "file, or --webcam 0."
            )

    def __bool__(self) -> bool:
        return bool(self.files) or self.webcam is not None

    @property
    def look(self) -> VideoLook:
        """What the videos show."""
        return VideoLook(self.pictures, _ranges(self.ranges), self.height, self.columns)

    def settings(self) -> dict[str, Any]:
        """Plain values on which the frames depend."""
        names = ("pictures", "ranges", "height", "columns", "start", "end", "every")
        return {name: getattr(self, name) for name in names}


def predict_videos(
    predictor: FramePredictor,
    options: VideoOptions,
    out: Path,
    settings: Mapping[str, Any],
    reporter: Reporter,
    *,
    resume: bool = False,
    batch_size: int = 1,
) -> list[str]:
    """Write ``DIR/videos/NAME.mp4`` for each video and for the webcam.

    Args:
        predictor: Predicts frames.
        options: Which videos, and what is written.
        out: Folder of the results.
        settings: Further plain values on which the results depend.
        reporter: Shows progress and errors.
        resume: Skip finished videos, and continue an interrupted one.
        batch_size: Frames that pass through the network together.

    Returns:
        Videos that could not be read, and why.
    """
    settings = {**settings, **options.settings()}
    options.look.chosen(predictor.tasks)
    journal = Journal(out / FOLDER / _RECORD, settings, resume)
    finished = {entry["video"] for entry in journal.entries}
    failed = []
    for file, name in zip(options.files, unique_names(options.files), strict=True):
        if str(file) in finished:
            reporter.line(f"Skipping {file}, which is finished.")
            continue
        target = path_inside(out, FOLDER, f"{name}.mp4")
        if target.exists() and target.samefile(file):
            raise InputError(f"{file} would be replaced by its results. Choose another --out.")
        try:
            source = VideoFile(file, options.start, options.end, options.every)
            if not source.stated_rate:
                reporter.line(f"{file} states no frame rate; 30 frames per second are assumed.")
            status = file.stat()
            own = {**settings, "video": str(file), "bytes": status.st_size}
            _convert(predictor, source, target, options, own, reporter, resume, batch_size)
        except DataError as error:
            reporter.line(str(error))
            failed.append(str(file))
            continue
        journal.add({"video": str(file), "name": name})
    if options.webcam is not None:
        camera = Camera(options.webcam, options.end)
        target = _free(out / FOLDER, f"webcam_{options.webcam}")
        reporter.line("Reading the webcam. Press Ctrl-C to stop and to save the video.")
        _convert(predictor, camera, target, options, settings, reporter, False, batch_size)
    return failed


def _convert(
    predictor: FramePredictor,
    source: VideoSource,
    target: Path,
    options: VideoOptions,
    settings: Mapping[str, Any],
    reporter: Reporter,
    resume: bool,
    batch_size: int,
) -> None:
    started = time.monotonic()
    count = convert(
        source,
        predictor,
        target,
        options.look,
        settings=settings,
        resume=resume,
        batch_size=batch_size,
        reporter=reporter,
    )
    rate = count / max(time.monotonic() - started, 1e-9)
    shown = " | ".join(options.look.chosen(predictor.tasks))
    reporter.line(f"Predicted {count} frames ({rate:.3g} frames/s), see {target} ({shown}).")


def _free(folder: Path, stem: str) -> Path:
    """A file that does not exist yet, because nobody can record the same again."""
    target, number = folder / f"{stem}.mp4", 2
    while target.exists():
        target, number = folder / f"{stem}_{number}.mp4", number + 1
    return target


def _ranges(words: Iterable[str]) -> dict[str, tuple[float, float]]:
    """``depth=0.5:8`` -> ``{"depth": (0.5, 8.0)}``."""
    ranges = {}
    for word in words:
        task, _, limits = word.partition("=")
        low, colon, high = limits.partition(":")
        try:
            ranges[task] = float(low), float(high)
        except ValueError:
            colon = ""
        if not task or not colon:
            raise InputError(
                f"--video-range takes TASK=LOW:HIGH, such as depth=0.5:8, got {word!r}."
            )
    return ranges
