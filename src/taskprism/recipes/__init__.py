"""Recipes: one YAML file that describes a run.

:func:`load_recipe` reads one (``extends``, overrides), :func:`list_recipes` lists those with a
name, and :func:`register_recipes` gives the recipes of a package or project names.
"""

from taskprism.recipes.files import (
    RecipeFile,
    RecipeSource,
    list_recipes,
    load_recipe,
    register_recipe_source,
    register_recipes,
)
from taskprism.recipes.schema import DataSettings, ModelSettings, Recipe

__all__ = [
    "DataSettings",
    "ModelSettings",
    "Recipe",
    "RecipeFile",
    "RecipeSource",
    "list_recipes",
    "load_recipe",
    "register_recipe_source",
    "register_recipes",
]
