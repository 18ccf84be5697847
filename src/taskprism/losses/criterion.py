"""The multi-task criterion: the loss of each task, and their combination by a balancing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from taskprism.errors import UnknownNameError
from taskprism.layers import resize
from taskprism.losses.balancing import Balancing, create_balancer
from taskprism.models.predictions import Predictions
from taskprism.tasks.base import Task


@dataclass(frozen=True)
class LossBreakdown:
    """Unweighted scalar losses by task name.

    Attributes:
        final: Losses of the final predictions, one per main task.
        initial: Losses of the initial predictions of main and auxiliary tasks, reduced over the
            scales and multiplied by ``initial_weight``. Empty if a model has none.
    """

    final: dict[str, Tensor]
    initial: dict[str, Tensor]

    def per_task(self) -> dict[str, Tensor]:
        """Final plus initial loss of each task, the input of a balancing; main tasks first."""
        names = dict.fromkeys([*self.final, *self.initial])
        both = (self.final, self.initial)
        return {name: _add([part[name] for part in both if name in part]) for name in names}


class Criterion(nn.Module):
    """Loss of a model's predictions.

    With ``L_t`` the loss of task t, ``f`` the final and ``s`` the initial predictions::

        L = sum_t w_t ( L_t(f) + initial_weight * reduce_s L_t(s) )

    where ``reduce`` is the sum over scales (MTI-Net, Eq. 4 and its code) or their mean (CTAL's
    code). Initial predictions are resized to the label's size bilinearly. A task for which no
    pixel of the batch is labeled adds exactly 0, with a graph.

    Args:
        tasks: Main tasks, with a final (and perhaps initial) prediction.
        auxiliary_tasks: Tasks with initial predictions only.
        weights: Task name -> factor; by default each task's own ``loss_weight``.
        initial: Reduction over scales.
        initial_weight: Factor of all initial losses.
        balancing: Combines the tasks: a registered name (see
            :func:`~taskprism.losses.list_balancers`), ``"module:Class"``, a class, or a
            :class:`Balancing`, whose own weights apply. By default the fixed ``weights``.

    Raises:
        UnknownNameError: ``weights`` names a task that does not exist.

    Example:
        >>> import torch
        >>> from taskprism.losses import Criterion
        >>> from taskprism.models import Predictions
        >>> from taskprism.tasks import create_task
        >>> criterion = Criterion([create_task("depth")])
        >>> predictions = Predictions({"depth": torch.zeros(1, 1, 4, 4)})
        >>> targets = {"depth": torch.ones(1, 1, 4, 4)}
        >>> valid = {"depth": torch.ones(1, 1, 4, 4, dtype=torch.bool)}
        >>> total, losses = criterion(predictions, targets, valid)
        >>> total.item(), sorted(losses.per_task())
        (1.0, ['depth'])
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        auxiliary_tasks: Sequence[Task] = (),
        weights: Mapping[str, float] | None = None,
        initial: Literal["sum", "mean"] = "sum",
        initial_weight: float = 1.0,
        balancing: str | Balancing | type[Balancing] = "fixed",
    ) -> None:
        super().__init__()
        self.tasks = {task.name: task for task in (*tasks, *auxiliary_tasks)}
        self.initial = initial
        self.initial_weight = initial_weight
        own = {name: task.loss_weight for name, task in self.tasks.items()}
        for name in weights or {}:
            if name not in own:
                raise UnknownNameError("task in the loss weights", name, own)
        self.balancing = create_balancer(balancing, {**own, **(weights or {})})

    def breakdown(
        self, predictions: Predictions, targets: Mapping[str, Tensor], valid: Mapping[str, Tensor]
    ) -> LossBreakdown:
        """Compute the losses of each task.

        Args:
            predictions: Raw outputs ``(B, channels, H, W)`` and initial ones of any size.
            targets: Task name -> ``(B, target_channels, H, W)``.
            valid: Task name -> ``(B, 1, H, W)`` boolean.
        """
        final = {
            name: self._loss(name, output, targets, valid) for name, output in predictions.items()
        }
        by_scale: dict[str, list[Tensor]] = {}
        for scale in predictions.initial:
            for name, output in scale.items():
                loss = self._loss(name, output, targets, valid)
                by_scale.setdefault(name, []).append(loss)
        initial = {
            name: _add(losses) * self.initial_weight / self._share(len(losses))
            for name, losses in by_scale.items()
        }
        return LossBreakdown(final, initial)

    def forward(
        self, predictions: Predictions, targets: Mapping[str, Tensor], valid: Mapping[str, Tensor]
    ) -> tuple[Tensor, LossBreakdown]:
        """Total loss and its parts; see :meth:`breakdown` for the arguments."""
        losses = self.breakdown(predictions, targets, valid)
        return self.balancing(losses.per_task()), losses

    def _share(self, scales: int) -> int:
        return scales if self.initial == "mean" else 1

    def _loss(
        self, name: str, output: Tensor, targets: Mapping[str, Tensor], valid: Mapping[str, Tensor]
    ) -> Tensor:
        target = targets[name]
        output = output.float()  # half precision would lose the small terms of a mean
        output = resize(output, target.shape[-2:])
        return self.tasks[name].loss(output, target, valid[name])


def _add(losses: Sequence[Tensor]) -> Tensor:
    return losses[0] if len(losses) == 1 else torch.stack(list(losses)).sum()
