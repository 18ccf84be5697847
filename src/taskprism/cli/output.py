"""Tables and pictures that several commands write."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from taskprism.errors import CheckpointError


def print_wide(table: Table) -> None:
    """Print a table at the width it needs, even if the terminal is narrower."""
    console = Console()
    needed = console.measure(table, options=console.options.update(width=10_000)).maximum
    console.width = max(console.width, needed)
    console.print(table, crop=False)


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
