"""Sphinx configuration."""

from __future__ import annotations

import inspect
from typing import Any

project = "taskprism"
author = "The taskprism developers"
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
html_theme = "furo"
myst_enable_extensions = ["colon_fence", "dollarmath"]
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "groupwise"
autodoc_typehints = "description"
autosummary_generate = False
napoleon_use_ivar = True
exclude_patterns = ["_build", "generate", "notebooks/*.ipynb"]

_documented: dict[int, str] = {}


def skip_repeated(
    app: Any, what: str, name: str, value: Any, skip: bool, options: Any
) -> bool | None:
    """Document a class or function once, in the first module of the reference that exports it."""
    if what != "module" or not (inspect.isclass(value) or inspect.isfunction(value)):
        return None
    module = app.env.current_document.autodoc_module
    return None if _documented.setdefault(id(value), module) == module else True


def setup(app: Any) -> None:
    """Connect the functions above."""
    app.connect("autodoc-skip-member", skip_repeated)
