"""Write a part of a video as an MP4 file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from taskprism.errors import CheckpointError, DataError, InputError
from taskprism.video.joining import count_frames
from taskprism.video.opencv import opencv

#: Largest width and height of MPEG-4 Visual, rounded down to a multiple of 16.
LARGEST_SIDE = 8176


class VideoPart:
    """An MP4 file that is being written, with MPEG-4 Visual, which every build of FFmpeg has.

    Args:
        file: The file. It has another name until :meth:`close`.
        size: ``(H, W)`` of the pictures, even numbers.
        rate: Frames per second.

    Attributes:
        count: Frames that were written.

    Raises:
        InputError: The size is odd or too large.
        CheckpointError: The file cannot be written.

    Example:
        >>> part = VideoPart(Path("clip.mp4"), (480, 640), 25.0)  # doctest: +SKIP
        >>> part.write(np.zeros((480, 640, 3), np.uint8))  # doctest: +SKIP
        >>> part.close()  # doctest: +SKIP
    """

    def __init__(self, file: Path, size: tuple[int, int], rate: float) -> None:
        if any(side % 2 or not 2 <= side <= LARGEST_SIDE for side in size):
            raise InputError(
                f"A video needs an even height and width of at most {LARGEST_SIDE} pixels, got "
                f"{size[0]} x {size[1]}. Give --video-height a smaller number."
            )
        self.file, self.size, self.count = file, size, 0
        self._partial = file.with_name(f".{file.stem}.partial.mp4")
        cv2 = opencv()
        codec = cv2.VideoWriter_fourcc(*"mp4v")
        self._partial.unlink(missing_ok=True)
        self._writer = cv2.VideoWriter(
            str(self._partial.resolve()), cv2.CAP_FFMPEG, codec, rate, (size[1], size[0])
        )
        if not self._writer.isOpened():
            raise CheckpointError(
                f"Cannot write a video of {size[0]} x {size[1]} pixels at {rate:g} frames per "
                f"second to {file}. Check the free space and permissions of the folder."
            )

    def write(self, picture: np.ndarray, repeat: int = 1) -> None:
        """Add a picture ``(H, W, 3)`` uint8 RGB, ``repeat`` times."""
        bgr = np.ascontiguousarray(picture[..., ::-1])
        for _ in range(repeat):
            self._writer.write(bgr)
        self.count += repeat

    def close(self) -> Path:
        """Finish the file, check that it holds every frame, and return it.

        Raises:
            CheckpointError: It does not, as on a full disk.
        """
        self._writer.release()
        try:
            held = count_frames(self._partial)
        except DataError:
            held = 0
        if held != self.count:
            self._partial.unlink(missing_ok=True)
            raise CheckpointError(
                f"Could not write {self.file}: it holds {held} of {self.count} frames. Make room "
                "on the disk, then continue with --resume."
            )
        self._partial.replace(self.file)
        return self.file

    def discard(self) -> None:
        """Remove the unfinished file."""
        self._writer.release()
        self._partial.unlink(missing_ok=True)
