"""Pydantic's complaints about a data YAML, as messages that name the key and the way out."""

from __future__ import annotations

import difflib
import re
import typing
from typing import Any

from pydantic import BaseModel, ValidationError

from taskprism.errors import DataError

# Pydantic puts the tried type of a union into the place of the error; users wrote no such key.
_UNION_BRANCH = re.compile(
    r"(tuple|dict|list|literal|function-\w+|lax-or-strict)\[|(str|int|float)$"
)


def explain(error: ValidationError, model: type[BaseModel], source: str) -> DataError:
    """Readable form of ``error``, raised while reading ``source`` as a ``model``."""
    lines = list(dict.fromkeys(_line(dict(item), model) for item in error.errors()))
    return DataError(f"{source}: " + "; ".join(lines) + ".")


def _line(item: dict[str, Any], model: type[BaseModel]) -> str:
    location = tuple(part for part in item["loc"] if not _UNION_BRANCH.match(str(part)))
    key = ".".join(str(part) for part in location)
    if item["type"] == "extra_forbidden":
        known = _keys_at(model, location[:-1])
        close = difflib.get_close_matches(str(location[-1]), known, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        return f"unknown key {key!r}.{hint} Valid keys here: {', '.join(known)}"
    if item["type"] == "missing":
        return f"the key {key!r} is missing"
    message = str(item["msg"]).removeprefix("Value error, ").rstrip(".")
    return f"{key}: {message} (got {item['input']!r})" if key else message


def _keys_at(model: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    """Fields of the model that stands at ``location`` inside ``model``."""
    current = model
    for part in location:
        if part in current.model_fields:
            current = _inner_model(current.model_fields[part].annotation) or current
    return list(current.model_fields)


def _inner_model(annotation: Any) -> type[BaseModel] | None:
    """The model in an annotation such as ``dict[str, Model]`` or ``Model | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in typing.get_args(annotation):
        found = _inner_model(inner)
        if found is not None:
            return found
    return None
