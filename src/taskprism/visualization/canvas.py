"""Fonts, colors and margins of all pictures, and resizing of pictures to tiles."""

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
    """DejaVu Sans, which matplotlib includes, so that pictures look the same on every machine.

    Example:
        >>> font(12).size
        12
    """
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name, size)


def text_width(text: str, size: int, bold: bool = False) -> int:
    """Width of a line of text in pixels.

    Example:
        >>> text_width("depth", 12) < text_width("normals", 12)
        True
    """
    return int(np.ceil(font(size, bold).getlength(printable(text))))


def printable(text: str) -> str:
    r"""The text with ``_`` for line breaks and other characters that fonts cannot draw.

    Example:
        >>> printable("a\nb")
        'a_b'
    """
    return "".join(letter if letter.isprintable() else "_" for letter in text)


def shorten(text: str, width: int, size: int, bold: bool = False) -> str:
    """Shorten a text to ``width`` pixels, with an ellipsis at the end.

    Example:
        >>> shorten("surface normals", 50, 12).endswith("…")
        True
    """
    if text_width(text, size, bold) <= width:
        return text
    while text and text_width(text + "…", size, bold) > width:
        text = text[:-1]
    return text.rstrip() + "…"


def blank(width: int, height: int) -> Image.Image:
    """Empty white image of at least 1 x 1 pixel.

    Example:
        >>> blank(40, 30).size
        (40, 30)
    """
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
    """Draw a line of text; ``anchor`` as in Pillow (``la``: left, top of the tallest letter).

    Example:
        >>> page = blank(60, 20)
        >>> write(page, (4, 4), "depth")
        >>> np.asarray(page).min() < 255
        np.True_
    """
    drawing, text = ImageDraw.Draw(sheet), printable(text)
    drawing.text(position, text, fill=color, font=font(size, bold), anchor=anchor)


def vertical_text(text: str, height: int, *, size: int = TEXT, color: Rgb = MUTED) -> Image.Image:
    """Line of text rotated by 90 degrees to read upward, centered in ``height`` pixels.

    Example:
        >>> vertical_text("label", 100).size
        (20, 100)
    """
    line = blank(height, size + 6)
    write(line, (height / 2, (size + 6) / 2), text, size=size, color=color, anchor="mm")
    return line.transpose(Image.Transpose.ROTATE_90)


def fit(picture: np.ndarray, width: int, height: int, smooth: bool) -> Image.Image:
    """Resize a picture to the size of a tile.

    Args:
        picture: RGB ``(H, W, 3)`` uint8.
        width: Width of the tile in pixels.
        height: Height of the tile in pixels.
        smooth: Interpolate when enlarging (photographs). Label maps are not interpolated, because
            colors between two classes have no meaning.

    Example:
        >>> fit(np.zeros((6, 8, 3), np.uint8), 40, 30, smooth=True).size
        (40, 30)
    """
    shrinks = width < picture.shape[1] or height < picture.shape[0]
    if smooth:
        method = Image.Resampling.LANCZOS
    else:
        method = Image.Resampling.BOX if shrinks else Image.Resampling.NEAREST
    return Image.fromarray(picture).resize((width, height), method)


def hatching(width: int, height: int) -> np.ndarray:
    """Light diagonal lines that mark missing values, ``(height, width, 3)`` uint8.

    Example:
        >>> hatching(40, 30).shape
        (30, 40, 3)
    """
    stripe = (np.arange(height)[:, None] + np.arange(width)) % 9 < 1
    return np.where(stripe[..., None], np.uint8(196), np.uint8(240)).repeat(3, axis=2)


def tile_size(height: int, width: int, tile_width: int | None = None) -> tuple[int, int]:
    """Width and height of the tiles of an image, by default its size within 240 to 360 pixels.

    Example:
        >>> tile_size(480, 640)
        (360, 270)
    """
    wanted = min(max(width, 240), 360) if tile_width is None else tile_width
    # Limits the height of the panel for very long and very wide images.
    return wanted, min(max(round(wanted * height / width), 24), 3 * wanted)
