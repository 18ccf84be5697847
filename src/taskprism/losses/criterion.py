"""The multi-task criterion: the loss of each task, combined by a balancing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn

from taskprism.checks import check_choice, check_number
from taskprism.errors import InputError, UnknownNameError
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
        labeled: Names of the tasks that have labels in the batch of any process; None: all.

    Example:
        >>> import torch
        >>> from taskprism.losses import LossBreakdown
        >>> one, two = torch.tensor(1.0), torch.tensor(2.0)
        >>> LossBreakdown({"depth": two}, {"depth": one, "edge": two}).per_task()
        {'depth': tensor(3.), 'edge': tensor(2.)}
    """

    final: dict[str, Tensor]
    initial: dict[str, Tensor]
    labeled: frozenset[str] | None = None

    def per_task(self) -> dict[str, Tensor]:
        """Sum of final and initial loss of each labeled task, main tasks first.

        This is what a balancing combines.
        """
        names = [
            name
            for name in dict.fromkeys([*self.final, *self.initial])
            if self.labeled is None or name in self.labeled
        ]
        both = (self.final, self.initial)
        return {name: _sum([part[name] for part in both if name in part]) for name in names}


class Criterion(nn.Module):
    """Loss of a model's predictions.

    With ``L_t`` the loss of task t, ``f`` the final and ``s`` the initial predictions::

        L = sum_t w_t ( L_t(f) + initial_weight * reduce_s L_t(s) )

    where ``reduce`` is the sum over scales (MTI-Net, Eq. 4 and its code) or their mean (CTAL's
    code). Predictions of another size are resized bilinearly to the label's size. A task without a
    labeled pixel in the batch of any process is left out: it has a loss of exactly 0, and the total
    does not depend on it. A total without any labeled task is exactly 0, with a graph.

    Args:
        tasks: Main tasks, which have final (and perhaps initial) predictions.
        auxiliary_tasks: Tasks that only have initial predictions.
        weights: Task name -> factor, 0 or more; by default the ``loss_weight`` of each task.
        initial: Reduction over scales, ``"sum"`` or ``"mean"``.
        initial_weight: Factor of all initial losses, 0 or more.
        balancing: A registered name (see :func:`~taskprism.losses.list_balancers`),
            ``"module:Class"``, a class, or a :class:`Balancing`, which keeps its own weights. By
            default the weighted sum.

    Raises:
        UnknownNameError: ``weights`` names a task that does not exist, or there is no such
            reduction or balancing.
        InputError: A weight is out of range, or all weights are 0.

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
        self.initial = check_choice("Criterion", "initial", initial, ("sum", "mean"))
        self.initial_weight = check_number("Criterion", "initial_weight", initial_weight, low=0)
        defaults = {name: task.loss_weight for name, task in self.tasks.items()}
        for name in weights or {}:
            if name not in defaults:
                raise UnknownNameError("task in the loss weights", name, defaults)
        self.balancing = create_balancer(balancing, {**defaults, **(weights or {})})

    def breakdown(
        self, predictions: Predictions, targets: Mapping[str, Tensor], valid: Mapping[str, Tensor]
    ) -> LossBreakdown:
        """Compute the losses of each task.

        Args:
            predictions: Raw outputs ``(B, channels, H, W)`` and initial ones of any size.
            targets: Task name -> ``(B, target_channels, H, W)``.
            valid: Task name -> ``(B, 1, H, W)``, boolean: which pixels are labeled.

        Raises:
            InputError: There is a prediction of a task but no target or no ``valid``.
            UnknownNameError: There is a prediction of a task that the criterion does not know.
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
            name: _sum(losses) * self.initial_weight / self._divisor(len(losses))
            for name, losses in by_scale.items()
        }
        return LossBreakdown(final, initial, _labeled([*final, *initial], valid))

    def forward(
        self, predictions: Predictions, targets: Mapping[str, Tensor], valid: Mapping[str, Tensor]
    ) -> tuple[Tensor, LossBreakdown]:
        """Total loss, and the losses of each task; see :meth:`breakdown` for the arguments."""
        losses = self.breakdown(predictions, targets, valid)
        labeled = losses.per_task()
        if not labeled:  # exactly 0, with a graph
            return _sum([*losses.final.values(), *losses.initial.values()]), losses
        return self.balancing(labeled), losses

    def _divisor(self, scales: int) -> int:
        return scales if self.initial == "mean" else 1

    def _loss(
        self, name: str, output: Tensor, targets: Mapping[str, Tensor], valid: Mapping[str, Tensor]
    ) -> Tensor:
        if name not in self.tasks:
            raise UnknownNameError("task in the predictions", name, self.tasks)
        if name not in targets or name not in valid:
            raise InputError(
                f"There is a prediction of task {name!r} but no target or no valid mask. Give both "
                "for every predicted task; a mask without any labeled pixel leaves the task out."
            )
        target = targets[name]
        output = output.float()  # in half precision the small terms of a mean would be lost
        output = resize(output, target.shape[-2:])
        return self.tasks[name].loss(output, target, valid[name])


def _labeled(names: Sequence[str], valid: Mapping[str, Tensor]) -> frozenset[str]:
    """Tasks that have a labeled pixel on any process."""
    names = list(dict.fromkeys(names))
    if not names:
        return frozenset()
    counts = torch.stack([valid[name].any() for name in names]).float()
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        dist.all_reduce(counts)
    return frozenset(name for name, count in zip(names, counts.tolist(), strict=True) if count)


def _sum(losses: Sequence[Tensor]) -> Tensor:
    return losses[0] if len(losses) == 1 else torch.stack(list(losses)).sum()
