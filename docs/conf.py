"""Sphinx configuration."""

project = "taskprism"
author = "The taskprism developers"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
html_theme = "furo"
myst_enable_extensions = ["colon_fence", "dollarmath"]
autodoc_typehints = "description"
exclude_patterns = ["_build", "generate"]
