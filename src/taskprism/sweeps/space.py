"""Search spaces of ``taskprism tune``: a YAML file of recipe keys and how to draw their values.

Example:
    >>> space = parse_space({
    ...     "optimizer.lr": {"loguniform": [1e-5, 1e-3]},
    ...     "model.options.neck_channels": {"grid": [64, 128]},
    ...     "epochs": 20,
    ... })
    >>> [point["model.options.neck_channels"] for point in draw(space, trials=2)]
    [64, 128, 64, 128]
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from taskprism.errors import RecipeError, UnknownNameError
from taskprism.text_files import read_yaml

GRID, CHOICE = "grid", "choice"
#: Name of a distribution -> value between two bounds, from a uniform number in [0, 1).
_RANGES: dict[str, Callable[[float, float, float], float | int]] = {
    "uniform": lambda low, high, u: low + (high - low) * u,
    "loguniform": lambda low, high, u: math.exp(math.log(low) + math.log(high / low) * u),
    "randint": lambda low, high, u: int(low + math.floor((high - low + 1) * u)),
}
KINDS = (CHOICE, GRID, *_RANGES)


@dataclass(frozen=True)
class Distribution:
    """How the values of a key are drawn.

    Attributes:
        kind: ``choice``: one of the values, all equally probable. ``grid``: each of the values in
            turn, combined with those of other grids. ``uniform``, ``loguniform``: a number between
            two bounds, uniform in value or in its logarithm. ``randint``: an integer between two
            bounds, both included.
        values: The values, or the two bounds.

    Example:
        >>> Distribution("randint", (4, 8)).value(0.99)
        8
    """

    kind: str
    values: tuple[Any, ...]

    def value(self, u: float) -> Any:
        """Value for a uniform number in [0, 1)."""
        if self.kind in _RANGES:
            low, high = self.values
            return _RANGES[self.kind](low, high, u)
        return self.values[int(u * len(self.values))]


Space = Mapping[str, Distribution]


def load_space(path: Path) -> dict[str, Distribution]:
    """Read a search space.

    Raises:
        RecipeError: The file is missing or broken, or a range or list of values is wrong.
        UnknownNameError: There is no such distribution.

    Example:
        >>> load_space(Path("examples/search_space.yaml"))  # doctest: +SKIP
    """
    return parse_space(read_yaml(path, RecipeError), str(path))


def parse_space(content: Any, source: str = "search space") -> dict[str, Distribution]:
    """Search space from plain values: dotted key -> ``{KIND: VALUES}``, or one fixed value.

    Args:
        content: The values.
        source: Where they come from, for errors.

    Raises:
        RecipeError: A range or list of values is wrong, or there are no keys.
        UnknownNameError: There is no such distribution.

    Example:
        >>> parse_space({"epochs": 20, "optimizer.lr": {"loguniform": [1e-5, 1e-3]}})["epochs"]
        Distribution(kind='grid', values=(20,))
    """
    if not isinstance(content, dict) or not content:
        raise RecipeError(
            f"{source} must hold recipe keys such as optimizer.lr: {{loguniform: [1e-5, 1e-3]}}."
        )
    return {str(key): _distribution(str(key), value, source) for key, value in content.items()}


def _distribution(key: str, value: Any, source: str) -> Distribution:
    if not isinstance(value, dict):
        return Distribution(GRID, (value,))
    if len(value) != 1:
        raise RecipeError(
            f"{source}: key {key!r} must hold one of {', '.join(KINDS)}, or one fixed value, got "
            f"{value!r}."
        )
    ((kind, values),) = value.items()
    if kind not in KINDS:
        raise UnknownNameError(f"distribution of {key}", str(kind), KINDS)
    if not isinstance(values, list) or not values:
        raise RecipeError(f"{source}: key {key!r}: {kind} takes a list, got {values!r}.")
    if kind in _RANGES:
        _check_range(key, kind, values, source)
    return Distribution(kind, tuple(values))


def _check_range(key: str, kind: str, values: Sequence[Any], source: str) -> None:
    types = (int,) if kind == "randint" else (int, float)
    numbers = [each for each in values if isinstance(each, types) and not isinstance(each, bool)]
    is_range = len(values) == len(numbers) == 2 and all(map(math.isfinite, numbers))
    if not is_range or not numbers[0] < numbers[1] or (kind == "loguniform" and numbers[0] <= 0):
        what = "two integers" if kind == "randint" else "two numbers"
        above = " above 0" if kind == "loguniform" else ""
        raise RecipeError(
            f"{source}: key {key!r}: {kind} takes {what}{above} in increasing order, got {values}."
        )


def draw(space: Space, trials: int, seed: int = 0) -> list[dict[str, Any]]:
    """Points of a search space.

    Args:
        space: The search space.
        trials: Number of times that all combinations of grid values are tried, each time with newly
            drawn values of the other keys. Without such keys, once.
        seed: Seed of the draws. More trials with the same seed begin with the same points.

    Returns:
        Key -> value, for each trial.

    Example:
        >>> space = parse_space({"optimizer.lr": {"uniform": [0.1, 0.2]}})
        >>> draw(space, 3)[:2] == draw(space, 2)
        True
    """
    grids = {key: each.values for key, each in space.items() if each.kind == GRID}
    drawn = [key for key, each in space.items() if each.kind != GRID]
    points = []
    for number in range(trials if drawn else 1):
        for place, combination in enumerate(itertools.product(*grids.values())):
            fixed = dict(zip(grids, combination, strict=True))
            uniform = np.random.default_rng([seed, number, place]).random(len(drawn))
            values = {
                key: space[key].value(float(u)) for key, u in zip(drawn, uniform, strict=True)
            }
            points.append({key: values[key] if key in values else fixed[key] for key in space})
    return points
