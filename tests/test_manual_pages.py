"""The examples in docstrings run; the docstring of a package is its manual page."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
from typing import Any

import pytest

import taskprism
from taskprism.registry import Registry, load_plugins, temporary_parts

MODULES = ["taskprism"] + [
    module.name
    for module in pkgutil.walk_packages(taskprism.__path__, "taskprism.")
    if not module.name.endswith("__main__")
]
PACKAGES = [name for name in MODULES if name.count(".") <= 1 and name != "taskprism.cli"]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    with temporary_parts():
        module = importlib.import_module(name)
        assert module.__doc__
        assert doctest.testmod(module, optionflags=flags).failed == 0


def without_example(parts: list[Any]) -> set[str]:
    """Names of the classes and functions whose docstring has no example."""
    return {
        part.__name__
        for part in parts
        if (inspect.isclass(part) or inspect.isfunction(part))
        and part.__module__.startswith("taskprism")
        and not issubclass(part if inspect.isclass(part) else object, Exception)
        and ">>>" not in (inspect.getdoc(part) or "")
    }


@pytest.mark.parametrize("name", PACKAGES)
def test_every_public_part_has_an_example(name: str) -> None:
    module = importlib.import_module(name)
    public = [getattr(module, each) for each in getattr(module, "__all__", ())]
    assert without_example([part for part in public if not inspect.ismodule(part)]) == set()


@pytest.mark.parametrize(
    "kind", ["task", "distillation", "head", "model", "protocol", "balancer", "teacher"]
)
def test_every_registered_part_has_an_example(kind: str) -> None:
    load_plugins()
    entries = Registry.all[kind].entries()
    assert without_example([entry.part for entry in entries if entry.builtin]) == set()
