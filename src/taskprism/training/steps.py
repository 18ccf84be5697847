"""One batch: which tasks each step of the optimizer is for, and the losses it follows."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import NotRequired, TypedDict

import torch
from torch import Tensor, nn

from taskprism.errors import RecipeError
from taskprism.losses import BALANCERS, GradientBalancing
from taskprism.losses.consistency import ConsistencyLoss, EncoderFeatures
from taskprism.losses.criterion import Criterion, LabelCounts
from taskprism.losses.processes import ratio_over_processes
from taskprism.models import MultiTaskModel, Predictions, SingleTaskingModel
from taskprism.recipes.schema import Recipe
from taskprism.tasks.losses import full_precision
from taskprism.training.adversarial import Adversary

_TOTAL = "total"
_CONSISTENCY = "consistency"


class Losses(TypedDict):
    """Scalar losses: the ``total``, on which backward is called, and those of each task by name.

    ``labeled`` holds what the balancing combined: the sum of final and initial loss of each task
    that has labels on any process. ``consistency`` is unweighted.
    """

    total: Tensor
    final: dict[str, Tensor]
    initial: dict[str, Tensor]
    labeled: dict[str, Tensor]
    adversarial: NotRequired[dict[str, Tensor]]
    consistency: NotRequired[Tensor]


class LossNetwork(nn.Module):
    """Images and labels in, losses out.

    Data parallelism and mixed precision wrap this module instead of the model: they traverse its
    output, and would miss the initial predictions attached to a model's output.

    Args:
        model: The model.
        criterion: Loss of all tasks.
        adversary: Discriminator of gradients, for a model that runs one task at a time.
        consistency: Loss that links the tasks of an image; every image is then shown twice.
        consistency_weight: Its factor.
    """

    def __init__(
        self,
        model: MultiTaskModel,
        criterion: Criterion,
        adversary: Adversary | None = None,
        consistency: ConsistencyLoss | None = None,
        consistency_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.model = model
        self.criterion = criterion
        self.adversary = adversary
        self.consistency = consistency
        self.consistency_weight = consistency_weight

    def forward(
        self,
        images: Tensor,
        targets: Mapping[str, Tensor],
        valid: Mapping[str, Tensor],
        tasks: Sequence[str] | None = None,
        reversal: float = 0.0,
        seeds: Sequence[int] = (),
        counts: LabelCounts | None = None,
    ) -> Losses:
        """Losses of a batch: values over all processes, with the gradient of this one's share.

        Args:
            images: ``(B, 3, H, W)`` RGB in [0, 1], not normalized.
            targets: Task name -> ``(B, target_channels, H, W)``.
            valid: Task name -> ``(B, 1, H, W)`` boolean.
            tasks: Tasks of this step, if the model can run some of them alone; None: all.
            reversal: Strength of the adversary's gradient reversal.
            seeds: One per image, for the consistency loss.
            counts: Labels of the batch, see :meth:`~taskprism.losses.Criterion.count_labels`; None:
                they are counted here.
        """
        if counts is None:
            counts = self.criterion.count_labels([(targets, valid)])[0]
        if self.consistency is not None:
            return self._linked(self.consistency, images, targets, valid, seeds, counts)
        images = self.model.normalize(images)
        if self.adversary is not None and tasks is not None:
            return self._judged(self.adversary, images, targets, valid, tasks[0], reversal, counts)
        predictions = self.model(images) if tasks is None else self.model(images, tasks)
        total, losses = self.criterion(predictions, targets, valid, counts)
        return {
            "total": total,
            "final": losses.final,
            "initial": losses.initial,
            "labeled": losses.per_task(),
        }

    def _linked(
        self,
        consistency: ConsistencyLoss,
        images: Tensor,
        targets: Mapping[str, Tensor],
        valid: Mapping[str, Tensor],
        seeds: Sequence[int],
        counts: LabelCounts,
    ) -> Losses:
        """Losses of the images, and the loss that links the tasks of their second views."""
        view = consistency.view(images, targets, valid, seeds)
        both = self.model.normalize(torch.cat([images, view.images]))
        with EncoderFeatures(self.model) as encoder:
            first, second = _halves(self.model(both))
        total, losses = self.criterion(first, targets, valid, counts)
        maps = encoder.maps()
        features = None if maps is None else maps.chunk(2)[1]
        by_image = consistency(second, view.targets, view.valid, features, seeds)
        linked = ratio_over_processes(by_image.sum(), len(by_image))
        return {
            "total": total + self.consistency_weight * linked,
            "final": losses.final,
            "initial": losses.initial,
            "labeled": losses.per_task(),
            "consistency": linked,
        }

    def _judged(
        self,
        adversary: Adversary,
        images: Tensor,
        targets: Mapping[str, Tensor],
        valid: Mapping[str, Tensor],
        task: str,
        reversal: float,
        counts: LabelCounts,
    ) -> Losses:
        """Losses of one task, with its gradient at the model's interface through the adversary."""
        assert isinstance(self.model, SingleTaskingModel)
        maps = self.model.interface(images, [task])[task]
        with torch.autocast(images.device.type, enabled=False):  # gradients are as small as 1e-7
            maps = [full_precision(each) for each in maps]
            output = self.model.output(maps, task, images.shape[-2:])
            loss, losses = self.criterion(Predictions({task: output}), targets, valid, counts)
            total, judgment = adversary(
                loss, maps[-1], task, valid[task], reversal, counts.processes
            )
        return {
            "total": total,
            "final": losses.final,
            "initial": {},
            "labeled": losses.per_task(),
            "adversarial": {task: judgment},
        }


