"""The examples in docstrings of models, backbones and interop run, and every model has one."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil

import pytest

import taskprism.backbones
import taskprism.interop
import taskprism.models
from taskprism.models import MODELS

MODULES = [
    module.name
    for package in (taskprism.models, taskprism.backbones, taskprism.interop)
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_every_model_and_public_part_has_an_example() -> None:
    parts = [entry.part for entry in MODELS.entries() if entry.builtin]
    for package in (taskprism.models, taskprism.backbones, taskprism.interop):
        public = (getattr(package, name) for name in package.__all__)
        parts += [part for part in public if inspect.isclass(part) or inspect.isfunction(part)]
    without = {part.__name__ for part in parts if ">>>" not in (inspect.getdoc(part) or "")}
    assert without == set()
