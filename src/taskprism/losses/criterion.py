"""The multi-task criterion: the loss of each task, combined by a balancing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn

from taskprism.checks import check_choice, check_number
from taskprism.errors import InputError, UnknownNameError
from taskprism.layers import resize
from taskprism.losses.balancing import Balancing, create_balancer
from taskprism.losses.processes import count_processes, mean_over_processes
from taskprism.models.predictions import Predictions
from taskprism.tasks.base import Task
from taskprism.tasks.losses import full_precision


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


@dataclass(frozen=True)
class LabelCounts:
    """How many labels a batch has: in this process, and in everything its losses are means over.

    That is the batch of all processes, or, with a :attr:`~taskprism.losses.Balancing.linear`
    balancing, all batches that are accumulated for one step of the optimizer. A count is a number
    of pixels, or of images if the criterion averages over images.

    Attributes:
        own: Task name -> count in the batch of this process.
        total: Task name -> count over all processes (and accumulated batches).
        labeled: Names of the tasks that have a label in the total.
        sums: Task name -> :meth:`~taskprism.tasks.Task.batch_sums` of the total.
        processes: Number of processes.
        batches: Number of batches in the total.
        weights: Factor of the losses of each image in the batch of this process; empty if all are
            1. Counts are not weighted, so a smaller weight makes the loss smaller.

    Example:
        >>> import torch
        >>> from taskprism.losses import Criterion
        >>> from taskprism.tasks import create_task
        >>> target, valid = {"depth": torch.ones(2, 1, 4, 4)}, {"depth": torch.ones(2, 1, 4, 4) > 0}
        >>> counts = Criterion([create_task("depth")]).count_labels([(target, valid)] * 3)
        >>> counts[0].own, counts[0].total, counts[0].factor("depth")
        ({'depth': 32.0}, {'depth': 96.0}, 1.0)
    """

    own: Mapping[str, float]
    total: Mapping[str, float]
    labeled: frozenset[str]
    sums: Mapping[str, tuple[float, ...]]
    processes: int = 1
    batches: int = 1
    weights: tuple[float, ...] = ()

    @property
    def is_part(self) -> bool:
        """Whether the total is more than the batch of this process."""
        return self.processes > 1 or self.batches > 1

    def factor(self, task: str) -> float:
        """Factor on the mean loss of this process.

        With it, the mean over processes and batches is the mean over all labels.
        """
        total = self.total[task]
        return self.own[task] * self.processes * self.batches / total if total else 0.0

    def weight(self, task: str) -> float:
        """Weight of the batch's loss in a mean over all labels of several batches."""
        return self.total[task] / self.batches if task in self.labeled else 0.0


