"""OpenCV, which reads and writes videos with FFmpeg. It is imported when a video is opened."""

from __future__ import annotations

import os
from typing import Any

from taskprism.extras import import_extra

# FFmpeg follows addresses in playlists, also in files whose names do not look like playlists.
_ENVIRONMENT = {
    "OPENCV_FFMPEG_CAPTURE_OPTIONS": "protocol_whitelist;file",
    "OPENCV_FFMPEG_LOGLEVEL": "-8",  # nothing; errors are named by this package
    "OPENCV_LOG_LEVEL": "OFF",
}


def opencv() -> Any:
    """The module ``cv2``, which opens local files only and writes nothing to the terminal.

    Environment variables of OpenCV that you have set are kept.

    Raises:
        InputError: OpenCV is not installed.

    Example:
        >>> opencv().CAP_FFMPEG
        1900
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    return import_extra("cv2", "video", "Reading and writing videos")
