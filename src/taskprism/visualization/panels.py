"""Panels: an image, its predictions and labels side by side, and the legends of the tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import singledispatch

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from taskprism.errors import InputError
from taskprism.tasks.base import Task
from taskprism.tasks.colors import ColorScale, DirectionBall, Legend, Rgb, Swatches
from taskprism.visualization.canvas import (
    GAP,
    HAIRLINE,
    MARGIN,
    MUTED,
    SMALL,
    TEXT,
    blank,
    fit,
    hatching,
    shorten,
    text_width,
    tile_size,
    vertical_text,
    write,
)

HEADER = TEXT + 10
SIDE = SMALL + 12  # width of the column with the names of rows
LABEL = "label"
LINE = SMALL + 7  # height of a line of legend text
MANY_CLASSES = 10  # with more classes, only those that occur are listed
BALL = 64  # pixels across


@dataclass(frozen=True)
class _Column:
    """Tiles of one task, with the mask of pixels that have no label."""

    name: str
    rows: dict[str, tuple[np.ndarray, np.ndarray | None]]
    legend: Image.Image | None


def panel(
    image: Tensor,
    predictions: Mapping[str, Tensor],
    targets: Mapping[str, Tensor] | None = None,
    valid: Mapping[str, Tensor] | None = None,
    *,
    tasks: Sequence[Task],
    title: str = "",
    tile_width: int | None = None,
) -> np.ndarray:
    """Draw an image and its predictions: one column per task, with legends below.

    A label is drawn above its prediction, and both share its color scale.

    Args:
        image: ``(3, H, W)`` RGB in [0, 1], not normalized.
        predictions: Task name -> decoded ``(target_channels, H, W)`` (see :meth:`Task.decode`).
        targets: As in :func:`comparison_panel`.
        valid: As in :func:`comparison_panel`.
        tasks: As in :func:`comparison_panel`.
        title: Line of text at the top.
        tile_width: Width in pixels; by default that of the image, between 240 and 360.

    Returns:
        ``(panel height, panel width, 3)`` uint8 RGB.

    Raises:
        InputError: The image is not ``(3, H, W)``, or there is nothing to show.

    Example:
        >>> from taskprism.tasks import create_task
        >>> predictions = {"depth": torch.rand(1, 60, 80)}
        >>> panel(torch.rand(3, 60, 80), predictions, tasks=[create_task("depth")]).shape
        (281, 546, 3)
    """
    return comparison_panel(
        image,
        {"prediction": predictions},
        targets,
        valid,
        tasks=tasks,
        title=title,
        tile_width=tile_width,
    )


def comparison_panel(
    image: Tensor,
    methods: Mapping[str, Mapping[str, Tensor]],
    targets: Mapping[str, Tensor] | None = None,
    valid: Mapping[str, Tensor] | None = None,
    *,
    tasks: Sequence[Task],
    title: str = "",
    tile_width: int | None = None,
) -> np.ndarray:
    """Draw the predictions of several networks: one column per task, one row per network.

    All rows of a column share the color scale of the label. Without a label the scale spans all
    predictions of the column.

    Args:
        image: ``(3, H, W)`` RGB in [0, 1], not normalized.
        methods: Row name -> task name -> decoded prediction ``(target_channels, H, W)``.
        targets: Task name -> label of the same shape; tasks may be missing.
        valid: Task name -> boolean ``(1, H, W)``; a missing mask means that every pixel has a
            label.
        tasks: Tasks to show, in order; those without prediction and label are left out.
        title: Line of text at the top.
        tile_width: Width in pixels; by default that of the image, between 240 and 360.

    Returns:
        ``(panel height, panel width, 3)`` uint8 RGB.

    Raises:
        InputError: The image is not ``(3, H, W)``, or there is nothing to show.

    Example:
        >>> from taskprism.tasks import create_task
        >>> methods = {name: {"edge": torch.rand(1, 60, 80)} for name in ("mti_net", "pad_net")}
        >>> comparison_panel(torch.rand(3, 60, 80), methods, tasks=[create_task("edge")]).ndim
        3
    """
    if image.ndim != 3 or image.shape[0] < 3:
        raise InputError(f"Expected an image (3, H, W), got shape {tuple(image.shape)}.")
    image = image[:3]  # further channels, such as depth, are not shown
    width, height = tile_size(image.shape[1], image.shape[2], tile_width)
    drawn = [_column(task, methods, targets or {}, valid or {}, width) for task in tasks]
    columns = [column for column in drawn if column.rows]
    if not columns:
        raise InputError(
            f"Nothing to show: no prediction or label of the tasks "
            f"{[task.name for task in tasks]}. Predictions are of "
            f"{sorted({name for one in methods.values() for name in one})}."
        )
    rows = [name for name in (LABEL, *methods) if any(name in c.rows for c in columns)]
    return np.array(_arrange(_picture(image), columns, rows, (width, height), title))


def sheet(panels: Sequence[np.ndarray]) -> np.ndarray:
    """Stack panels vertically, left-aligned, with a thin line between them.

    Args:
        panels: At least one ``(H, W, 3)`` uint8 picture.

    Returns:
        ``(sum of heights and lines, greatest width, 3)`` uint8 RGB.

    Raises:
        InputError: There is no panel.

    Example:
        >>> sheet([np.zeros((10, 20, 3), np.uint8), np.zeros((10, 30, 3), np.uint8)]).shape
        (21, 30, 3)
    """
    if not panels:
        raise InputError("Expected at least one panel, got none.")
    width = max(one.shape[1] for one in panels)
    rows: list[np.ndarray] = []
    for index, one in enumerate(panels):
        if index:
            rows.append(np.full((1, width, 3), HAIRLINE, dtype=np.uint8))
        margin = width - one.shape[1]
        rows.append(np.pad(one, ((0, 0), (0, margin), (0, 0)), constant_values=255))
    return np.concatenate(rows)


def _picture(image: Tensor) -> np.ndarray:
    """``(3, H, W)`` in [0, 1] -> ``(H, W, 3)`` uint8."""
    values = image.detach().cpu().float().clamp(0, 1).mul(255).round()
    return values.permute(1, 2, 0).numpy().astype(np.uint8)


def _column(
    task: Task,
    methods: Mapping[str, Mapping[str, Tensor]],
    targets: Mapping[str, Tensor],
    valid: Mapping[str, Tensor],
    width: int,
) -> _Column:
    target, mask = _plain(targets.get(task.name)), _plain(valid.get(task.name))
    if target is not None and mask is not None and not mask.any():
        target = mask = None  # a label without a valid pixel is not drawn
    predictions = {
        name: prediction
        for name, known in methods.items()
        if (prediction := _plain(known.get(task.name))) is not None
    }
    if target is None and not predictions:
        return _Column(task.name, {}, None)
    scale = (
        torch.cat([pixel_row(prediction, None) for prediction in predictions.values()], dim=2)
        if target is None
        else pixel_row(target, mask)
    )
    rows: dict[str, tuple[np.ndarray, np.ndarray | None]] = {}
    if target is not None:
        unknown = None if mask is None else ~mask[0].numpy()
        rows[LABEL] = task.color(target, mask), unknown
    for name, prediction in predictions.items():
        rows[name] = task.color(prediction, None, scale), None
    legend = task.legend(scale)
    pictures = [picture for picture, _ in rows.values()]
    return _Column(task.name, rows, draw_legend(legend, width, pictures))


def _plain(values: Tensor | None) -> Tensor | None:
    return None if values is None else values.detach().cpu().as_subclass(Tensor)


def pixel_row(values: Tensor, mask: Tensor | None) -> Tensor:
    """Valid pixels as an image of one row ``(C, 1, N)``, for the color scale.

    Example:
        >>> pixel_row(torch.ones(1, 2, 3), torch.tensor([[[1, 0, 1], [0, 0, 0]]]) > 0).shape
        torch.Size([1, 1, 2])
    """
    pixels = values.flatten(1) if mask is None else values[:, mask[0]]
    return pixels.unsqueeze(1)


def _arrange(
    image: np.ndarray,
    columns: Sequence[_Column],
    names: Sequence[str],
    tile: tuple[int, int],
    title: str,
) -> Image.Image:
    """Place the image, the names of rows, and the columns of tasks on one page."""
    width, height = tile
    top = MARGIN + (HEADER + 4 if title else 0)
    below = max((c.legend.height for c in columns if c.legend is not None), default=0)
    rows_height = len(names) * height + (len(names) - 1) * GAP
    total_height = top + HEADER + rows_height + (GAP + below if below else 0) + MARGIN
    total_width = 2 * MARGIN + width + SIDE + len(columns) * (width + GAP)
    page = blank(total_width, total_height)
    if title:
        text = shorten(title, total_width - 2 * MARGIN, TEXT + 1, bold=True)
        write(page, (MARGIN, MARGIN), text, size=TEXT + 1, bold=True)

    middle = top + (rows_height - height) // 2
    write(page, (MARGIN, middle), "image", bold=True)
    page.paste(fit(image, width, height, smooth=True), (MARGIN, middle + HEADER))
    for row, name in enumerate(names):
        y = top + HEADER + row * (height + GAP)
        word = shorten(name, height, SMALL)
        page.paste(vertical_text(word, height, size=SMALL), (MARGIN + width + GAP, y))
        for index, column in enumerate(columns):
            x = MARGIN + width + SIDE + GAP + index * (width + GAP)
            page.paste(_tile(column, name, width, height), (x, y))
    for index, column in enumerate(columns):
        x = MARGIN + width + SIDE + GAP + index * (width + GAP)
        write(page, (x, top), shorten(column.name, width, TEXT, bold=True), bold=True)
        if column.legend is not None:
            page.paste(column.legend, (x, top + HEADER + rows_height + GAP))
    return page


def _tile(column: _Column, name: str, width: int, height: int) -> Image.Image:
    """Picture at the size of a tile; hatched where there is no label."""
    if name not in column.rows:
        empty = Image.fromarray(hatching(width, height))
        write(empty, (width / 2, height / 2), f"no {name}", size=SMALL, color=MUTED, anchor="mm")
        return empty
    picture, unknown = column.rows[name]
    return tile(picture, unknown, width, height)


def tile(
    picture: np.ndarray,
    unknown: np.ndarray | None,
    width: int,
    height: int,
    smooth: bool = False,
) -> Image.Image:
    """A picture at the size of a tile, hatched where there is no label.

    Args:
        picture: ``(H, W, 3)`` uint8 RGB.
        unknown: Boolean ``(H, W)``: pixels without a label; None if all have one.
        width: Width of the tile in pixels.
        height: Height of the tile in pixels.
        smooth: Interpolate when enlarging (photographs).

    Example:
        >>> tile(np.zeros((6, 8, 3), np.uint8), np.ones((6, 8), bool), 40, 30).size
        (40, 30)
    """
    resized = fit(picture, width, height, smooth=smooth)
    if unknown is not None:
        # Pictures are black there, but classes and far depths can also be dark.
        hole = Image.fromarray(unknown).resize((width, height), Image.Resampling.NEAREST)
        resized.paste(Image.fromarray(hatching(width, height)), (0, 0), hole.convert("L"))
    return resized


def draw_legend(
    legend: Legend | None, width: int, pictures: Sequence[np.ndarray]
) -> Image.Image | None:
    """Draw the legend of a column of tiles; None if there is nothing to explain.

    Args:
        legend: Legend from :meth:`taskprism.tasks.Task.legend`.
        width: Width of the column in pixels.
        pictures: Colored pictures ``(H, W, 3)`` of the column. If there are many classes, the
            legend lists those with a color that occurs in the pictures.

    Example:
        >>> draw_legend(Swatches((((128, 0, 0), "cat"),)), 240, []).size
        (240, 19)
    """
    return None if legend is None else _draw(legend, width, pictures)


@singledispatch
def _draw(legend: Legend, width: int, pictures: Sequence[np.ndarray]) -> Image.Image | None:
    raise TypeError(f"Cannot draw a legend of type {type(legend).__name__}.")


@_draw.register
def _swatches(legend: Swatches, width: int, pictures: Sequence[np.ndarray]) -> Image.Image | None:
    entries = legend.entries
    if len(entries) > MANY_CLASSES:
        entries = occurring(entries, pictures)
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


def occurring(
    entries: Sequence[tuple[Rgb, str]], pictures: Sequence[np.ndarray]
) -> tuple[tuple[Rgb, str], ...]:
    """Entries of a legend whose color occurs in the pictures ``(H, W, 3)``.

    Example:
        >>> occurring([((0, 0, 0), "road"), ((9, 9, 9), "sky")], [np.zeros((2, 2, 3), np.uint8)])
        (((0, 0, 0), 'road'),)
    """
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
