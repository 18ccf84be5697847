"""Which part of a backbone is trained."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from taskprism.backbones.base import Backbone, Neck
from taskprism.backbones.layer_groups import layer_factors
from taskprism.errors import InputError


def trunks(model: nn.Module) -> dict[str, Backbone]:
    """Backbones of a model without their necks, by their path in the model.

    A backbone inside another one belongs to it. Models with one backbone per task have several.

    Example:
        >>> from taskprism import create_model
        >>> from taskprism.backbones import trunks
        >>> model = create_model("single_task", ["depth", "edge"], backbone="test_resnet")
        >>> list(trunks(model))
        ['backbones.depth.trunk', 'backbones.edge.trunk']
    """
    found: dict[str, Backbone] = {}
    for path, module in model.named_modules():
        is_inside = any(not outer or path.startswith(f"{outer}.") for outer in found)
        if isinstance(module, Backbone) and not isinstance(module, Neck) and not is_inside:
            found[path] = module
    return found


def set_trainable(model: nn.Module, part: str = "all", freeze_batch_norm: bool = False) -> None:
    """Choose which part of the backbones of a model is trained; see :meth:`Backbone.set_trainable`.

    Necks, distillation and heads are always trained.

    Args:
        model: A model with one or more backbones, or a backbone.
        part: ``all``, ``none``, ``norms``, ``last:N`` or ``adapters``.
        freeze_batch_norm: Keep the running statistics in trained layers too.

    Raises:
        InputError: ``part`` is something else, or the model has no such part or no backbone.

    Example:
        >>> from taskprism import create_model
        >>> from taskprism.backbones import set_trainable
        >>> model = create_model("multi_task", ["depth"], backbone="test_resnet", neck_channels=8)
        >>> set_trainable(model, "none")
        >>> sum(p.numel() for p in model.backbone.trunk.parameters() if p.requires_grad)
        0
    """
    found = trunks(model)
    if not found and (part != "all" or freeze_batch_norm):
        raise InputError(
            f"{type(model).__name__} has no module derived from taskprism.backbones.Backbone, so "
            f"no part of it can be chosen to be trained; set backbone.trainable to all."
        )
    for trunk in found.values():
        trunk.set_trainable(part, freeze_batch_norm)


def decayed_rates(model: nn.Module, decay: float) -> Iterator[tuple[list[nn.Parameter], float]]:
    """Parameters of each layer of the backbones, with the factor of their learning rate.

    Args:
        model: A model with one or more backbones.
        decay: Factor from each layer to the one before it, greater than 0 and at most 1.

    Example:
        >>> from taskprism.backbones import create_backbone
        >>> from taskprism.backbones.trainable import decayed_rates
        >>> backbone = create_backbone("test_resnet", neck="none")
        >>> [factor for _, factor in decayed_rates(backbone, 0.5)]
        [0.03125, 0.0625, 0.125, 0.25, 0.5]
    """
    for trunk in trunks(model).values():
        parameters = dict(trunk.named_parameters())
        groups = trunk.layer_groups(coarse=False)
        factors = layer_factors(groups, decay)
        for names in groups:
            yield [parameters[name] for name in names], factors[names[0]]
