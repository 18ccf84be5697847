"""Legends of tasks as HTML, which stay readable on narrow and on dark pages."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from functools import singledispatch

import numpy as np
from markupsafe import Markup, escape
from PIL import Image

from taskprism.tasks.colors import ColorScale, DirectionBall, Legend, Swatches
from taskprism.visualization.panels import MANY_CLASSES, occurring

_STEPS = 16  # colors of a gradient


def html_legend(legend: Legend, pictures: Sequence[np.ndarray] = ()) -> Markup:
    """A legend as HTML.

    Args:
        legend: Legend from :meth:`taskprism.tasks.Task.legend`.
        pictures: Colored pictures ``(H, W, 3)``. If there are many classes, those with a color that
            occurs in the pictures are listed.

    Example:
        >>> from taskprism.visualization.html_legends import html_legend
        >>> print(html_legend(Swatches((((128, 0, 0), "cat"),))))
        <span class="swatch"><i style="background:#800000"></i>cat</span>
    """
    return _draw(legend, pictures)


@singledispatch
def _draw(legend: Legend, pictures: Sequence[np.ndarray]) -> Markup:
    raise TypeError(f"Cannot draw a legend of type {type(legend).__name__}.")


@_draw.register
def _swatches(legend: Swatches, pictures: Sequence[np.ndarray]) -> Markup:
    entries = legend.entries
    if len(entries) > MANY_CLASSES and pictures:
        entries = occurring(entries, pictures)
    parts = (
        f'<span class="swatch"><i style="background:{_hex(color)}"></i>{escape(name)}</span>'
        for color, name in entries
    )
    return Markup(" ".join(parts))


@_draw.register
def _scale(legend: ColorScale, pictures: Sequence[np.ndarray]) -> Markup:
    places = np.linspace(0, len(legend.colors) - 1, _STEPS).round().astype(int)
    colors = ",".join(_hex(tuple(legend.colors[place].tolist())) for place in places)
    low, high = (
        f"{value:.3g}{'' if legend.unit == '°' else ' '}{escape(legend.unit)}".strip()
        for value in (legend.low, legend.high)
    )
    return Markup(
        f'<span class="scale">{low}<i style="background:linear-gradient(90deg,{colors})"></i>{high}'
        "</span>"
    )


@_draw.register
def _ball(legend: DirectionBall, pictures: Sequence[np.ndarray]) -> Markup:
    alpha = legend.inside.astype(np.uint8)[..., None] * np.uint8(255)
    stream = io.BytesIO()
    Image.fromarray(np.concatenate([legend.picture, alpha], axis=2)).save(stream, "PNG")
    content = base64.b64encode(stream.getvalue()).decode()
    horizontal, vertical, depth = map(escape, legend.axes)
    return Markup(
        '<span class="ball"><img alt="Colors of directions on a ball" '
        f'src="data:image/png;base64,{content}">→ {horizontal}, ↑ {vertical}, ⊙ {depth}</span>'
    )


def _hex(color: Sequence[int]) -> str:
    return "#" + "".join(f"{int(part):02x}" for part in color)
