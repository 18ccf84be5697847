"""Optimizers by name, with the backbone's learning rate apart."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from taskprism.backbones.base import Backbone
from taskprism.recipes.schema import OptimizerSettings

_BASE_LR = "base_lr"


#: Parameters and a factor on their learning rate.
RateFactor = tuple[Iterable[nn.Parameter], float]


def parameter_groups(
    model: nn.Module, settings: OptimizerSettings, factors: Iterable[RateFactor] = ()
) -> list[dict[str, Any]]:
    """Trainable parameters by learning rate: those of backbones first, the rest last.

    Weight decay applies to all of them, normalization and biases included, as in the training code
    of PAD-Net, MTI-Net and ASTMT.

    Args:
        model: Whose parameters.
        settings: Of the optimizer.
        factors: Parameters with another learning rate than the others of backbone or rest.
    """
    in_backbone = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, Backbone)
        for parameter in module.parameters()
    }
    factor_of = {id(p): factor for parameters, factor in factors for p in parameters}
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


def set_learning_rate(optimizer: torch.optim.Optimizer, factor: float) -> float:
    """Scale every group's own rate by ``factor`` and return that of the last group (the heads)."""
    for group in optimizer.param_groups:
        group["lr"] = group[_BASE_LR] * factor
    return optimizer.param_groups[-1]["lr"]
