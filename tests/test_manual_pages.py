"""The docstring of every package is its manual page; its examples must run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import taskprism

PACKAGES = ["taskprism"] + [
    f"taskprism.{module.name}"
    for module in pkgutil.iter_modules(taskprism.__path__)
    if module.ispkg
]


@pytest.mark.parametrize("name", PACKAGES)
def test_examples_run(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__
    assert doctest.testmod(module).failed == 0
