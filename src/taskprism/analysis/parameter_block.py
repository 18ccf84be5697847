"""A row and a block of the docs page of sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Row:
    """A model and what is published of it.

    Attributes:
        label: First column.
        model: Name for ``create_model``.
        auxiliary: Auxiliary tasks.
        options: Options for ``create_model``.
        paper: Published parameters and operations, as in print or as counted.
    """

    label: str
    model: str
    auxiliary: Mapping[str, int] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    paper: tuple[str, str] = ("–", "–")


@dataclass(frozen=True)
class Block:
    """Rows that share tasks, input size and backbone; the first is what others are compared to.

    Attributes:
        title: Heading.
        tasks: Main tasks.
        size: ``(H, W)`` of the input.
        backbone: Name for ``create_model``.
        rows: The models.
        source: Where the published numbers are from: ``"paper"``, or ``"code"`` where they were
            counted by running what the authors released.
    """

    title: str
    tasks: Mapping[str, int]
    size: tuple[int, int]
    backbone: str
    rows: tuple[Row, ...]
    source: str = "paper"
