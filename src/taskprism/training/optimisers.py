"""Optimisers by name, with the backbone's learning rate apart."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from taskprism.backbones.base import Backbone
from taskprism.training.recipe import OptimiserSettings

_BASE_LR = "base_lr"


def parameter_groups(model: nn.Module, settings: OptimiserSettings) -> list[dict[str, Any]]:
    """Trainable parameters in two groups: those of backbones, and the rest.

    Weight decay applies to all of them, normalisation and biases included, as in the training code
    of PAD-Net and MTI-Net.
    """
    in_backbone = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, Backbone)
        for parameter in module.parameters()
    }
    backbone: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for parameter in model.parameters():
        if parameter.requires_grad:
            (backbone if id(parameter) in in_backbone else rest).append(parameter)
    rates = [(backbone, settings.lr * settings.backbone_lr_factor), (rest, settings.lr)]
    return [{"params": p, "lr": lr, _BASE_LR: lr} for p, lr in rates if p]


def create_optimiser(model: nn.Module, settings: OptimiserSettings) -> torch.optim.Optimizer:
    """Optimiser over all trainable parameters of ``model``."""
    groups = parameter_groups(model, settings)
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


def set_learning_rate(optimiser: torch.optim.Optimizer, factor: float) -> float:
    """Scale every group's own rate by ``factor`` and return that of the last group (the heads)."""
    for group in optimiser.param_groups:
        group["lr"] = group[_BASE_LR] * factor
    return optimiser.param_groups[-1]["lr"]
