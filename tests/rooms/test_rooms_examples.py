"""The examples in the docstrings of the rooms run."""

import doctest
import importlib
import pkgutil

import pytest

import taskprism.rooms

MODULES = [m.name for m in pkgutil.walk_packages(taskprism.rooms.__path__, "taskprism.rooms.")]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0
