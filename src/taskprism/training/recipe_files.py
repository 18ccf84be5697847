"""Earlier name of :mod:`taskprism.recipes.files`, kept so that older scripts run."""

from taskprism.recipes.files import list_recipes, load_recipe

__all__ = ["list_recipes", "load_recipe"]
