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

from taskprism.errors import CheckpointError
from taskprism.text_table import TextTable

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


@dataclass(frozen=True)
class Section:
    """A heading with paragraphs, a table, pictures, facts and commands.

    Attributes:
        heading: Unique in the report.
        paragraphs: Plain text. Text in backticks is shown as code.
        table: Shown after the paragraphs.
        figures: Shown after the table.
        commands: Shown at the end, one line each, as you would type them.
        facts: Name and value pairs, shown as a list.

    Example:
        >>> from taskprism.visualization import Section
        >>> Section("Results", paragraphs=["Two models."]).heading
        'Results'
    """

    heading: str
    paragraphs: Sequence[str] = ()
    table: TextTable | None = None
    figures: Sequence[Figure] = ()
    commands: Sequence[str] = ()
    facts: Sequence[tuple[str, str]] = ()


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
    source = files("taskprism.visualization").joinpath(TEMPLATE).read_text(encoding="utf-8")
    return environment.from_string(source).render(title=title, summary=summary, sections=sections)


def write_report(
    path: Path, title: str, summary: Sequence[str], sections: Sequence[Section]
) -> None:
    """Write :func:`render_report` to a file.

    Raises:
        CheckpointError: The file cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_report(Path(folder, "report.html"), "Rooms", ["Two models."], [])
        ...     Path(folder, "report.html").exists()
        True
    """
    text = render_report(title, summary, sections)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CheckpointError(f"Cannot write the report to {path}: {error}.") from error


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
