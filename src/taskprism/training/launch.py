"""The environment of a run: devices, processes and precision."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs

from taskprism.errors import RecipeError
from taskprism.recipes.schema import Recipe


def create_accelerator(recipe: Recipe, folder: Path) -> Accelerator:
    """Accelerator for a recipe in the environment that launched this process.

    By default one process on the best available device; ``accelerate launch`` or ``torchrun``
    start several.

    Args:
        recipe: Gives the precision.
        folder: Run directory.

    Raises:
        RecipeError: The device lacks the precision.
    """
    if recipe.precision == "fp16" and not torch.cuda.is_available():
        raise RecipeError("key 'precision': 'fp16' needs a GPU; use 'bf16' or 'no' on a CPU.")
    # A process that hangs is named before the other ones give up.
    patience = timedelta(seconds=2 * recipe.stall_timeout) if recipe.stall_timeout else None
    return Accelerator(
        mixed_precision=recipe.precision,
        project_dir=str(folder),
        # A batch may lack the labels of a task, and a backbone may have maps that no head reads.
        kwargs_handlers=[
            DistributedDataParallelKwargs(find_unused_parameters=True),
            InitProcessGroupKwargs(timeout=patience),
        ],
    )


def disconnect() -> None:
    """Close the connection to other processes, if there are any, at the end of a command."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def max_over_processes(number: float, accelerator: Accelerator) -> float:
    """The largest of the numbers that the processes have."""
    own = torch.tensor([float(number)], device=accelerator.device)
    return float(accelerator.gather(own).max().item())
