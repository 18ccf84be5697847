"""Type, colors and margins that all pictures share, and pictures brought to the size of a tile."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

Rgb = tuple[int, int, int]

PAPER: Rgb = (255, 255, 255)
INK: Rgb = (32, 36, 42)
MUTED: Rgb = (104, 112, 122)
HAIRLINE: Rgb = (214, 218, 224)

MARGIN = 16  # around a panel
GAP = 10  # between tiles
TEXT = 14  # font size of captions
SMALL = 12  # font size of legends


@lru_cache
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib ships, so that pictures look the same on every machine."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name, size)


def text_width(text: str, size: int, bold: bool = False) -> int:
    """Pixels that a line of text takes."""
    return int(np.ceil(font(size, bold).getlength(text)))


def shorten(text: str, width: int, size: int, bold: bool = False) -> str:
    """The text, cut with an ellipsis where it is wider than ``width`` pixels."""
    if text_width(text, size, bold) <= width:
        return text
    while text and text_width(text + "…", size, bold) > width:
        text = text[:-1]
    return text.rstrip() + "…"


def blank(width: int, height: int) -> Image.Image:
    """Empty sheet."""
    return Image.new("RGB", (max(width, 1), max(height, 1)), PAPER)


def write(
    sheet: Image.Image,
    position: tuple[float, float],
    text: str,
    *,
    size: int = TEXT,
    bold: bool = False,
    color: Rgb = INK,
    anchor: str = "la",
) -> None:
    """One line of text; ``anchor`` as in Pillow (``la``: left, top of the tallest letter)."""
    ImageDraw.Draw(sheet).text(position, text, fill=color, font=font(size, bold), anchor=anchor)


def vertical_text(text: str, height: int, *, size: int = TEXT, color: Rgb = MUTED) -> Image.Image:
    """A line of text that reads upwards, centerd on ``height`` pixels."""
    line = blank(height, size + 6)
    write(line, (height / 2, (size + 6) / 2), text, size=size, color=color, anchor="mm")
    return line.transpose(Image.Transpose.ROTATE_90)


def fit(picture: np.ndarray, width: int, height: int, smooth: bool) -> Image.Image:
    """Picture ``(H, W, 3)`` uint8 at the size of a tile.

    Args:
        picture: RGB.
        width: Of the tile.
        height: Of the tile.
        smooth: Interpolate when enlarging (photographs); label maps keep hard pixels, because
            colors between two classes mean nothing.
    """
    shrinks = width < picture.shape[1] or height < picture.shape[0]
    if smooth:
        method = Image.Resampling.LANCZOS
    else:
        method = Image.Resampling.BOX if shrinks else Image.Resampling.NEAREST
    return Image.fromarray(picture).resize((width, height), method)


def hatching(width: int, height: int) -> np.ndarray:
    """Light diagonal lines that mean "nothing is known here", ``(height, width, 3)`` uint8."""
    stripe = (np.arange(height)[:, None] + np.arange(width)) % 9 < 1
    return np.where(stripe[..., None], np.uint8(196), np.uint8(240)).repeat(3, axis=2)


def tile_size(height: int, width: int, tile_width: int | None = None) -> tuple[int, int]:
    """Width and height of the tiles for an image: its own size, kept readable and handy."""
    wanted = min(max(width, 240), 360) if tile_width is None else tile_width
    # A very long image must not make a panel of endless height or of no height at all.
    return wanted, min(max(round(wanted * height / width), 24), 3 * wanted)
