"""Optimizers by name, and the learning rate over the epochs.

A schedule is a pure function of the position in the run. It has no state, so a resumed run computes
the same rates as one that never stopped.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from taskprism.backbones.base import Backbone
from taskprism.backbones.trainable import decayed_rates
from taskprism.models.base import MultiTaskModel
from taskprism.models.parts import trained_parameters
from taskprism.recipes.schema import OptimizerSettings, ScheduleSettings

_BASE_LR = "base_lr"


#: Parameters and a factor on their learning rate.
RateFactor = tuple[Iterable[nn.Parameter], float]


def parameter_groups(
    model: nn.Module, settings: OptimizerSettings, factors: Iterable[RateFactor] = ()
) -> list[dict[str, Any]]:
    """Trainable parameters grouped by learning rate: backbones first, the rest last.

    Weight decay applies to all of them, normalization and biases included, as in the training code
    of PAD-Net, MTI-Net and ASTMT.

    Args:
        model: The model.
        settings: Learning rate, its factor for backbones, and its decay over their layers.
        factors: Parameters whose learning rate is a multiple of that of the others.
    """
    in_backbone = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, Backbone)
        for parameter in module.parameters()
    }
    factor_of = {id(p): factor for parameters, factor in factors for p in parameters}
    if settings.layer_decay < 1:
        for parameters, decay in decayed_rates(model, settings.layer_decay):
            factor_of |= {id(p): decay * factor_of.get(id(p), 1.0) for p in parameters}
    kinds: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for parameter in model.parameters():
        if parameter.requires_grad:
            kind = id(parameter) in in_backbone, factor_of.get(id(parameter), 1.0)
            kinds.setdefault(kind, []).append(parameter)
    groups = []
    for is_backbone, factor in sorted(kinds, key=lambda kind: (not kind[0], kind[1] == 1.0)):
        lr = settings.lr * factor * (settings.backbone_lr_factor if is_backbone else 1.0)
        groups.append({"params": kinds[is_backbone, factor], "lr": lr, _BASE_LR: lr})
    return groups


def create_optimizer(
    model: nn.Module, settings: OptimizerSettings, factors: Iterable[RateFactor] = ()
) -> torch.optim.Optimizer:
    """Optimizer over all trainable parameters of ``model``; see :func:`parameter_groups`."""
    groups = parameter_groups(model, settings, factors)
    decay = settings.weight_decay
    match settings.name:
        case "adam":
            return torch.optim.Adam(groups, lr=settings.lr, weight_decay=decay)
        case "adamw":
            return torch.optim.AdamW(groups, lr=settings.lr, weight_decay=decay)
        case "sgd":
            return torch.optim.SGD(
                groups,
                lr=settings.lr,
                weight_decay=decay,
                momentum=settings.momentum,
                nesterov=settings.nesterov and settings.momentum > 0,
            )


def describe_training(model: MultiTaskModel, optimizer: torch.optim.Optimizer) -> str:
    """Line that says how many parameters of each part of a model are trained, and at which rates.

    Args:
        model: Some of its parameters may not be trained.
        optimizer: Its groups have the learning rates.

    Example:
        >>> from taskprism import create_model
        >>> model = create_model("multi_task", ["depth"], backbone="test_resnet", neck_channels=8)
        >>> model.backbone.trunk.set_trainable("none")
        >>> describe_training(model, create_optimizer(model, OptimizerSettings(lr=1e-3)))
        'Training 0.00 of 0.37 M in backbone, 0.01 M in neck, 0.48 M in head of depth; lr 0.001.'
    """
    counts = {
        part: f"{trained / 1e6:.2f}" + (f" of {total / 1e6:.2f}" if trained < total else "")
        for part, (trained, total) in trained_parameters(model).items()
    }
    rates = [group[_BASE_LR] for group in optimizer.param_groups]
    low, high = min(rates), max(rates)
    return (
        f"Training {', '.join(f'{count} M in {part}' for part, count in counts.items())}; "
        f"lr {f'{low:.3g} to ' if low < high else ''}{high:.3g}."
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, factor: float) -> float:
    """Scale the rate of every group by ``factor``; return that of the last group (the heads)."""
    for group in optimizer.param_groups:
        group["lr"] = group[_BASE_LR] * factor
    return optimizer.param_groups[-1]["lr"]


def learning_rate_factor(
    settings: ScheduleSettings, epochs: int, epoch: int, step: int, steps: int
) -> float:
    """Factor in [0, 1] on the recipe's learning rate.

    The shape steps once per epoch, as in the papers' training code, or with ``per: step`` once per
    optimizer step: ``epoch`` below then counts fractions. The warm-up always steps per optimizer
    step, and multiplies the shape.

    ==================  ============================================================
    constant            1
    poly                ``(1 - epoch / epochs) ** power``
    cosine              ``(1 + cos(pi * epoch / epochs)) / 2``
    cosine_restarts     ``(1 + cos(pi * t / T)) / 2``, ``t`` epochs into a cycle of ``T``
                        (SGDR, Loshchilov and Hutter, 2017)
    multi_step          ``drop_factor ** (number of milestones <= epoch)``
    one_cycle           half a cosine up from ``start_factor`` to 1 in the share ``peak`` of all
                        steps, and half a cosine down to ``end_factor`` in the others (Smith and
                        Topin, 2018); momentum is constant
    warm-up             ``min(1, (epoch + (step + 1) / steps) / warmup_epochs)``
    ==================  ============================================================

    Args:
        settings: Shape and its parameters.
        epochs: Length of the run.
        epoch: Current epoch, from 0.
        step: Current optimizer step within the epoch, from 0.
        steps: Optimizer steps per epoch.
    """
    position = epoch + step / steps if settings.per == "step" else epoch
    match settings.name:
        case "constant":
            shape = 1.0
        case "poly":
            shape = (1 - position / epochs) ** settings.power
        case "cosine":
            shape = _half_cosine(position / epochs)
        case "cosine_restarts":
            cycle = _cycle_position(position, settings.period, settings.period_factor)
            shape = _half_cosine(cycle)
        case "multi_step":
            passed = sum(milestone <= position for milestone in settings.milestones)
            shape = settings.drop_factor**passed
        case "one_cycle":
            shape = _one_cycle(settings, epoch * steps + step, epochs * steps)
    if settings.warmup_epochs > 0:
        shape *= min(1.0, (epoch + (step + 1) / steps) / settings.warmup_epochs)
    return shape


def describe_length(
    settings: ScheduleSettings, lr: float, before: int, epochs: int, epoch: int, steps: int
) -> str:
    """Line that says how the learning rate goes on when the length of a run changes.

    The schedule is always that of a run that was planned with the new length: shapes that end with
    the run (poly, cosine, one_cycle) are stretched over all epochs, so the rate increases where the
    run had already come to its end.

    Args:
        settings: Shape of the schedule.
        lr: Learning rate before the factor of the schedule.
        before: Planned number of epochs so far.
        epochs: New number of epochs.
        epoch: Finished epochs.
        steps: Optimizer steps per epoch.

    Example:
        >>> settings = ScheduleSettings(name="poly", power=1.0)
        >>> print(describe_length(settings, 1.0, before=4, epochs=8, epoch=4, steps=10))
        Training 8 epochs instead of 4. The schedule poly now spans 8 epochs.
          lr at the start of epoch 4 (of 4): 0.25, of epoch 5: 0.5, of epoch 8: 0.125
    """
    what = f"Training {epochs} epochs" + (f" instead of {before}" if before != epochs else "")
    if epoch >= epochs:
        return f"{what}: all of them are trained."

    def rate(length: int, index: int) -> float:
        return lr * learning_rate_factor(settings, length, index, 0, steps)

    last = f"epoch {epoch} (of {before}): {rate(before, epoch - 1):.3g}, of " if epoch else ""
    first = f"epoch {epoch + 1}: {rate(epochs, epoch):.3g}"
    more = f", of epoch {epochs}: {rate(epochs, epochs - 1):.3g}" if epochs > epoch + 1 else ""
    return (
        f"{what}. The schedule {settings.name} now spans {epochs} epochs.\n"
        f"  lr at the start of {last}{first}{more}"
    )


def _half_cosine(position: float) -> float:
    return (1 + math.cos(math.pi * position)) / 2


def _one_cycle(settings: ScheduleSettings, step: int, steps: int) -> float:
    """Factor of step ``step`` of ``steps``; the last step of both halves is exact."""
    top = settings.peak * steps - 1
    if step <= top:
        low, position = settings.start_factor, 1 - step / top if top else 0.0
    else:
        low, position = settings.end_factor, (step - top) / max(steps - 1 - top, 1e-9)
    return low + (1 - low) * _half_cosine(min(position, 1.0))


def _cycle_position(epoch: float, period: float, factor: float) -> float:
    """How far into its cycle an epoch is, in [0, 1)."""
    while epoch >= period:
        epoch -= period
        period *= factor
    return epoch / period
