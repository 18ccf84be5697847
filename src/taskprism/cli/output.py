"""Pictures that several commands write."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from taskprism.errors import CheckpointError


def write_picture(picture: np.ndarray, file: Path) -> Path:
    """Write a ``(H, W, 3)`` uint8 RGB picture as PNG and return the file.

    Raises:
        CheckpointError: The file cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(file, optimize=True)
    except OSError as error:
        raise CheckpointError(f"Cannot write the picture {file}: {error}.") from error
    return file
