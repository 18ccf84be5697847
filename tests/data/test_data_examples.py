"""The examples in the docstrings of the data package run."""

import doctest
import importlib
import pkgutil

import pytest

import taskprism.data

MODULES = [m.name for m in pkgutil.walk_packages(taskprism.data.__path__, "taskprism.data.")]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0
