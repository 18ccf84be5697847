"""Fully sharded data parallelism (FSDP2): weights, gradients and optimizer state are divided.

Each process keeps a part of every weight, and gathers the weights of one block at a time to compute
with them. Checkpoints are the same as without it: whole weights and a whole optimizer state.

PyTorch's ``fully_shard`` is called here and not through accelerate, which shards on GPUs only.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from taskprism.errors import RecipeError
from taskprism.losses import GradientBalancing
from taskprism.models.base import MultiTaskModel
from taskprism.recipes.schema import Recipe

#: Parameters from which on a block of a backbone is gathered by itself.
_BLOCK_PARAMETERS = 1_000_000


def check_sharding(recipe: Recipe, accelerator: Accelerator, balancing: nn.Module) -> None:
    """Check that a recipe with ``fsdp`` can be trained.

    Raises:
        RecipeError: It cannot; the message names the key.
    """
    if accelerator.num_processes < 2:
        raise RecipeError(
            "key 'fsdp': there is one process, so there is nothing to divide. Start several with "
            "torchrun, or set fsdp to false."
        )
    refused = {
        "ema_decay": recipe.ema_decay is not None,
        "precision": recipe.precision == "fp16",
        "stepping.mode": recipe.stepping.mode != "joint",
        "consistency.name": recipe.consistency.name is not None,
        "loss.balancing": isinstance(balancing, GradientBalancing),
    }
    for key, is_set in refused.items():
        if is_set:
            raise RecipeError(
                f"key {key!r}: its value cannot be combined with fsdp: true. Change it, or set "
                "fsdp to false."
            )


class ShardedModel:
    """A model whose parameters are divided among processes, and a whole copy of it.

    Args:
        model: On its device; its parameters are replaced by their parts.
        accelerator: Connects the processes.

    Attributes:
        model: The divided model.
        whole: Has the weights of the last :meth:`gather`; this is evaluated and saved.
    """

    def __init__(self, model: MultiTaskModel, accelerator: Accelerator) -> None:
        self.model = model
        self.whole = copy.deepcopy(model).requires_grad_(False)
        mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
        # FSDP divides along the first dimension, which a scalar does not have.
        scalars = {parameter for parameter in model.parameters() if not parameter.ndim}
        for block in _blocks(model):
            fully_shard(block, mesh=mesh, ignored_params=scalars)
        fully_shard(model, mesh=mesh, ignored_params=scalars)

    @torch.no_grad()
    def gather(self) -> MultiTaskModel:
        """Copy the weights of all processes into :attr:`whole`; all of them call this together."""
        for own, target in self._pairs():
            target.copy_(whole(own))
        return self.whole

    @torch.no_grad()
    def scatter(self) -> None:
        """Divide the weights of :attr:`whole`; all processes call this together."""
        for own, source in self._pairs():
            own.copy_(like(source, own))

    def _pairs(self) -> Iterator[tuple[Tensor, Tensor]]:
        mine, others = self.model.state_dict(), self.whole.state_dict()
        for name, own in mine.items():
            yield own, others[name]


def _blocks(model: nn.Module) -> list[nn.Module]:
    """Large blocks of the backbones, which are called one after the other, inner ones first."""
    blocks: list[nn.Module] = []
    for name, module in model.named_modules():
        if name.split(".")[0] not in ("backbone", "backbones"):
            continue
        if isinstance(module, nn.Sequential | nn.ModuleList):
            for block in module:
                is_container = isinstance(block, nn.Sequential | nn.ModuleList | nn.ModuleDict)
                size = sum(parameter.numel() for parameter in block.parameters())
                if not is_container and size >= _BLOCK_PARAMETERS:
                    blocks.append(block)
    return blocks[::-1]


def whole(value: Any) -> Any:
    """The whole tensor of a divided one; other values as they are."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def like(value: Any, parameter: Tensor) -> Any:
    """A whole tensor divided as a parameter of the same shape; other values as they are."""
    if not isinstance(parameter, DTensor) or not isinstance(value, Tensor) or not value.ndim:
        return value
    value = value.to(parameter.device)
    return distribute_tensor(value, parameter.device_mesh, parameter.placements)


def whole_optimizer_state(state: dict[str, Any]) -> dict[str, Any]:
    """State of an optimizer with whole tensors; all processes call this together."""
    values = {
        index: {name: whole(value) for name, value in entry.items()}
        for index, entry in state["state"].items()
    }
    return {**state, "state": values}


def divided_optimizer_state(
    state: dict[str, Any], groups: Iterable[dict[str, Any]]
) -> dict[str, Any]:
    """The inverse of :func:`whole_optimizer_state` for the parameters in ``groups``."""
    parameters = [parameter for group in groups for parameter in group["params"]]
    values = {
        index: {name: like(value, parameters[index]) for name, value in entry.items()}
        for index, entry in state["state"].items()
    }
    return {**state, "state": values}


def average_undivided(parameters: Iterable[nn.Parameter], accelerator: Accelerator) -> None:
    """Average the gradients of the parameters that every process has whole."""
    for parameter in parameters:
        if parameter.grad is not None and not isinstance(parameter, DTensor):
            parameter.grad = accelerator.reduce(parameter.grad, "mean")


@torch.no_grad()
def clip_gradient(parameters: Iterable[nn.Parameter], largest: float) -> Tensor:
    """Clip the norm of the gradient of divided and whole parameters, and return it."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = torch.stack([whole(torch.linalg.vector_norm(each)).float() for each in gradients]).norm()
    factor = (largest / (norm + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        local = gradient.to_local() if isinstance(gradient, DTensor) else gradient
        local.mul_(factor)
    return norm
