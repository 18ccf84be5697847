"""Read and write videos, without PyTorch: only NumPy and OpenCV are imported."""

from taskprism.video.converting import VideoLook, convert
from taskprism.video.joining import count_frames, join_parts
from taskprism.video.reading import VIDEO_ENDINGS, Camera, VideoFile, VideoFrame, separate_videos

__all__ = [
    "VIDEO_ENDINGS",
    "Camera",
    "VideoFile",
    "VideoFrame",
    "VideoLook",
    "convert",
    "count_frames",
    "join_parts",
    "separate_videos",
]
