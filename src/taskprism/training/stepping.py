"""Which tasks one step of the optimizer is for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from taskprism.data.sample import Batch
from taskprism.errors import RecipeError
from taskprism.models import MultiTaskModel, SingleTaskingModel
from taskprism.recipes.schema import Recipe
from taskprism.training.adversarial import Adversary
from taskprism.training.network import Losses


def check_stepping(recipe: Recipe, model: MultiTaskModel) -> None:
    """Check that the model can be trained as ``stepping`` says.

    Raises:
        RecipeError: It cannot; the message names the key.
    """
    stepping = recipe.stepping
    if stepping.mode == "joint":
        if stepping.adversarial.weight > 0:
            raise RecipeError(
                "key 'stepping.adversarial.weight': the discriminator sees one task after the "
                "other; set stepping.mode to per_task, or the weight to 0."
            )
        return
    if not isinstance(model, SingleTaskingModel):
        raise RecipeError(
            f"key 'stepping.mode': {model.name!r} always runs all tasks; per_task is for 'astmt'."
        )
    if recipe.accumulate > 1:
        raise RecipeError(
            f"key 'accumulate': every batch is a step per task with stepping.mode per_task, so "
            f"{recipe.accumulate} batches cannot be one; set it to 1."
        )


def create_adversary(recipe: Recipe, model: MultiTaskModel) -> Adversary | None:
    """The recipe's discriminator for this model, if it asks for one."""
    settings = recipe.stepping.adversarial
    if settings.weight == 0 or not isinstance(model, SingleTaskingModel):
        return None
    names = [task.name for task in model.tasks]
    channels = model.interface_channels
    return Adversary(names, channels, settings.kernel_size, settings.weight)


def rate_factors(
    recipe: Recipe, model: MultiTaskModel, adversary: Adversary | None
) -> list[tuple[Sequence[nn.Parameter], float]]:
    """Parameters whose learning rate is a multiple of the recipe's.

    Shared layers make a step for every task of a batch, layers of one task only one; so these go
    faster by the number of tasks. (The paper says it the other way round: the rate of shared layers
    is divided by it.) Some models have factors of their own for SGD.
    """
    stepping = recipe.stepping
    factors: list[tuple[Sequence[nn.Parameter], float]] = []
    if recipe.optimizer.name == "sgd":
        factors += model.sgd_rate_factors()
    if stepping.mode == "per_task" and isinstance(model, SingleTaskingModel):
        default = float(len(model.tasks))
        factor = default if stepping.task_lr_factor is None else stepping.task_lr_factor
        factors.append((model.own_parameters(), factor))
    if adversary is not None:
        factors.append((list(adversary.parameters()), stepping.adversarial.lr_factor))
    return factors


def turns(
    recipe: Recipe, model: MultiTaskModel, batch: Batch, accelerator: Accelerator
) -> list[list[str] | None]:
    """Tasks of each forward and backward pass over a batch; None stands for all at once.

    Per task, in the model's order, every process takes the same turns; a task without any label in
    any process's batch is left out.
    """
    if recipe.stepping.mode == "joint":
        return [None]
    names = [task.name for task in model.tasks]
    labeled = torch.stack([batch.valid[name].any() for name in names]).float()
    anywhere: Tensor = accelerator.reduce(labeled, "sum")
    return [[name] for name, count in zip(names, anywhere.tolist(), strict=True) if count]


def joined(turns: Sequence[Losses], model: MultiTaskModel) -> Losses:
    """Losses of all turns over one batch; 0 for a task that had none."""
    if len(turns) == 1 and len(turns[0]["final"]) == len(model.tasks):
        return turns[0]
    total = torch.stack([losses["total"].detach() for losses in turns]).sum()
    final = {task.name: torch.zeros_like(total) for task in model.tasks}
    adversarial: dict[str, Tensor] = {}
    for losses in turns:
        final |= losses["final"]
        adversarial |= losses.get("adversarial", {})
    return {"total": total, "final": final, "initial": {}, "adversarial": adversarial}
