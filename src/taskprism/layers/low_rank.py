"""Low-rank updates of frozen linear layers, shared by all tasks or one per task (MTLoRA)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from taskprism.errors import InputError

SharedMode = Literal["matrix", "matrixv2", "addition"]
Rank = Annotated[int, Field(ge=1, le=4096)]


class LowRankLinear(nn.Module):
    """A frozen linear layer and trainable updates of low rank.

    The shared output is ``W x + s B A x``. LoRA (Hu et al., ICLR 2022) with a plain factor s, not
    alpha / rank. The output of a task depends on ``mode`` (Agiza et al., "MTLoRA", CVPR 2024, and
    its released code):

    ===========  ===============================================================================
    matrix       ``W x + s B_t A_t x_t``: the frozen weight reads the shared input
    matrixv2     the same plus the shared update ``s B A x``
    addition     as ``matrix``; there is no shared pair, and the shared output is ``W x`` plus a
                 layer norm of the sum of the outputs of all tasks
    ===========  ===============================================================================

    Args:
        linear: The layer to adapt; its weight and bias no longer need gradients.
        rank: Rank of the shared update.
        scale: Factor s of all updates.
        dropout: Dropout on the input of the updates.
        tasks: Names of the tasks with updates of their own.
        task_rank: Rank of these.
        mode: How shared and own updates are combined.
        shared_update: Whether there is a shared update; without one and without tasks the layer
            would be frozen.

    Raises:
        InputError: There is neither a shared update nor a task.

    Example:
        >>> import torch
        >>> from taskprism.layers import LowRankLinear
        >>> layer = LowRankLinear(torch.nn.Linear(8, 6), rank=2)
        >>> layer(torch.rand(3, 8)).shape, sum(p.numel() for p in layer.parameters())
        (torch.Size([3, 6]), 82)
    """

    def __init__(
        self,
        linear: nn.Linear,
        rank: int,
        scale: float = 4.0,
        dropout: float = 0.0,
        tasks: Sequence[str] = (),
        task_rank: int = 4,
        mode: SharedMode = "matrix",
        shared_update: bool = True,
    ) -> None:
        super().__init__()
        self.linear = linear
        for parameter in linear.parameters():
            parameter.requires_grad_(False)
        self.scale = scale
        self.mode: SharedMode = mode
        self.dropout = nn.Dropout(dropout)
        sizes = linear.in_features, linear.out_features
        has_shared = shared_update and not (tasks and mode == "addition")
        self.shared = LowRank(*sizes, rank) if has_shared else None
        self.tasks = nn.ModuleDict({task: LowRank(*sizes, task_rank) for task in tasks})
        self.norm = nn.LayerNorm(sizes[1]) if tasks and mode == "addition" else None
        if self.shared is None and not tasks:
            raise InputError("LowRankLinear: there is no update; give tasks or a shared update.")

    @property
    def merges(self) -> bool:
        """Whether one weight computes the same: no task has a separate update."""
        return not self.tasks

    def forward(self, x: Tensor) -> Tensor:
        """Shared output: ``(..., in) -> (..., out)``."""
        return self.with_tasks(x)[0] if self.tasks else self._shared(x, self.linear(x))

    def with_tasks(
        self, x: Tensor, own: Mapping[str, Tensor] | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Shared output, and that of every task.

        Args:
            x: Shared input ``(..., in)``.
            own: Inputs of the tasks; by default ``x`` for each.
        """
        frozen = self.linear(x)
        outputs: dict[str, Tensor] = {}
        shared = self._shared(x, frozen)
        for task, update in self.tasks.items():
            given = x if own is None else own[task]
            base = shared if self.mode == "matrixv2" else frozen
            outputs[task] = base + self.scale * update(self.dropout(given))
        if self.norm is not None:
            shared = frozen + self.norm(torch.stack(list(outputs.values())).sum(dim=0))
        return shared, outputs

    def merged(self) -> nn.Linear:
        """One linear layer that computes the same.

        Raises:
            InputError: Tasks have updates of their own, so one weight is not enough.
        """
        if not self.merges:
            raise InputError(
                f"This layer has updates of {', '.join(self.tasks)}, whose inputs differ from the "
                "shared one, so no single weight computes the same; keep the updates."
            )
        assert self.shared is not None
        source = self.linear
        result = nn.Linear(source.in_features, source.out_features, bias=source.bias is not None)
        with torch.no_grad():
            weight = source.weight + self.scale * self.shared.up @ self.shared.down
            result = result.to(weight)
            result.weight.copy_(weight)
            if source.bias is not None:
                result.bias.copy_(source.bias)
        return result

    def _shared(self, x: Tensor, frozen: Tensor) -> Tensor:
        if self.shared is None:
            return frozen
        return frozen + self.scale * self.shared(self.dropout(x))


class LowRank(nn.Module):
    """``B A x`` without bias; B starts at zero, so the update does too.

    Example:
        >>> import torch
        >>> from taskprism.layers.low_rank import LowRank
        >>> LowRank(8, 6, rank=2)(torch.rand(3, 8)).abs().max().item()
        0.0
    """

    is_adapter: ClassVar[bool] = True  # backbone.trainable: adapters trains it

    def __init__(self, in_features: int, out_features: int, rank: int) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.empty(rank, in_features))
        self.up = nn.Parameter(torch.zeros(out_features, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        """``(..., in) -> (..., out)``."""
        return x @ self.down.T @ self.up.T
