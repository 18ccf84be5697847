"""YAML of recipes as plain nested values: numbers as meant, levels laid over one another."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from taskprism.errors import RecipeError


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


def read_mapping(path: Path) -> dict[str, Any]:
    """Keys and values of a file; an empty one has none.

    Raises:
        RecipeError: The file is missing, no YAML, or holds something else.
    """
    try:
        state = path.stat()
        values = copy.deepcopy(_read(path.resolve(), state.st_mtime_ns, state.st_size))
    except OSError as error:
        raise RecipeError(f"{path} cannot be read: {error.strerror}.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not valid YAML: {error}") from None
    values = {} if values is None else values
    if not isinstance(values, dict):
        raise RecipeError(f"{path} must hold keys and values, not a {type(values).__name__}.")
    return values


@lru_cache(maxsize=512)
def _read(path: Path, changed: int, size: int) -> Any:
    """Content of a file; read again only when it has changed."""
    return yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """``above`` laid over ``below``, level by level; lists are replaced as a whole."""
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = merge(merged[key], value) if both else value
    return merged
