"""Shared fixtures: fixed seeds, and the real labeled images where they are at hand."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

REAL_DATA = Path(__file__).parents[2] / "shared" / "data"


def pytest_collection_finish() -> None:
    """Hide modules and tests from the collector, which would walk through all of them each time."""
    gc.freeze()


def pytest_sessionfinish() -> None:
    """Let the interpreter free them, or libraries report them as leaked."""
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _fixed_seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory) -> Iterator[None]:
    """Keep copies of files from URLs out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TASKPRISM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of small real data sets beside the checkout; tests that need it skip without it."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"real data not found at {REAL_DATA}")
    return REAL_DATA
