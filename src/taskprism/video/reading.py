"""Frames of video files and cameras, at a constant rate."""

from __future__ import annotations

import glob
import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from taskprism.errors import DataError, InputError
from taskprism.video.opencv import opencv

#: Endings of files that are read as videos.
VIDEO_ENDINGS = (
    *(".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv"),
    *(".3gp", ".ogv", ".mts", ".m2ts"),
)
_USUAL_RATE = 30.0  # frames per second, where the file or camera states none
_LARGEST_RATE = 240.0
_LONGEST_GAP = 60.0  # seconds between two frames; more is a damaged time stamp
_PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"<?xml", b"<MPD")


@dataclass(frozen=True, eq=False)
class VideoFrame:
    """One frame.

    Attributes:
        pixels: ``(H, W, 3)`` uint8 RGB, upright.
        number: Of the frame in the source, from 0.
        repeat: How many frames of a video of constant rate show it, at least 1.

    Example:
        >>> VideoFrame(np.zeros((2, 3, 3), np.uint8), number=0).repeat
        1
    """

    pixels: np.ndarray
    number: int
    repeat: int = 1


class VideoSource(Protocol):
    """A video file or a camera.

    Attributes:
        name: For messages.
        rate: Frames per second of the frames that are read.
        total: How many there are, as the file states; None if it is not known.
        lost: How many of the stated frames could not be read, after all have been.
        is_live: Whether frames are gone when they are not read in time.
    """

    name: str
    rate: float
    total: int | None
    lost: int
    is_live: bool

    def frames(self, first: int = 0) -> Generator[VideoFrame, None, None]:
        """Frames in order, beginning with the number ``first`` of the source."""
        ...


class VideoFile:
    """A video file.

    Frames are shown at a constant rate: a frame that lasts longer than others is repeated, and one
    that would follow another within half a frame is left out, as players of files with a variable
    rate do. Rotation that the file states is applied. Sound is not read.

    Args:
        path: The file. Only local files are opened.
        start: Seconds from the beginning that are skipped.
        end: Seconds from the beginning at which reading ends; None for the end of the file.
        every: Read every n-th frame; the rate is divided by it.

    Attributes:
        name: Path of the file.
        rate: Frames per second.
        total: Number of frames that are read, as the file states it; None if it states none.
        lost: How many of the stated frames could not be read, after all have been; fewer than one
            of a hundred are not counted, because files state their length in different ways.
        stated_rate: Whether the file states its rate; 30 is assumed otherwise.

    Raises:
        InputError: OpenCV is not installed, or a number is out of range.
        DataError: The file does not exist, is not a video, or has no frame.

    Example:
        >>> VideoFile("clip.mp4", start=2).rate  # doctest: +SKIP
        29.97002997002997
    """

    is_live = False

    def __init__(
        self, path: str | Path, start: float = 0.0, end: float | None = None, every: int = 1
    ) -> None:
        self.path = Path(path)
        self.name = str(path)
        if not start >= 0 or every < 1 or (end is not None and not end > start):
            raise InputError(
                f"Expected 0 <= start < end in seconds and every >= 1, got start {start}, end "
                f"{end}, every {every}."
            )
        self.start, self.end, self.every = start, end, every
        self.lost = 0
        _check_file(self.path)
        with self._opened() as capture:
            cv2 = opencv()
            stated = capture.get(cv2.CAP_PROP_FPS)
            self.stated_rate = math.isfinite(stated) and 0 < stated <= _LARGEST_RATE
            self._source_rate = stated if self.stated_rate else _USUAL_RATE
            count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
            if not capture.grab():
                raise DataError(f"{path}: this video has no frame that can be read.")
        self.rate = self._source_rate / every
        self.stated_count = int(count) if math.isfinite(count) and 0 < count < 2**40 else None
        self.total = self._selected_count()

    def frames(self, first: int = 0) -> Generator[VideoFrame, None, None]:
        """Frames in order; those before number ``first`` are decoded but not returned.

        Raises:
            DataError: No frame is in the chosen seconds.
        """
        with self._opened() as capture:
            seen = False
            for frame in _at_constant_rate(self._moments(capture), self.rate, first):
                seen = True
                yield frame
        if not seen and first == 0:
            end = "" if self.end is None else f" and before {self.end:g} s"
            raise DataError(
                f"{self.name}: the video has no frame after {self.start:g} s{end}. Choose other "
                "seconds."
            )

    def _moments(self, capture: Any) -> Iterator[_Moment]:
        """Chosen frames with their seconds since the first chosen one."""
        cv2 = opencv()
        number, elapsed, before = -1, 0.0, 0.0
        first: tuple[int, float] | None = None
        while capture.grab():
            number += 1
            stamp = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            if number:
                step = stamp - before
                # Files without time stamps, or with damaged ones, are read at their rate.
                elapsed += step if 0 < step <= _LONGEST_GAP else 1 / self._source_rate
            before = stamp
            if self.end is not None and elapsed >= self.end:
                return
            if elapsed < self.start:
                continue
            first = first or (number, elapsed)
            if (number - first[0]) % self.every == 0:
                yield _Moment(number, elapsed - first[1], lambda: _pixels(*capture.retrieve()))
        missing = (self.stated_count or 0) - (number + 1)
        self.lost = missing if missing > 1 + number // 100 else 0

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        cv2 = opencv()
        try:
            # An absolute path cannot be taken for the address of another protocol.
            capture = cv2.VideoCapture(str(self.path.resolve()), cv2.CAP_FFMPEG)
        except cv2.error as error:
            raise DataError(f"{self.name}: this video cannot be read ({error}).") from error
        try:
            if not capture.isOpened():
                raise DataError(
                    f"{self.name}: this video cannot be read. The file is damaged, cut off, or has "
                    "a format that FFmpeg does not know."
                )
            yield capture
        finally:
            capture.release()

    def _selected_count(self) -> int | None:
        if self.stated_count is None:
            return None
        last = self.stated_count
        if self.end is not None:
            last = min(last, math.ceil(self.end * self._source_rate))
        first = math.ceil(self.start * self._source_rate)
        return max(math.ceil((last - first) / self.every), 0) or None


