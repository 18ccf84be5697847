"""A reporter that keeps its output."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from taskprism.progress import Reporter


@pytest.fixture
def reporter() -> Reporter:
    return Reporter(Console(file=io.StringIO(), width=200))


@pytest.fixture
def output(reporter):
    return lambda: reporter.console.file.getvalue()
