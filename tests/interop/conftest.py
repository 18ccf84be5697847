"""Names and shapes of the tensors in released checkpoints; tests skip without them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

Shapes = dict[str, tuple[int, ...]]
_TABLES = Path(__file__).parents[3] / "shared" / "facts" / "state_dict_keys"


@pytest.fixture(scope="session")
def released_shapes() -> Callable[[str], Shapes]:
    """Function that reads a table by name; tests without a table are skipped."""

    def read(name: str) -> Shapes:
        file = _TABLES / f"{name}.tsv"
        if not file.is_file():
            pytest.skip(f"table of a released checkpoint not found at {file}")
        rows = [line.split("\t")[:2] for line in file.read_text().splitlines()]
        return {key: _shape(text) for key, text in rows}

    return read


@pytest.fixture(scope="session")
def released_tables() -> list[str]:
    """Names of all tables."""
    if not _TABLES.is_dir():
        pytest.skip(f"tables of released checkpoints not found at {_TABLES}")
    return sorted(file.stem for file in _TABLES.glob("*.tsv"))


def _shape(text: str) -> tuple[int, ...]:
    return () if text == "scalar" else tuple(int(side) for side in text.split("x"))
