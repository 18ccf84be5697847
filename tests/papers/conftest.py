"""Fixtures: a small table in a temporary folder, and a reporter that keeps its output."""

from __future__ import annotations

import io

import pytest
from papers_tables import PLAIN
from rich.console import Console

from taskprism.progress import Reporter


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
    write("paper/_shared.yaml", "extends: rooms/_base\nepochs: 7\noptimizer: {lr: 1e-2}")
    return write("paper/1.yaml", PLAIN)


@pytest.fixture
def reporter() -> Reporter:
    return Reporter(Console(file=io.StringIO(), width=200))


@pytest.fixture
def output(reporter):
    return lambda: reporter.console.file.getvalue()
