"""Panels: an image and everything predicted from it, side by side with the labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from taskprism.errors import InputError
from taskprism.tasks.base import Task
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
    tile_size,
    vertical_text,
    write,
)
from taskprism.visualization.legends import draw_legend

HEADER = TEXT + 10
SIDE = SMALL + 12  # column of the words that name rows
LABEL = "label"


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
    """One picture of an image and its per-pixel answers: a column per task, legends below.

    Where a label exists, it stands above the prediction, and both share its color scale.

    Args:
        image: ``(3, H, W)`` RGB in [0, 1], not normalized.
        predictions: Task name -> decoded ``(target_channels, H, W)`` (see :meth:`Task.decode`).
        targets: As in :func:`comparison_panel`.
        valid: As in :func:`comparison_panel`.
        tasks: As in :func:`comparison_panel`.
        title: Line of text above.
        tile_width: Pixels; by default the image's own width, between 240 and 360.

    Returns:
        ``(panel height, panel width, 3)`` uint8 RGB.

    Raises:
        InputError: The image is not ``(3, H, W)``, or there is nothing to show.
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
    """What several networks say of one image: a column per task, a row per network.

    All rows of a column share the label's color scale, or where there is none that of all
    predictions together.

    Args:
        image: ``(3, H, W)`` RGB in [0, 1], not normalized.
        methods: Word for a row -> task name -> decoded prediction ``(target_channels, H, W)``.
        targets: Task name -> label of the same shape; tasks may be missing.
        valid: Task name -> boolean ``(1, H, W)``; a missing mask means that every pixel has a
            label.
        tasks: What to show, in order; those with neither prediction nor label are left out.
        title: Line of text above.
        tile_width: Pixels; by default the image's own width, between 240 and 360.

    Returns:
        ``(panel height, panel width, 3)`` uint8 RGB.

    Raises:
        InputError: The image is not ``(3, H, W)``, or there is nothing to show.
    """
    if image.ndim != 3 or image.shape[0] != 3:
        raise InputError(f"panel() needs an image (3, H, W), got {tuple(image.shape)}.")
    width, height = tile_size(image.shape[1], image.shape[2], tile_width)
    drawn = [_column(task, methods, targets or {}, valid or {}, width) for task in tasks]
    columns = [column for column in drawn if column.rows]
    if not columns:
        raise InputError(
            f"There is nothing to show for the tasks {[task.name for task in tasks]}; "
            f"predictions exist for {sorted({name for one in methods.values() for name in one})}."
        )
    rows = [name for name in (LABEL, *methods) if any(name in c.rows for c in columns)]
    return np.array(_arrange(_picture(image), columns, rows, (width, height), title))


def sheet(panels: Sequence[np.ndarray]) -> np.ndarray:
    """Panels below each other, left-aligned, with a hairline between them.

    Args:
        panels: At least one ``(H, W, 3)`` uint8 picture.

    Returns:
        ``(sum of heights and lines, greatest width, 3)`` uint8 RGB.
    """
    if not panels:
        raise InputError("A sheet needs at least one panel.")
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
        target = mask = None  # a label without a single valid pixel is no label
    predictions = {
        name: prediction
        for name, known in methods.items()
        if (prediction := _plain(known.get(task.name))) is not None
    }
    if target is None and not predictions:
        return _Column(task.name, {}, None)
    scale = (
        torch.cat([_as_row(prediction, None) for prediction in predictions.values()], dim=2)
        if target is None
        else _as_row(target, mask)
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


def _as_row(values: Tensor, mask: Tensor | None) -> Tensor:
    """Valid pixels as an image of one row ``(C, 1, N)``; others set no color scale."""
    pixels = values.flatten(1) if mask is None else values[:, mask[0]]
    return pixels.unsqueeze(1)


def _arrange(
    image: np.ndarray,
    columns: Sequence[_Column],
    names: Sequence[str],
    tile: tuple[int, int],
    title: str,
) -> Image.Image:
    """Image, side words and task columns on one sheet."""
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
    """One picture at the size of a tile; hatched where there is no label."""
    if name not in column.rows:
        empty = Image.fromarray(hatching(width, height))
        write(empty, (width / 2, height / 2), f"no {name}", size=SMALL, color=MUTED, anchor="mm")
        return empty
    picture, unknown = column.rows[name]
    tile = fit(picture, width, height, smooth=False)
    if unknown is not None:
        # Colored pictures are black there, which a class or a far depth may be as well.
        hole = Image.fromarray(unknown).resize((width, height), Image.Resampling.NEAREST)
        tile.paste(Image.fromarray(hatching(width, height)), (0, 0), hole.convert("L"))
    return tile
