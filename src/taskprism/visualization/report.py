"""Reports: one self-contained HTML file with tables and pictures."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
from jinja2 import Environment
from markupsafe import Markup, escape
from PIL import Image

from taskprism.atomic import write_text
from taskprism.tasks.colors import Legend
from taskprism.text_table import TextTable
from taskprism.visualization.html_legends import html_legend

TEMPLATE = "report.html.jinja"


@dataclass(frozen=True, eq=False)
class Figure:
    """A picture with its caption.

    Attributes:
        caption: One line; also the text for screen readers.
        picture: ``(H, W, 3)`` uint8, or SVG text.

    Example:
        >>> from taskprism.visualization import Figure
        >>> Figure("A circle", "<svg><circle r='4'/></svg>").caption
        'A circle'
    """

    caption: str
    picture: np.ndarray | str


@dataclass(frozen=True, eq=False)
class TileRow:
    """Pictures side by side, with the legends of their colors; on a phone two in a line.

    Attributes:
        title: What they show; also part of the texts for screen readers.
        tiles: Each with a short caption.
        legends: Heading and legend, shown below.

    Example:
        >>> import numpy as np
        >>> from taskprism.visualization import Figure, TileRow
        >>> TileRow("Worst image", [Figure("label", np.zeros((4, 6, 3), np.uint8))]).legends
        ()
    """

    title: str
    tiles: Sequence[Figure]
    legends: Sequence[tuple[str, Legend]] = ()


@dataclass(frozen=True)
class Section:
    """A heading with paragraphs, a table, pictures, facts and commands.

    Attributes:
        heading: Unique in the report.
        paragraphs: Plain text. Text in backticks is shown as code.
        table: Shown after the paragraphs. A table of at most four columns stays a table on a phone;
            each row of a wider one becomes a card.
        charts: Small figures, shown in columns after the table.
        more_charts: Shown after a click.
        figures: Shown after the charts.
        tiles: Shown after the figures.
        commands: Shown at the end, one line each, as you would type them.
        facts: Name and value pairs, shown as a list.
        details: Heading and text that is shown after a click, such as a file.

    Example:
        >>> from taskprism.visualization import Section
        >>> Section("Results", paragraphs=["Two models."]).heading
        'Results'
    """

    heading: str
    paragraphs: Sequence[str] = ()
    table: TextTable | None = None
    charts: Sequence[Figure] = ()
    more_charts: Sequence[Figure] = ()
    figures: Sequence[Figure] = ()
    tiles: Sequence[TileRow] = ()
    commands: Sequence[str] = ()
    facts: Sequence[tuple[str, str]] = ()
    details: tuple[str, str] | None = None


def render_report(title: str, summary: Sequence[str], sections: Sequence[Section]) -> str:
    """Render a report as HTML text that refers to no other file and no address.

    Args:
        title: Heading of the page.
        summary: First paragraphs, plain text. Text in backticks is shown as code.
        sections: The sections in their order.

    Example:
        >>> "Two models" in render_report("Rooms", ["Two models."], [Section("Results")])
        True
    """
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["data_uri"] = data_uri
    environment.filters["anchor"] = _anchor
    environment.filters["inline_code"] = _inline_code
    environment.filters["html_legend"] = html_legend
    source = files("taskprism.visualization").joinpath(TEMPLATE).read_text(encoding="utf-8")
    return environment.from_string(source).render(title=title, summary=summary, sections=sections)


def write_report(
    path: Path, title: str, summary: Sequence[str], sections: Sequence[Section]
) -> None:
    """Write :func:`render_report` to a file, as a whole or not at all.

    Raises:
        CheckpointError: The file cannot be written; an earlier one is as it was.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_report(Path(folder, "report.html"), "Rooms", ["Two models."], [])
        ...     Path(folder, "report.html").exists()
        True
    """
    write_text(path, render_report(title, summary, sections))


def data_uri(picture: np.ndarray | str) -> str:
    """Encode a picture as a ``data:`` URI: SVG unchanged, pixels as JPEG without subsampling.

    Example:
        >>> data_uri("<svg></svg>")
        'data:image/svg+xml;base64,PHN2Zz48L3N2Zz4='
    """
    if isinstance(picture, str):
        kind, content = "image/svg+xml", picture.encode()
    else:
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "JPEG", quality=92, subsampling=0, optimize=True)
        kind, content = "image/jpeg", buffer.getvalue()
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _anchor(heading: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in heading.lower()).split())


def _inline_code(text: str) -> Markup:
    """Escape a text and show text in backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))
