"""Say what is wrong with a recipe in the recipe's own words."""

from __future__ import annotations

import difflib
from types import UnionType
from typing import Any, get_args, get_origin

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
        elif detail["type"] == "value_error":  # our own words
            lines[key] = (f"key {key!r}: " if key else "") + str(detail["ctx"]["error"])
        elif detail["type"] == "missing":
            lines[key] = f"key {key!r} is missing"
        elif key in lines:
            lines[key] += f", or {_lower(detail['msg'])}"
        else:
            lines[key] = f"key {key!r}: {_lower(detail['msg'])}, got {detail['input']!r}"
    return RecipeError(f"{source}: {'; '.join(lines.values())}.")


def _unknown_key(schema: type[BaseModel], path: list[str]) -> str:
    fields = _level(schema, path[:-1]).model_fields
    known = [field.alias or name for name, field in fields.items()]
    close = difflib.get_close_matches(path[-1], known, n=1, cutoff=0.5)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    where = f"in {'.'.join(path[:-1])!r}" if len(path) > 1 else "at the top"
    return f"unknown key {path[-1]!r} {where}.{hint} Keys there: {', '.join(known)}"


def _level(schema: type[BaseModel], path: list[str]) -> type[BaseModel]:
    level: Any = schema
    for name in path:
        level = _inner(level, name)[0]
    return level


def _keys(schema: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Drop what pydantic adds for the branches of a union (``protocol.list[str]``)."""
    keys: list[str] = []
    level: Any = schema
    free_form = False
    for part in location:
        if level is None:  # below a plain value: keep list positions and the user's own keys
            keys += [str(part)] if isinstance(part, int) or free_form else []
            continue
        keys.append(str(part))
        level, free_form = _inner(level, str(part))
    return keys


def _inner(level: Any, key: str) -> tuple[Any, bool]:
    """What stands below a key, None for a plain value; and whether the keys there are free.

    A level is a schema, or a dictionary or list of schemas.
    """
    if isinstance(level, type) and issubclass(level, BaseModel):
        names = {field.alias or name: field for name, field in level.model_fields.items()}
        annotation: Any = names[key].annotation if key in names else None
    else:
        annotation = get_args(level)[-1 if get_origin(level) is dict else 0]
    if isinstance(annotation, UnionType):
        annotation = next((a for a in get_args(annotation) if _is_schema(a)), annotation)
    free_form = get_origin(annotation) is dict
    holds_schemas = any(_is_schema(argument) for argument in get_args(annotation))
    return (annotation if _is_schema(annotation) or holds_schemas else None), free_form


def _is_schema(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _lower(message: str) -> str:
    return message[:1].lower() + message[1:]
