"""Grids: many small pictures with names for rows and columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from taskprism.errors import InputError
from taskprism.visualization.canvas import (
    GAP,
    MARGIN,
    MUTED,
    SMALL,
    TEXT,
    blank,
    fit,
    shorten,
    write,
)


@dataclass(frozen=True)
class GridRow:
    """A row of pictures.

    Attributes:
        name: Text above the row.
        pictures: ``(h, w, 3)`` uint8 each, one per column; None leaves the cell empty.
        smooth: Interpolate when enlarging a picture.

    Example:
        >>> GridRow("backbone", [np.zeros((6, 8, 3), np.uint8), None]).smooth
        False
    """

    name: str
    pictures: Sequence[np.ndarray | None]
    smooth: bool = False


def grid(
    rows: Sequence[GridRow], columns: Sequence[str], tile: tuple[int, int], title: str = ""
) -> np.ndarray:
    """Arrange pictures in rows and columns, each resized to a tile.

    Args:
        rows: Rows from top to bottom.
        columns: Names of the columns, written at the top.
        tile: Width and height of a picture in pixels.
        title: Line of text at the top.

    Returns:
        ``(height, width, 3)`` uint8 RGB.

    Raises:
        InputError: A row does not have one picture per column.

    Example:
        >>> row = GridRow("backbone", [np.zeros((6, 8, 3), np.uint8)])
        >>> grid([row], ["depth"], tile=(80, 60)).shape
        (138, 112, 3)
    """
    for row in rows:
        if len(row.pictures) != len(columns):
            raise InputError(
                f"Expected one picture per column, but row {row.name!r} has {len(row.pictures)} "
                f"pictures for {len(columns)} columns."
            )
    width, height = tile
    line = SMALL + 8
    top = MARGIN + (TEXT + 12 if title else 0)
    total_width = 2 * MARGIN + len(columns) * (width + GAP) - GAP
    page = blank(total_width, top + TEXT + 8 + len(rows) * (line + height + 4) + MARGIN)
    if title:
        text = shorten(title, total_width - 2 * MARGIN, TEXT, bold=True)
        write(page, (MARGIN, MARGIN), text, bold=True)
    for index, name in enumerate(columns):
        x = MARGIN + index * (width + GAP)
        write(page, (x, top), shorten(name, width, TEXT, bold=True), bold=True)
    y = top + TEXT + 8
    for row in rows:
        text = shorten(row.name, total_width - 2 * MARGIN, SMALL)
        write(page, (MARGIN, y + 2), text, size=SMALL, color=MUTED)
        y += line
        for index, picture in enumerate(row.pictures):
            if picture is not None:
                _paste(page, picture, (MARGIN + index * (width + GAP), y), tile, row.smooth)
        y += height + 4
    return np.array(page)


def _paste(
    page: Image.Image,
    picture: np.ndarray,
    place: tuple[int, int],
    tile: tuple[int, int],
    smooth: bool,
) -> None:
    page.paste(fit(picture, *tile, smooth=smooth), place)
