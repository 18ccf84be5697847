"""The examples in the docstrings of tasks, metrics, visualization and analysis run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

from taskprism.registry import temporary_parts

PACKAGES = ("tasks", "metrics", "visualization", "analysis")


def modules() -> list[str]:
    """Names of all modules of the packages."""
    found = []
    for package in PACKAGES:
        path = importlib.import_module(f"taskprism.{package}").__path__
        found += [module.name for module in pkgutil.walk_packages(path, f"taskprism.{package}.")]
    return found


@pytest.mark.parametrize("name", modules())
def test_examples_run(name: str) -> None:
    with temporary_parts():
        result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0
