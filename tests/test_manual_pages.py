"""The examples in docstrings must run; the docstring of a package is its manual page."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import taskprism

MODULES = ["taskprism"] + [
    module.name
    for module in pkgutil.walk_packages(taskprism.__path__, "taskprism.")
    if not module.name.endswith("__main__")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    assert module.__doc__
    assert (
        doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS).failed
        == 0
    )
