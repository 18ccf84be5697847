"""The environment of a run: devices, processes, precision and trackers."""

from __future__ import annotations

import importlib.util
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
    start several. Nothing is uploaded unless the recipe names an online tracker.

    Args:
        recipe: Gives precision and trackers.
        folder: Run directory; TensorBoard and W&B write into ``trackers/`` there.

    Raises:
        RecipeError: A tracker's package is missing, or the device lacks the precision.
    """
    for tracker in recipe.trackers:
        if importlib.util.find_spec(tracker) is None:
            raise RecipeError(
                f"key 'trackers': the package {tracker!r} is not installed: "
                f"pip install 'taskprism[{tracker}]', or leave it out of 'trackers'."
            )
    if recipe.precision == "fp16" and not torch.cuda.is_available():
        raise RecipeError("key 'precision': 'fp16' needs a GPU; use 'bf16' or 'no' on a CPU.")
    # A process that hangs is named before the other ones give up.
    patience = timedelta(seconds=2 * recipe.stall_timeout) if recipe.stall_timeout else None
    return Accelerator(
        mixed_precision=recipe.precision,
        log_with=list(recipe.trackers) or None,
        project_dir=str(folder / "trackers"),
        # A batch may lack the labels of a task, and a backbone may have maps that no head reads.
        kwargs_handlers=[
            DistributedDataParallelKwargs(find_unused_parameters=True),
            InitProcessGroupKwargs(timeout=patience),
        ],
    )


def start_trackers(accelerator: Accelerator, recipe: Recipe) -> None:
    """Open the recipe's trackers with the settings as flat text values."""
    if not recipe.trackers:
        return
    (Path(str(accelerator.project_dir))).mkdir(parents=True, exist_ok=True)
    settings = {
        f"{section}.{key}" if isinstance(values, dict) else section: str(value)
        for section, values in recipe.model_dump(mode="json").items()
        for key, value in (values if isinstance(values, dict) else {"": values}).items()
    }
    accelerator.init_trackers(
        "taskprism", config=settings, init_kwargs={"wandb": {"name": recipe.name}}
    )


def stop_trackers(accelerator: Accelerator) -> None:
    """Close the trackers; the processes stay connected."""
    for tracker in accelerator.trackers:
        tracker.finish()


def disconnect() -> None:
    """Close the connection to other processes, if there are any, at the end of a command."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def max_over_processes(number: float, accelerator: Accelerator) -> float:
    """The largest of the numbers that the processes have."""
    own = torch.tensor([float(number)], device=accelerator.device)
    return float(accelerator.gather(own).max().item())