def _halves(predictions: Predictions) -> tuple[Predictions, Predictions]:
    """Predictions of the first and of the second half of the images."""
    final = {name: output.chunk(2) for name, output in predictions.items()}
    initial = [
        {name: output.chunk(2) for name, output in scale.items()} for scale in predictions.initial
    ]
    first, second = (
        Predictions(
            {name: halves[i] for name, halves in final.items()},
            [{name: halves[i] for name, halves in scale.items()} for scale in initial],
        )
        for i in range(2)
    )
    return first, second


class LossMeter:
    """Mean losses of an epoch.

    The mean of a task is over all labels of the epoch: pixels, or images if the criterion averages
    over images. The mean total is over batches. Sums and counts are plain numbers, which a
    checkpoint can hold.
    """

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._counts: dict[str, float] = {}

    def add(self, losses: Losses, counts: LabelCounts) -> None:
        """Add the losses of one batch, which are the same on all processes."""
        values = {_TOTAL: losses["total"]}
        values |= {f"final/{name}": loss for name, loss in losses["final"].items()}
        values |= {f"initial/{name}": loss for name, loss in losses["initial"].items()}
        if "consistency" in losses:
            values[_CONSISTENCY] = losses["consistency"]
        judged = losses.get("adversarial", {})
        values |= {f"adversarial/{name}": loss for name, loss in judged.items()}
        numbers = torch.stack([value.detach().float() for value in values.values()]).tolist()
        for key, number in zip(values, numbers, strict=True):
            weight = counts.weight(key.partition("/")[2]) if "/" in key else 1.0
            self._sums[key] = self._sums.get(key, 0.0) + number * weight
            self._counts[key] = self._counts.get(key, 0.0) + weight

    @property
    def total(self) -> float:
        """Mean of the total loss."""
        return self._mean(_TOTAL)

    @property
    def consistency(self) -> float | None:
        """Mean of the consistency loss; None if there is none."""
        return self._mean(_CONSISTENCY) if _CONSISTENCY in self._sums else None

    def means(self, part: str) -> dict[str, float]:
        """Mean unweighted loss per task; NaN for a task without labels.

        Args:
            part: ``"final"``, ``"initial"`` or ``"adversarial"``.
        """
        keys = [key for key in self._sums if key.startswith(f"{part}/")]
        return {key.partition("/")[2]: self._mean(key) for key in keys}

    def per_task(self) -> dict[str, float]:
        """Sum of the mean final and initial loss of each task that had labels."""
        sums: dict[str, float] = {}
        for part in ("final", "initial"):
            for name, mean in self.means(part).items():
                if not math.isnan(mean):
                    sums[name] = sums.get(name, 0.0) + mean
        return sums

    def state(self) -> dict[str, dict[str, float]]:
        """Plain values for a checkpoint."""
        return {"sums": dict(self._sums), "counts": dict(self._counts)}

    def restore(self, state: Mapping[str, Mapping[str, float]]) -> None:
        """Continue from :meth:`state`."""
        self._sums = {key: float(value) for key, value in state["sums"].items()}
        self._counts = {key: float(value) for key, value in state["counts"].items()}

    def _mean(self, key: str) -> float:
        count = self._counts.get(key, 0.0)
        return self._sums[key] / count if count else math.nan


class StepLosses:
    """Mean loss of each task over the labels of all batches of one step of the optimizer."""

    def __init__(self) -> None:
        self._sums: dict[str, list[Tensor]] = {}
        self._weights: dict[str, float] = {}

    def add(self, losses: Mapping[str, Tensor], counts: LabelCounts) -> None:
        """Add the losses of the labeled tasks of a batch, over all processes."""
        for name, loss in losses.items():
            weight = counts.weight(name)
            self._sums.setdefault(name, []).append(loss.detach() * weight)
            self._weights[name] = self._weights.get(name, 0.0) + weight

    def take(self) -> dict[str, Tensor]:
        """Means of all added losses, which are then forgotten."""
        means = {
            name: torch.stack(values).sum() / self._weights[name]
            for name, values in self._sums.items()
        }
        self._sums.clear()
        self._weights.clear()
        return means