class Camera:
    """A webcam, read until it ends or the seconds are over.

    Time is real time: while a network is slower than the camera, frames are lost and the last one
    is shown for longer.

    Args:
        number: Of the camera, from 0.
        seconds: How long to read; None until the camera is unplugged or Ctrl-C is pressed.
        capture: An object like ``cv2.VideoCapture``; by default the camera is opened.
        clock: Seconds now.

    Attributes:
        name: ``"webcam 0"``.
        rate: Frames per second that the camera states.
        total: None.

    Raises:
        InputError: OpenCV is not installed.
        DataError: There is no such camera.

    Example:
        >>> Camera(0, seconds=10).rate  # doctest: +SKIP
        30.0
    """

    total: int | None = None
    lost = 0
    is_live = True

    def __init__(
        self,
        number: int,
        seconds: float | None = None,
        capture: Any = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = f"webcam {number}"
        self.seconds = seconds
        self._clock = clock
        cv2 = opencv()
        self._capture = cv2.VideoCapture(number) if capture is None else capture
        if not self._capture.isOpened():
            raise DataError(
                f"There is no camera {number}, or another program uses it. Plug it in, or give "
                "--webcam another number."
            )
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        stated = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = stated if math.isfinite(stated) and 0 < stated <= _LARGEST_RATE else _USUAL_RATE

    def frames(self, first: int = 0) -> Generator[VideoFrame, None, None]:
        """Frames as they arrive.

        Raises:
            DataError: The camera gives no frame.
        """
        try:
            yield from _at_constant_rate(self._moments(), self.rate, first)
        finally:
            self._capture.release()

    def _moments(self) -> Iterator[_Moment]:
        number, started = 0, 0.0
        while True:
            pixels = _pixels(*self._capture.read())
            now = self._clock()
            if pixels is None:
                if number == 0:
                    raise DataError(f"{self.name} gives no picture. Check its cable and settings.")
                return
            started = now if number == 0 else started
            if self.seconds is not None and now - started >= self.seconds:
                return
            yield _Moment(number, now - started, lambda pixels=pixels: pixels)
            number += 1


@dataclass(frozen=True)
class _Moment:
    number: int
    seconds: float
    pixels: Callable[[], np.ndarray | None]


def _at_constant_rate(moments: Iterable[_Moment], rate: float, first: int) -> Iterator[VideoFrame]:
    """Frames from number ``first`` on, each with the places that it takes at a constant rate."""
    waiting: tuple[int, np.ndarray | None, int] | None = None  # number, pixels, place
    for moment in moments:
        place = math.floor(moment.seconds * rate + 0.5)
        if waiting is not None and place <= waiting[2]:
            continue
        pixels = moment.pixels() if moment.number >= first else None
        if moment.number >= first and pixels is None:
            continue  # a damaged frame: the one before is shown for longer
        if waiting is not None and waiting[1] is not None:
            yield VideoFrame(waiting[1], waiting[0], place - waiting[2])
        waiting = (moment.number, pixels, place)
    if waiting is not None and waiting[1] is not None:
        yield VideoFrame(waiting[1], waiting[0])


def _pixels(readable: bool, bgr: np.ndarray | None) -> np.ndarray | None:
    """What OpenCV has read as RGB ``(H, W, 3)`` uint8."""
    if not readable or bgr is None or bgr.size == 0:
        return None
    if bgr.ndim == 2 or bgr.shape[2] == 1:
        return np.repeat(bgr.reshape(*bgr.shape[:2], 1), 3, axis=2)
    return np.ascontiguousarray(bgr[..., 2::-1])


def _check_file(path: Path) -> None:
    if not path.exists():
        raise DataError(f"{path} does not exist.")
    if not path.is_file():  # opening a pipe would wait for ever
        raise DataError(f"{path}: this video is not a regular file.")
    with path.open("rb") as file:
        start = file.read(16).lstrip(b"\xef\xbb\xbf \r\n")
    if not start:
        raise DataError(f"{path}: this video is empty.")
    if start.startswith(_PLAYLISTS):
        raise DataError(
            f"{path}: this is a playlist, which names other files. Give the video itself."
        )


def separate_videos(paths: Iterable[str | Path]) -> tuple[list[Path], list[str | Path]]:
    """Video files among paths and patterns, and the other paths.

    Args:
        paths: Files, folders, patterns and URLs. What ends in one of :data:`VIDEO_ENDINGS` is a
            video, or a pattern of videos.

    Returns:
        Video files, each once, and everything else as it was given.

    Raises:
        InputError: A video is at a URL, does not exist, or no file matches a pattern.

    Example:
        >>> separate_videos(["photo.jpg", "folder"])
        ([], ['photo.jpg', 'folder'])
        >>> separate_videos(["https://example.org/clip.mp4"])  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        taskprism.errors.InputError: 'https://example.org/clip.mp4' is a URL. Videos are read ...
    """
    videos: dict[Path, None] = {}
    others: list[str | Path] = []
    for given in paths:
        text = str(given)
        address = text.partition("?")[0] if "://" in text else text
        if not address.lower().endswith(VIDEO_ENDINGS) or Path(text).is_dir():
            if text.partition("://")[0].lower() in ("rtsp", "rtmp", "rtp", "udp", "tcp", "srt"):
                raise _url_error(text)
            others.append(given)
        elif "://" in text:
            raise _url_error(text)
        elif Path(text).exists():
            videos[Path(text)] = None
        elif glob.has_magic(text):
            found = sorted(glob.glob(text, recursive=True))  # noqa: PTH207 (absolute patterns)
            if not found:
                raise InputError(f"No video matches {text!r}. Check the pattern.")
            videos |= dict.fromkeys(map(Path, found))
        else:
            raise InputError(f"{text} does not exist. Give video files.")
    return list(videos), others


def _url_error(text: str) -> InputError:
    return InputError(
        f"{text!r} is a URL. Videos are read from local files and webcams only: download the file "
        "first."
    )
