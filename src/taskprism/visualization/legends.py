"""Legends drawn: class colors, color scales, the ball of directions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch

import numpy as np
from PIL import Image, ImageDraw

from taskprism.tasks.legend import ColorScale, DirectionBall, Legend, Rgb, Swatches
from taskprism.visualization.canvas import (
    HAIRLINE,
    MUTED,
    SMALL,
    blank,
    fit,
    shorten,
    text_width,
    write,
)

LINE = SMALL + 7  # height of a line of legend text
MANY_CLASSES = 10  # from here on only those that occur are listed
BALL = 64  # pixels across


def draw_legend(
    legend: Legend | None, width: int, pictures: Sequence[np.ndarray]
) -> Image.Image | None:
    """Legend of one column of tiles, or None if there is nothing to explain.

    Args:
        legend: From :meth:`taskprism.tasks.Task.legend`.
        width: Of the column.
        pictures: The column's colored ``(H, W, 3)`` pictures; of many classes, only those whose
            color occurs in them are listed.
    """
    return None if legend is None else _draw(legend, width, pictures)


@singledispatch
def _draw(legend: Legend, width: int, pictures: Sequence[np.ndarray]) -> Image.Image | None:
    raise TypeError(f"no drawing for a legend of type {type(legend).__name__}")


@_draw.register
def _swatches(legend: Swatches, width: int, pictures: Sequence[np.ndarray]) -> Image.Image | None:
    entries = legend.entries
    if len(entries) > MANY_CLASSES:
        entries = _occurring(entries, pictures)
    if not entries:
        return None
    square, gap = SMALL - 1, 12
    places: list[tuple[int, int, Rgb, str]] = []
    x = line = 0
    for color, name in entries:
        text = shorten(name, width - square - 6, SMALL)
        needed = square + 6 + text_width(text, SMALL)
        if x and x + needed > width:
            x, line = 0, line + 1
        places.append((x, line * LINE, color, text))
        x += needed + gap
    sheet = blank(width, (line + 1) * LINE)
    draw = ImageDraw.Draw(sheet)
    for x, y, color, text in places:
        box = (x, y + 3, x + square, y + 3 + square)
        draw.rounded_rectangle(box, radius=2, fill=color, outline=MUTED)
        write(sheet, (x + square + 6, y + LINE / 2), text, size=SMALL, anchor="lm")
    return sheet


def _occurring(
    entries: Sequence[tuple[Rgb, str]], pictures: Sequence[np.ndarray]
) -> tuple[tuple[Rgb, str], ...]:
    seen = {tuple(c) for p in pictures for c in np.unique(p.reshape(-1, 3), axis=0).tolist()}
    return tuple(entry for entry in entries if entry[0] in seen)


@_draw.register
def _scale(legend: ColorScale, width: int, pictures: Sequence[np.ndarray]) -> Image.Image:
    bar = 10
    sheet = blank(width, bar + 6 + LINE)
    sheet.paste(fit(legend.colors[None], width, bar, smooth=True), (0, 2))
    outline = (0, 2, width - 1, bar + 1)
    ImageDraw.Draw(sheet).rectangle(outline, outline=HAIRLINE)
    digits = 2 if legend.high - legend.low < 10 else 0
    for part, anchor in [(0.0, "lt"), (0.5, "mt"), (1.0, "rt")]:
        value = legend.low + part * (legend.high - legend.low)
        text = f"{value:.{digits}f} {legend.unit}".strip()
        write(sheet, (part * (width - 1), bar + 8), text, size=SMALL, color=MUTED, anchor=anchor)
    return sheet


@_draw.register
def _ball(legend: DirectionBall, width: int, pictures: Sequence[np.ndarray]) -> Image.Image:
    sheet = blank(width, BALL + 8)
    paper = np.full_like(legend.picture, 255)
    ball = np.where(legend.inside[..., None], legend.picture, paper)
    sheet.paste(fit(ball, BALL, BALL, smooth=True), (0, 4))
    horizontal, vertical, depth = legend.axes
    lines = [f"→  {horizontal}", f"↑  {vertical}", f"⊙  {depth}"]
    for index, text in enumerate(lines):
        y = 4 + BALL / 2 + (index - 1) * LINE
        write(sheet, (BALL + 12, y), text, size=SMALL, color=MUTED, anchor="lm")
    return sheet
