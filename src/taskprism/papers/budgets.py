"""Budgets: what is laid over every row of a table, so that it fits into some time."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from taskprism.errors import UnknownNameError
from taskprism.recipes.files import read_mapping
from taskprism.recipes.schema import Recipe, Strict, explain

BUDGETS = Path(__file__).parent / "budgets"
_DEFAULT = "default"


class StandIn(Strict):
    """Another backbone in place of the paper's."""

    match: tuple[str, ...] = Field(description="patterns of backbone names: hrnet_*")
    recipe: dict[str, Any] = Field(description="laid over the row's")


class Budget(Strict):
    """Changes to recipes, in the order in which they are laid over one another."""

    seeds: int = Field(3, ge=1, description="runs of each row")
    recipe: dict[str, Any] = Field(default_factory=dict, description="for every row")
    protocols: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="protocol -> recipe; default: for all others"
    )
    backbones: tuple[StandIn, ...] = Field((), description="the first that matches")
    models: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="model name -> recipe"
    )

    def layers(self, recipe: Recipe, protocol: str) -> Iterator[dict[str, Any]]:
        """What is laid over a row's recipe, for a protocol.

        Args:
            recipe: The row's, as published.
            protocol: Name of the data.
        """
        yield self.recipe
        yield self.protocols.get(protocol, self.protocols.get(_DEFAULT, {}))
        backbone = recipe.model.backbone
        for each in self.backbones:
            if any(fnmatch(backbone, pattern) for pattern in each.match):
                yield each.recipe
                break
        yield self.models.get(recipe.model.name, {})


def list_budgets() -> list[str]:
    """Names of the shipped budgets."""
    return sorted(path.stem for path in BUDGETS.glob("*.yaml"))


def load_budget(name: str | Path) -> Budget:
    """Read a budget.

    Args:
        name: One of :func:`list_budgets`, or a YAML file.

    Raises:
        UnknownNameError: There is no such budget.
        RecipeError: The file is broken, or a key or value in it is wrong.
    """
    path = Path(name)
    if path.suffix != ".yaml":
        if str(name) not in list_budgets():
            raise UnknownNameError("budget", str(name), list_budgets())
        path = BUDGETS / f"{name}.yaml"
    try:
        return Budget.model_validate(read_mapping(path))
    except ValidationError as error:
        raise explain(error, Budget, str(path)) from None
