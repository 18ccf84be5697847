"""A made table in a folder of its own."""

from __future__ import annotations

import pytest
from reproduce_tables import PLAIN


@pytest.fixture
def write(tmp_path):
    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def table_file(write):
    """``paper/1.yaml``: two trained rows, one readout, one quoted row."""
    write("paper/_shared.yaml", "extends: rooms/_base\nepochs: 7\noptimiser: {lr: 1e-2}")
    return write("paper/1.yaml", PLAIN)
