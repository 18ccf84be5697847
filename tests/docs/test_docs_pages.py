"""Generated pages are up to date, and pages that list something list all of it."""

from __future__ import annotations

import importlib
import pkgutil
import re
import tomllib
from pathlib import Path

import pytest
from docs.generate import models, recipes

import taskprism

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
MODULES = ["taskprism"] + [
    module.name
    for module in pkgutil.walk_packages(taskprism.__path__, "taskprism.")
    if not module.name.endswith("__main__")
]


def text_of(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


@pytest.mark.slow
def test_recipes_page_is_up_to_date():
    assert recipes.page() == text_of("recipes.md"), "run: python -m docs.generate.recipes"


def test_models_page_is_up_to_date():
    """Two models are measured again, because all of them would take too long."""
    text, base = text_of("models.md"), models.measure("multi_task")
    for line in (base, models.measure("ctal")):
        assert models.row(line, base) in text, "run: python -m docs.generate.models"
    listed = re.findall(r"^\| `(\w+)`", text, re.MULTILINE)
    assert sorted(listed) == sorted(models.built_in()), "run: python -m docs.generate.models"


def test_every_model_is_explained():
    page = text_of("choose_a_method.md")
    assert [name for name in models.built_in() if f"| `{name}` |" not in page] == []


def test_install_page_names_every_extra():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = re.findall(r"^\| `(\w+)` \|", text_of("install.md"), re.MULTILINE)
    assert sorted(named) == sorted(project["optional-dependencies"])


def test_reference_documents_every_public_name():
    """Each name in ``__all__`` of any module is a member of a module of the reference."""
    listed = re.findall(r"automodule:: ([\w.]+)", text_of("api.md"))
    assert len(set(listed)) == len(listed)
    documented = set()
    for name in listed:
        module = importlib.import_module(name)
        names = getattr(module, "__all__", None)
        if names is None:
            names = [key for key, value in vars(module).items() if owner(value) == name]
        documented |= {id(getattr(module, each)) for each in names}
    missing = {
        f"{name}.{each}"
        for name in MODULES
        for each in getattr(importlib.import_module(name), "__all__", ())
        if id(getattr(importlib.import_module(name), each)) not in documented
    }
    assert missing == set()


def test_reference_lists_the_names_of_the_package():
    listed = re.findall(r"^   ~[\w.]+\.(\w+)$", text_of("api.md"), re.MULTILINE)
    assert sorted(listed) == sorted(set(taskprism.__all__) - {"__version__"})


def owner(value: object) -> str | None:
    return getattr(value, "__module__", None)
