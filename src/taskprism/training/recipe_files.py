"""Recipes as YAML files: inheritance, overrides, the shipped ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from taskprism.errors import RecipeError, UnknownNameError
from taskprism.training.recipe import Recipe
from taskprism.training.recipe_errors import explain
from taskprism.training.recipe_rows import RecipeSource, find_row, is_table
from taskprism.training.recipe_yaml import merge, read_mapping

SHIPPED = Path(__file__).parents[1] / "recipes"
#: One folder per paper, one file per table.
PAPERS = SHIPPED / "papers"
_NO_RECIPES = ("data", "papers", "budgets")  # folders of data YAMLs, tables and changes to recipes
_EXTENDS = "extends"


def list_recipes() -> list[str]:
    """Names of the shipped recipes; files that start with ``_`` only serve to be extended.

    The rows of the papers' tables, which are recipes too, are listed by
    :func:`taskprism.papers.list_tables`.
    """
    files = (path.relative_to(SHIPPED).with_suffix("") for path in SHIPPED.rglob("*.yaml"))
    return sorted(
        path.as_posix()
        for path in files
        if path.name[0] != "_" and path.parts[0] not in _NO_RECIPES
    )


def load_recipe(source: str | Path, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Read a recipe.

    A recipe may say ``extends: OTHER``, a file relative to it or a shipped name: its own keys are
    then laid over those of the other, level by level (lists are replaced as a whole).

    Args:
        source: File, run directory, name of a shipped recipe, or a row of a paper's table:
            ``PAPER/TABLE/ROW`` (``mti_net/2a/single_task``).
        overrides: Dotted key (``optimizer.lr``) -> value, laid over everything else. With another
            ``data.protocol`` the recipe's ``data.options``, which are the old one's, are dropped.

    Returns:
        The validated recipe. Without a ``name`` of its own it is called after its file or row.

    Raises:
        RecipeError: A key or value is wrong, a file is missing or broken, or files extend one
            another in a circle.
    """
    values = recipe_values(find_recipe(source))
    overrides = overrides or {}
    data = values.get("data")
    if isinstance(data, dict):
        protocol = data.get("protocol")
        if overrides.get("data.protocol", protocol) != protocol:
            data.pop("options", None)
    for key, value in overrides.items():
        _set(values, key, value)
    return validate(values, source=str(source))


def recipe_values(source: RecipeSource) -> dict[str, Any]:
    """What a recipe says with all that it extends, as plain nested values.

    Raises:
        RecipeError: A file is missing or broken, or files extend one another in a circle.
    """
    return {"name": source.name, **_read(source, ())}


def validate(values: Mapping[str, Any], source: str) -> Recipe:
    """Make a recipe from plain nested values; ``source`` names their origin in errors."""
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise explain(error, Recipe, source) from None


def find_recipe(source: str | Path) -> RecipeSource:
    """Where a recipe stands, given by path, by shipped name or as a row of a table."""
    path = Path(source)
    if _is_recipe(path):
        return RecipeSource(path)
    if path.is_dir() and (path / "recipe.yaml").is_file():
        return RecipeSource(path / "recipe.yaml")  # a run directory holds its resolved recipe
    if path.suffix in {".yaml", ".yml"}:
        if path.is_file():
            raise RecipeError(
                f"{path} is a whole table; name one of its rows without {path.suffix!r}."
            )
        raise RecipeError(f"No recipe file {path}. `taskprism list recipes` shows those shipped.")
    shipped = SHIPPED / f"{source}.yaml"
    if _is_recipe(shipped):
        return RecipeSource(shipped)
    row = find_row(source, (Path(), PAPERS))
    if row is None:
        raise UnknownNameError("recipe", str(source), list_recipes())
    return row


def to_yaml(recipe: Recipe) -> str:
    """The resolved recipe as YAML, every key present, in the order of the schema."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _read(source: RecipeSource, below: tuple[RecipeSource, ...]) -> dict[str, Any]:
    source = RecipeSource(source.path.resolve(), source.row)
    if source in below:
        circle = " -> ".join(str(step) for step in (*below[below.index(source) :], source))
        raise RecipeError(f"Recipes extend one another in a circle: {circle}.")
    values = source.values()
    _anchor_paths(values, source.path.parent)
    parent = values.pop(_EXTENDS, None)
    if parent is None:
        return values
    return merge(_read(_parent(source, parent), (*below, source)), values)


def _parent(source: RecipeSource, parent: Any) -> RecipeSource:
    if not isinstance(parent, str):
        raise RecipeError(f"{source}: 'extends' must name one recipe, got {parent!r}.")
    folder = source.path.parent
    files = (folder / parent, *(place / f"{parent}.yaml" for place in (folder, SHIPPED, PAPERS)))
    for candidate in files:
        if _is_recipe(candidate):
            return RecipeSource(candidate)
    row = find_row(parent, (folder, PAPERS))
    if row is None:
        raise RecipeError(
            f"{source} extends {parent!r}, which is neither a file beside it nor a shipped recipe "
            f"({', '.join(list_recipes())}), nor a row PAPER/TABLE/ROW of a paper's table."
        )
    return row


def _is_recipe(path: Path) -> bool:
    return path.is_file() and not is_table(read_mapping(path))


def _anchor_paths(values: dict[str, Any], folder: Path) -> None:
    """Data YAMLs are written relative to the recipe that names them."""
    data = values.get("data")
    if not isinstance(data, dict) or "protocol" not in data:
        return

    def anchor(name: Any) -> Any:
        is_file = isinstance(name, str) and (folder / name).is_file()
        return str((folder / name).resolve()) if is_file else name

    given = data["protocol"]
    data["protocol"] = [anchor(n) for n in given] if isinstance(given, list) else anchor(given)


def _set(values: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        inner = values.get(parent)
        values[parent] = dict(inner) if isinstance(inner, dict) else {}
        values = values[parent]
    values[last] = value
