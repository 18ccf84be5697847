"""Recipes as YAML files: inheritance, overrides, the shipped ones."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from taskprism.errors import RecipeError, UnknownNameError
from taskprism.training.recipe import Recipe
from taskprism.training.recipe_errors import explain

SHIPPED = Path(__file__).parents[1] / "recipes"
_EXTENDS = "extends"


class _Loader(yaml.SafeLoader):
    """Safe YAML in which ``1e-3`` is a number, as in YAML 1.2."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d[\d_]*)(\.[\d_]*)?[eE][-+]?\d+$"),
    list("-+0123456789"),
)


def parse_value(text: str) -> Any:
    """Value of one YAML scalar or flow collection: ``3``, ``1e-3``, ``true``, ``[192, 256]``."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError:
        return text


def list_recipes() -> list[str]:
    """Names of the shipped recipes; files that start with ``_`` only serve to be extended."""
    files = (path.relative_to(SHIPPED).with_suffix("") for path in SHIPPED.rglob("*.yaml"))
    return sorted(
        path.as_posix() for path in files if path.name[0] != "_" and path.parts[0] != "data"
    )


def load_recipe(source: str | Path, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Read a recipe.

    A recipe may say ``extends: OTHER``, a file relative to it or a shipped name: its own keys are
    then laid over those of the other, level by level (lists are replaced as a whole).

    Args:
        source: File, or name of a shipped recipe.
        overrides: Dotted key (``optimiser.lr``) -> value, laid over everything else.

    Returns:
        The validated recipe. Without a ``name`` of its own it is called after its file.

    Raises:
        RecipeError: A key or value is wrong, a file is missing or broken, or files extend one
            another in a circle.
    """
    path = find_recipe(source)
    values = {"name": path.stem, **_read(path, ())}
    for key, value in (overrides or {}).items():
        _set(values, key, value)
    return validate(values, source=str(source))


def validate(values: Mapping[str, Any], source: str) -> Recipe:
    """Make a recipe from plain nested values; ``source`` names their origin in errors."""
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise explain(error, Recipe, source) from None


def find_recipe(source: str | Path) -> Path:
    """File of a recipe given by path or by shipped name."""
    path = Path(source)
    if path.is_file():
        return path
    if path.is_dir() and (path / "recipe.yaml").is_file():
        return path / "recipe.yaml"  # a run directory holds its resolved recipe
    if path.suffix in {".yaml", ".yml"}:
        raise RecipeError(f"No recipe file {path}. `taskprism list recipes` shows those shipped.")
    shipped = SHIPPED / f"{source}.yaml"
    if not shipped.is_file():
        raise UnknownNameError("recipe", str(source), list_recipes())
    return shipped


def to_yaml(recipe: Recipe) -> str:
    """The resolved recipe as YAML, every key present, in the order of the schema."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _read(path: Path, below: tuple[Path, ...]) -> dict[str, Any]:
    path = path.resolve()
    if path in below:
        circle = " -> ".join(str(step) for step in (*below[below.index(path) :], path))
        raise RecipeError(f"Recipes extend one another in a circle: {circle}.")
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not valid YAML: {error}") from None
    values = {} if values is None else values
    if not isinstance(values, dict):
        raise RecipeError(f"{path} must hold keys and values, not a {type(values).__name__}.")
    _anchor_paths(values, path.parent)
    parent = values.pop(_EXTENDS, None)
    if parent is None:
        return values
    return _merge(_read(_parent_file(path, parent), (*below, path)), values)


def _parent_file(path: Path, parent: Any) -> Path:
    if not isinstance(parent, str):
        raise RecipeError(f"{path}: 'extends' must name one recipe, got {parent!r}.")
    for candidate in (path.parent / parent, path.parent / f"{parent}.yaml"):
        if candidate.is_file():
            return candidate
    shipped = SHIPPED / f"{parent}.yaml"
    if shipped.is_file():
        return shipped
    raise RecipeError(
        f"{path} extends {parent!r}, which is neither a file beside it nor a shipped recipe "
        f"({', '.join(list_recipes())})."
    )


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


def _merge(below: dict[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _set(values: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        inner = values.get(parent)
        values[parent] = dict(inner) if isinstance(inner, dict) else {}
        values = values[parent]
    values[last] = value