def check_stepping(recipe: Recipe, model: MultiTaskModel) -> None:
    """Check that the model can be trained with the recipe's ``stepping``.

    Raises:
        RecipeError: It cannot; the message names the key.
    """
    stepping = recipe.stepping
    balancing = BALANCERS.find(recipe.loss.balancing)
    combines_gradients = isinstance(balancing, type) and issubclass(balancing, GradientBalancing)
    if stepping.mode == "joint":
        if combines_gradients and recipe.consistency.name is not None:
            raise RecipeError(
                f"key 'loss.balancing': {recipe.loss.balancing!r} combines the gradients of the "
                "tasks, and a consistency loss belongs to no single task; choose another "
                "balancing, or set consistency.name to null."
            )
        if stepping.adversarial.weight > 0:
            raise RecipeError(
                "key 'stepping.adversarial.weight': the discriminator sees one task at a time; set "
                "stepping.mode to per_task, or the weight to 0."
            )
        return
    if recipe.consistency.name is not None:
        raise RecipeError(
            "key 'consistency.name': a consistency loss compares the predictions of all tasks, but "
            "stepping.mode per_task runs one at a time; set stepping.mode to joint, or "
            "consistency.name to null."
        )
    if combines_gradients:
        raise RecipeError(
            f"key 'stepping.mode': the balancing {recipe.loss.balancing!r} combines the gradients "
            "of several tasks, but per_task computes one at a time; set stepping.mode to joint, or "
            "choose another loss.balancing."
        )
    if not isinstance(model, SingleTaskingModel):
        raise RecipeError(
            f"key 'stepping.mode': {model.name!r} always runs all tasks, so it cannot be "
            "trained per_task; use the model 'astmt', or set stepping.mode to joint."
        )
    if recipe.accumulate > 1:
        raise RecipeError(
            f"key 'accumulate': with stepping.mode per_task every batch is one step per task, so "
            f"{recipe.accumulate} batches cannot be accumulated; set it to 1."
        )


def create_adversary(recipe: Recipe, model: MultiTaskModel) -> Adversary | None:
    """Discriminator for this model, or None if the recipe sets none."""
    settings = recipe.stepping.adversarial
    if settings.weight == 0 or not isinstance(model, SingleTaskingModel):
        return None
    names = [task.name for task in model.tasks]
    channels = model.interface_channels
    return Adversary(names, channels, settings.kernel_size, settings.weight)


def rate_factors(
    recipe: Recipe,
    model: MultiTaskModel,
    adversary: Adversary | None,
    consistency: ConsistencyLoss | None = None,
) -> list[tuple[Sequence[nn.Parameter], float]]:
    """Parameters whose learning rate is a multiple of the recipe's.

    With one step per task, shared layers take a step for every task of a batch and layers of one
    task take one step. The rate of the latter is therefore multiplied by the number of tasks.
    (The paper divides the rate of shared layers by it instead.) Some models define factors for SGD.
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
    if consistency is not None:
        factors += consistency.rate_factors()
    return factors


def turns(
    recipe: Recipe, model: MultiTaskModel, labeled: Collection[str]
) -> list[list[str] | None]:
    """Tasks of each forward and backward pass over a batch; None means all at once.

    Every process runs the same passes: per task in the model's order, without the tasks that no
    process has a label of. Without any label there is no pass.

    Args:
        recipe: Has the mode of stepping.
        model: The model.
        labeled: Names of the tasks that have labels on any process, in any accumulated batch.
    """
    if recipe.stepping.mode == "joint":
        return [None] if labeled else []
    return [[task.name] for task in model.tasks if task.name in labeled]


def joined(turns: Sequence[Losses], model: MultiTaskModel) -> Losses:
    """Losses of all passes over one batch; 0 for a task without a pass."""
    if len(turns) == 1 and len(turns[0]["final"]) == len(model.tasks):
        return turns[0]
    total = torch.stack([losses["total"].detach() for losses in turns]).sum()
    final = {task.name: torch.zeros_like(total) for task in model.tasks}
    labeled: dict[str, Tensor] = {}
    adversarial: dict[str, Tensor] = {}
    for losses in turns:
        final |= losses["final"]
        labeled |= losses["labeled"]
        adversarial |= losses.get("adversarial", {})
    return {
        "total": total,
        "final": final,
        "initial": {},
        "labeled": labeled,
        "adversarial": adversarial,
    }
