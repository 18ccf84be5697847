"""``torch.compile`` for the model of a run."""

from __future__ import annotations

import importlib.util
import os
import shutil

import torch
from torch import nn

from taskprism.errors import InputError, RecipeError, UnknownNameError
from taskprism.losses import BALANCERS, GradientBalancing
from taskprism.recipes.schema import Recipe

_COMPILERS = ("g++", "clang++", "c++", "cl")


def compile_model(model: nn.Module, recipe: Recipe, device: torch.device) -> None:
    """Compile a model in place, if the recipe says so.

    Names of parameters stay, so checkpoints fit models that are not compiled, and the reverse. A
    copy of the model (the moving average) and a loaded checkpoint are not compiled.

    Args:
        model: In training.
        recipe: Its keys ``compile`` and ``compile_backend`` are read.
        device: Where the model runs.

    Raises:
        RecipeError: The recipe has a part that compiling would break.
        InputError: The backend needs a compiler that is not installed.
        UnknownNameError: There is no such backend.

    Example:
        >>> model = nn.Linear(2, 3)
        >>> recipe = Recipe(compile=True, compile_backend="eager")
        >>> compile_model(model, recipe, torch.device("cpu"))
        >>> sorted(model.state_dict())
        ['bias', 'weight']
    """
    if not recipe.compile:
        return
    _check_recipe(recipe)
    backends = torch.compiler.list_backends(exclude_tags=())
    if recipe.compile_backend not in backends:
        raise UnknownNameError("backend of torch.compile", recipe.compile_backend, backends)
    if recipe.compile_backend == "inductor":
        check_compiler(device)
    model.compile(backend=recipe.compile_backend)


def _check_recipe(recipe: Recipe) -> None:
    """Refuse what reads features inside the model: a compiled model does not run its hooks."""
    balancing = BALANCERS.find(recipe.loss.balancing) if ":" not in recipe.loss.balancing else None
    reasons = {
        "fsdp: true": recipe.fsdp,
        f"loss.balancing: {recipe.loss.balancing}": isinstance(balancing, type)
        and issubclass(balancing, GradientBalancing),
        f"consistency.name: {recipe.consistency.name}": recipe.consistency.name is not None,
        "stepping.mode: per_task": recipe.stepping.mode == "per_task",
    }
    found = [reason for reason, holds in reasons.items() if holds]
    if found:
        raise RecipeError(
            f"compile: true does not work with {', '.join(found)}, which reads features inside the "
            "model. Set compile: false."
        )


def check_compiler(device: torch.device) -> None:
    """Check that the default backend finds the compiler that it needs for a device.

    Raises:
        InputError: It does not; the message says what to install.

    Example:
        >>> check_compiler(torch.device("cpu"))  # with a C++ compiler
    """
    if device.type == "cuda":
        if importlib.util.find_spec("triton") is None:
            raise InputError(
                "compile: true needs the package triton on a GPU, which is not installed. Install "
                "it (pip install triton), set compile_backend: eager, or set compile: false."
            )
        return
    names = [os.environ.get("CXX", ""), *_COMPILERS]
    if not any(name and shutil.which(name) for name in names):
        raise InputError(
            f"compile: true needs a C++ compiler on {device.type}, and none of "
            f"{', '.join(filter(None, names))} was found. Install one (Debian: apt-get install "
            "g++), name yours in the environment variable CXX, or set compile: false."
        )
