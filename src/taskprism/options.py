"""Flat keyword options: which ones a constructor has, and a clear answer to one that it has not."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from taskprism.errors import UnknownNameError


def options_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Keyword options of a function or class, ``name -> default``; required arguments are none."""
    return {
        name: parameter.default
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.default is not inspect.Parameter.empty
    }


def check_options(owner: str, options: Mapping[str, Any], known: Iterable[str]) -> None:
    """Raise :class:`~taskprism.errors.UnknownNameError` for the first option that is not known.

    Args:
        owner: Whose options they are, for the message: ``"model 'mti_net'"``.
        options: What the user gave.
        known: Names of the options that exist.
    """
    names = sorted(known)
    for option in options:
        if option not in names:
            raise UnknownNameError(f"option of {owner}", option, names)
