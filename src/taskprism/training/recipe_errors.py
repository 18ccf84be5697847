"""Say what is wrong with a recipe in the recipe's own words."""

from __future__ import annotations

import difflib
from typing import Any, get_origin

from pydantic import BaseModel, ValidationError

from taskprism.errors import RecipeError


def explain(error: ValidationError, schema: type[BaseModel], source: str) -> RecipeError:
    """Turn pydantic's report into one message.

    Args:
        error: What validation found.
        schema: The class that was being filled, for the names that would have been valid.
        source: Where the values came from: a file or the command line.

    Returns:
        An error with one line per key: an unknown key with the valid ones of its level, a wrong
        value with the allowed range.
    """
    lines: dict[str, str] = {}
    for detail in error.errors(include_url=False):
        path = _keys(schema, detail["loc"])
        key = ".".join(path)
        if detail["type"] == "extra_forbidden":
            lines.setdefault(key, _unknown_key(schema, path))
        elif key in lines:
            lines[key] += f", or {_lower(detail['msg'])}"
        else:
            lines[key] = f"key {key!r}: {_lower(detail['msg'])}, got {detail['input']!r}"
    return RecipeError(f"{source}: {'; '.join(lines.values())}.")


def _unknown_key(schema: type[BaseModel], path: list[str]) -> str:
    known = list(_level(schema, path[:-1]).model_fields)
    close = difflib.get_close_matches(path[-1], known, n=1, cutoff=0.5)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    where = f"in {'.'.join(path[:-1])!r}" if len(path) > 1 else "at the top"
    return f"unknown key {path[-1]!r} {where}.{hint} Keys there: {', '.join(known)}"


def _level(schema: type[BaseModel], path: list[str]) -> type[BaseModel]:
    for name in path:
        annotation: Any = schema.model_fields[name].annotation
        schema = annotation
    return schema


def _keys(schema: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Drop what pydantic adds for the branches of a union (``protocol.list[str]``)."""
    keys: list[str] = []
    level: type[BaseModel] | None = schema
    free_form = False
    for part in location:
        if level is None:  # below a plain value: keep list positions and the user's own keys
            keys += [str(part)] if isinstance(part, int) or free_form else []
            continue
        keys.append(str(part))
        field = level.model_fields.get(str(part))
        annotation: Any = field.annotation if field else None
        free_form = get_origin(annotation) is dict
        is_level = isinstance(annotation, type) and issubclass(annotation, BaseModel)
        level = annotation if is_level else None
    return keys


def _lower(message: str) -> str:
    return message[:1].lower() + message[1:]
