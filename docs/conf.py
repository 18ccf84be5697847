"""Sphinx configuration."""

from __future__ import annotations

import importlib
import inspect
from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml

project = "taskprism"
author = "The taskprism developers"
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.linkcode",
    "sphinx.ext.napoleon",
]
html_theme = "furo"
html_math_renderer = "mathml"
myst_enable_extensions = ["colon_fence", "dollarmath"]
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "groupwise"
autodoc_typehints = "description"
autosummary_generate = False
napoleon_use_ivar = True
napoleon_custom_sections = [("Keys", "params_style")]
exclude_patterns = ["_build", "generate", "notebooks/*.ipynb"]

_SOURCES = Path(__file__).parents[1]
_REPOSITORY = "https://github.com/taskprism/taskprism/blob/main"
_documented: dict[int, str] = {}


def linkcode_resolve(domain: str, info: dict[str, str]) -> str | None:
    """Address of the source of a documented part; pages with all sources would be slow to build."""
    try:
        part: Any = importlib.import_module(info["module"])
        for name in info["fullname"].split("."):
            part = getattr(part, name)
        file = Path(inspect.getfile(inspect.unwrap(part))).relative_to(_SOURCES)
        line = inspect.getsourcelines(inspect.unwrap(part))[1]
    except (ImportError, AttributeError, TypeError, ValueError, OSError):
        return None  # no class or function, or not of this project
    return f"{_REPOSITORY}/{file.as_posix()}#L{line}"


def skip_repeated(
    app: Any, what: str, name: str, value: Any, skip: bool, options: Any
) -> bool | None:
    """Document a class or function once, in the first module of the reference that exports it.

    Those of other packages, such as torchvision's ``ColorJitter``, have their documentation there.
    """
    if what != "module" or not (inspect.isclass(value) or inspect.isfunction(value)):
        return None
    if not (value.__module__ or "").startswith("taskprism"):
        return True
    module = app.env.current_document.autodoc_module
    return None if _documented.setdefault(id(value), module) == module else True


def visit_math(translator: Any, node: Any) -> None:
    """Write a formula as MathML, which browsers show without a script from another server."""
    as_block = isinstance(node, nodes.math_block)
    tex = node.astext().strip()
    if as_block and r"\\" in tex and r"\begin" not in tex:
        tex = rf"\begin{{aligned}}{tex}\end{{aligned}}"
    try:
        formula = tex2mathml(tex, as_block=as_block)
    except MathError:  # a command that docutils does not know
        formula = f"<code>{escape(tex)}</code>"
    translator.body.append(f"<div>{formula}</div>" if as_block else formula)
    raise nodes.SkipNode


def setup(app: Any) -> None:
    """Connect the functions above."""
    app.connect("autodoc-skip-member", skip_repeated)
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math, None))