class Criterion(nn.Module):
    """Loss of a model's predictions.

    With ``L_t`` the loss of task t, ``f`` the final and ``s`` the initial predictions::

        L = sum_t w_t ( L_t(f) + initial_weight * reduce_s L_t(s) )

    where ``reduce`` is the sum over scales (MTI-Net, Eq. 4 and its code) or their mean (CTAL's
    code). Predictions of another size are resized bilinearly to the label's size. A task without a
    labeled pixel in the batch of any process is left out: it has a loss of exactly 0, and the total
    does not depend on it. A total without any labeled task is exactly 0, with a graph.

    Several processes equal one: in training mode, and if ``torch.distributed`` connects more than
    one process, every loss is the mean over the labels of all processes, as if one process had the
    whole batch. The values are the same on all processes. The mean of the processes' gradients,
    which ``DistributedDataParallel`` computes, is the gradient of these values. Every process must
    then call the criterion equally often, also without labels. DDP needs
    ``find_unused_parameters=True`` if a batch may lack all labels of a task. In evaluation mode
    each process has its own losses.

    Accumulated batches equal one large batch if :meth:`count_labels` is given all of them before
    the first, and the balancing is linear.

    Args:
        tasks: Main tasks, which have final (and perhaps initial) predictions.
        auxiliary_tasks: Tasks that only have initial predictions.
        weights: Task name -> factor, 0 or more; by default the ``loss_weight`` of each task.
        initial: Reduction over scales, ``"sum"`` or ``"mean"``.
        initial_weight: Factor of all initial losses, 0 or more.
        balancing: A registered name (see :func:`~taskprism.losses.list_balancers`),
            ``"module:Class"``, a class, or a :class:`Balancing`, which keeps its own weights. By
            default the weighted sum.
        average: ``"pixels"``: the loss of a task is the mean over all labeled pixels of the batch.
            ``"images"``: with :math:`L_t(b)` the mean over the labeled pixels of image b, and
            :math:`T_b` of all T tasks labeled there, it is the mean of :math:`L_t(b) T / T_b` over
            the images that have any label. Images then count alike, however few labels they have
            (as in MTPSL, Li et al., CVPR 2022, and DiffusionMTL, Ye and Xu, CVPR 2024).

    Raises:
        UnknownNameError: ``weights`` names a task that does not exist, or there is no such
            reduction, balancing or average.
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
        average: Literal["pixels", "images"] = "pixels",
    ) -> None:
        super().__init__()
        self.tasks = {task.name: task for task in (*tasks, *auxiliary_tasks)}
        self._lengths = {name: _sum_count(task) for name, task in self.tasks.items()}
        self.initial = check_choice("Criterion", "initial", initial, ("sum", "mean"))
        self.average = check_choice("Criterion", "average", average, ("pixels", "images"))
        self.initial_weight = check_number("Criterion", "initial_weight", initial_weight, low=0)
        defaults = {name: task.loss_weight for name, task in self.tasks.items()}
        for name in weights or {}:
            if name not in defaults:
                raise UnknownNameError("task in the loss weights", name, defaults)
        self.balancing = create_balancer(balancing, {**defaults, **(weights or {})})

    @property
    def uncounted_tasks(self) -> list[Task]:
        """Tasks whose loss has constants that :meth:`set_label_statistics` must set first."""
        return [task for task in self.tasks.values() if task.needs_label_statistics]

    def set_label_statistics(self, statistics: Mapping[str, Tensor]) -> None:
        """Set the constants of losses that come from all training labels (balanced class weights).

        Args:
            statistics: Task name -> sum of :meth:`~taskprism.tasks.Task.target_statistics` over the
                training images, for every task of :attr:`uncounted_tasks`.

        Raises:
            InputError: A task is missing.
        """
        for task in self.uncounted_tasks:
            if task.name not in statistics:
                raise InputError(f"There are no label statistics of task {task.name!r}.")
            self.tasks[task.name] = task.for_training(statistics[task.name])

    def count_labels(
        self,
        batches: Sequence[tuple[Mapping[str, Tensor], Mapping[str, Tensor]]],
        device: torch.device | str | None = None,
        weights: Sequence[Tensor | None] | None = None,
    ) -> list[LabelCounts]:
        """Count the labels of the batches that are accumulated for one step of the optimizer.

        Every process must call it with equally many batches.

        Args:
            batches: ``(targets, valid)`` of each batch; see :meth:`breakdown`.
            device: Device of the messages between processes; by default that of the labels.
            weights: Of each batch ``(B,)``, the factor of the losses of each image, or None if all
                are 1 (:attr:`taskprism.data.Batch.weights`).

        Returns:
            One per batch, to be given to :meth:`breakdown` or :meth:`forward` with it.
        """
        processes = count_processes() if self.training else 1
        own = torch.stack([self._count(targets, valid) for targets, valid in batches])
        total = own
        if processes > 1:
            total = own.to(device) if device is not None else own.clone()
            dist.all_reduce(total)
        rows, totals = own.tolist(), total.tolist()
        if self.balancing.linear:
            whole = [sum(column) for column in zip(*totals, strict=True)]
            totals = [whole] * len(rows)
        size = len(rows) if self.balancing.linear else 1
        counts = [
            self._counts(row, total, processes, size)
            for row, total in zip(rows, totals, strict=True)
        ]
        return [
            each if factors is None else replace(each, weights=tuple(factors.tolist()))
            for each, factors in zip(counts, weights or [None] * len(counts), strict=True)
        ]

    def _count(self, targets: Mapping[str, Tensor], valid: Mapping[str, Tensor]) -> Tensor:
        """Of one batch: labeled images; then of each task counted pixels and its sums."""
        numbers: list[Tensor] = []
        labeled: list[Tensor] = []
        for name, task in self.tasks.items():
            if name in targets and name in valid:
                counted = task.counted(targets[name], valid[name])
                labeled.append(counted.flatten(1).any(dim=1))
                numbers += [counted.sum()[None], task.batch_sums(targets[name], counted)]
            else:  # only an error if there is a prediction of it
                numbers.append(torch.zeros(1 + self._lengths[name]))
        device = labeled[0].device if labeled else torch.device("cpu")
        images = torch.stack(labeled).any(dim=0).sum() if labeled else torch.zeros(())
        dtype = torch.float32 if device.type == "mps" else torch.float64
        return torch.cat([number.to(device, dtype) for number in (images[None], *numbers)])

    def _counts(
        self, own: Sequence[float], total: Sequence[float], processes: int, batches: int
    ) -> LabelCounts:
        """Counts from rows of :meth:`_count`."""
        pixels: dict[str, float] = {}
        all_pixels: dict[str, float] = {}
        sums: dict[str, tuple[float, ...]] = {}
        place = 1
        for name in self.tasks:
            pixels[name], all_pixels[name] = own[place], total[place]
            end = place + 1 + self._lengths[name]
            sums[name] = tuple(total[place + 1 : end])
            place = end
        labeled = frozenset(name for name, count in all_pixels.items() if count)
        if self.average == "images":
            pixels, all_pixels = dict.fromkeys(pixels, own[0]), dict.fromkeys(pixels, total[0])
        return LabelCounts(pixels, all_pixels, labeled, sums, processes, batches)

    def breakdown(
        self,
        predictions: Predictions,
        targets: Mapping[str, Tensor],
        valid: Mapping[str, Tensor],
        counts: LabelCounts | None = None,
    ) -> LossBreakdown:
        """Compute the losses of each task.

        Args:
            predictions: Raw outputs ``(B, channels, H, W)`` and initial ones of any size.
            targets: Task name -> ``(B, target_channels, H, W)``.
            valid: Task name -> ``(B, 1, H, W)``, boolean: which pixels are labeled.
            counts: Of this batch, from :meth:`count_labels`; by default counted here.

        Raises:
            InputError: There is a prediction of a task but no target or no ``valid``.
            UnknownNameError: There is a prediction of a task that the criterion does not know.
        """
        names = {*predictions, *(name for scale in predictions.initial for name in scale)}
        for name in sorted(names):
            self._check(name, targets, valid)
        if counts is None:
            counts = self.count_labels([(targets, valid)])[0]
        own = _OwnLosses(self, targets, valid, counts)
        final = {name: own.loss(name, output) for name, output in predictions.items()}
        by_scale: dict[str, list[Tensor]] = {}
        for scale in predictions.initial:
            for name, output in scale.items():
                by_scale.setdefault(name, []).append(own.loss(name, output))
        initial = {
            name: _sum(losses) * self.initial_weight / self._divisor(len(losses))
            for name, losses in by_scale.items()
        }
        if counts.processes > 1:
            means = mean_over_processes([*final.values(), *initial.values()])
            final = dict(zip(final, means, strict=False))
            initial = dict(zip(initial, means[len(final) :], strict=True))
        return LossBreakdown(final, initial, counts.labeled)

    def forward(
        self,
        predictions: Predictions,
        targets: Mapping[str, Tensor],
        valid: Mapping[str, Tensor],
        counts: LabelCounts | None = None,
    ) -> tuple[Tensor, LossBreakdown]:
        """Total loss with the penalty of the predictions, and the losses of each task.

        See :meth:`breakdown` for the arguments.
        """
        losses = self.breakdown(predictions, targets, valid, counts)
        labeled = losses.per_task()
        if not labeled:  # exactly 0, with a graph
            return _sum([*losses.final.values(), *losses.initial.values()]), losses
        total = self.balancing(labeled)
        if predictions.penalty is not None:
            total = total + mean_over_processes([predictions.penalty])[0]
        return total, losses

    def _divisor(self, scales: int) -> int:
        return scales if self.initial == "mean" else 1

    def _check(self, name: str, targets: Mapping[str, Tensor], valid: Mapping[str, Tensor]) -> None:
        if name not in self.tasks:
            raise UnknownNameError("task in the predictions", name, self.tasks)
        if name not in targets or name not in valid:
            raise InputError(
                f"There is a prediction of task {name!r} but no target or no valid mask. Give both "
                "for every predicted task; a mask without any labeled pixel leaves the task out."
            )


class _OwnLosses:
    """Losses of this process in one batch, as its share of the loss of all processes."""

    def __init__(
        self,
        criterion: Criterion,
        targets: Mapping[str, Tensor],
        valid: Mapping[str, Tensor],
        counts: LabelCounts,
    ) -> None:
        self.targets = targets
        self.valid = valid
        self.counts = counts
        self.by_image = criterion.average == "images"
        self.tasks = criterion.tasks
        if counts.is_part or counts.weights or self.by_image:
            self.tasks = {n: task.for_batch(counts.sums[n]) for n, task in self.tasks.items()}
        if self.by_image:
            self.scales = _image_scales(criterion.tasks, targets, valid)

    def loss(self, name: str, output: Tensor) -> Tensor:
        """Loss of a prediction of any size."""
        target, valid = self.targets[name], self.valid[name]
        output = full_precision(output)  # in half, the small terms of a mean would be lost
        output = resize(output, target.shape[-2:])
        if not self.by_image:
            loss = self._mean(name, output, target, valid)
            factor = self.counts.factor(name)
            return loss if factor == 1 else loss * factor
        images = zip(output.split(1), target.split(1), valid.split(1), strict=True)
        losses = torch.stack([self.tasks[name].loss(*image) for image in images])
        counts = self.counts
        factor = counts.processes * counts.batches / max(counts.total[name], 1.0)
        if counts.weights:
            losses = losses * losses.new_tensor(counts.weights)
        return (losses * self.scales).sum() * factor

    def _mean(self, name: str, output: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """Mean over the labels of this process, in which those of an image have its weight.

        With weights it is the sum over images of weight, number of labels and mean loss, divided
        by the number of labels.
        """
        task, weights = self.tasks[name], self.counts.weights
        if len(set(weights)) <= 1:
            loss = task.loss(output, target, valid)
            return loss * weights[0] if weights else loss
        numbers = task.counted(target, valid).flatten(1).sum(dim=1)
        total = numbers.sum().clamp(min=1)
        factors = output.new_tensor(weights)
        parts = []
        for weight in sorted(set(weights)):
            members = (factors == factors.new_tensor(weight)).nonzero().flatten()
            loss = task.loss(output[members], target[members], valid[members])
            parts.append(loss * (weight * numbers[members].sum() / total))
        return torch.stack(parts).sum()


def _image_scales(
    tasks: Mapping[str, Task], targets: Mapping[str, Tensor], valid: Mapping[str, Tensor]
) -> Tensor:
    """Number of tasks / number of tasks labeled in the image, ``(B,)``."""
    labeled = torch.stack(
        [
            task.counted(targets[name], valid[name]).flatten(1).any(dim=1)
            for name, task in tasks.items()
            if name in targets and name in valid
        ]
    )
    return len(tasks) / labeled.sum(dim=0).clamp(min=1)


def _sum_count(task: Task) -> int:
    """How many sums over a batch the task's loss needs."""
    target = task.empty_target(1, 1).as_subclass(Tensor)[None]
    return len(task.batch_sums(target, torch.zeros(1, 1, 1, 1, dtype=torch.bool)))


def _sum(losses: Sequence[Tensor]) -> Tensor:
    return losses[0] if len(losses) == 1 else torch.stack(list(losses)).sum()
