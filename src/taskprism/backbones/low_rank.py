"""Adapt a frozen transformer by low-rank updates, and merge them for inference."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Literal

from pydantic import Field
from torch import nn

from taskprism.errors import InputError
from taskprism.layers.low_rank import LowRankLinear, Rank

#: Names of the linear layers of timm's transformers that are adapted.
ADAPTED = ("qkv", "proj", "fc1", "fc2")
_MERGING = "reduction"
#: Parts of names of parameters that stay trainable beside the updates.
_TRAINED = ("norm", "patch_embed", "relative_position_bias_table", "pos_embed", "cls_token")

LowRankVariant = Literal["mtlora", "mtlora+"]
Scale = Annotated[float, Field(gt=0, le=1000)]
Dropout = Annotated[float, Field(ge=0, lt=1)]


def adapt(
    module: nn.Module,
    rank: Rank,
    scale: Scale = 4.0,
    dropout: Dropout = 0.05,
    variant: LowRankVariant = "mtlora",
) -> int:
    """Replace the linear layers of a transformer by frozen ones with low-rank updates, in place.

    Adapted are the layers qkv, proj, fc1 and fc2 of every block, and with ``variant="mtlora+"`` the
    reduction of Swin's patch merging. Trainable afterwards: the updates, the patch embedding,
    norms, position embeddings and tables; the reduction too, if it is not adapted (Agiza et al.,
    "MTLoRA", CVPR 2024).

    Args:
        module: A ViT or Swin of timm, or a backbone that holds one.
        rank: Rank of the updates.
        scale: Factor of the updates.
        dropout: Dropout on the input of the updates.
        variant: What is adapted.

    Returns:
        Number of adapted layers.

    Raises:
        InputError: There is no such layer.

    Example:
        >>> from taskprism.backbones import create_backbone
        >>> from taskprism.backbones.low_rank import adapt
        >>> adapt(create_backbone("test_vit", neck="none", taps="even"), rank=4)
        24
    """
    names = (*ADAPTED, _MERGING) if variant == "mtlora+" else ADAPTED
    found = [
        (parent, name, layer)
        for parent in module.modules()
        for name, layer in parent.named_children()
        if name in names and isinstance(layer, nn.Linear)
    ]
    if not found:
        raise InputError(
            f"{type(module).__name__} has no linear layers named {', '.join(names)}, so it cannot "
            "be adapted by low-rank updates; choose a ViT or a Swin."
        )
    freeze(module, variant)
    for parent, name, layer in found:
        setattr(parent, name, LowRankLinear(layer, rank, scale, dropout))
    return len(found)


def freeze(module: nn.Module, variant: LowRankVariant = "mtlora") -> None:
    """Freeze all parameters but those that MTLoRA trains beside its updates.

    Example:
        >>> from torch import nn
        >>> from taskprism.backbones.low_rank import freeze
        >>> block = nn.ModuleDict({"norm": nn.LayerNorm(4), "fc1": nn.Linear(4, 4)})
        >>> freeze(block)
        >>> [name for name, p in block.named_parameters() if p.requires_grad]
        ['norm.weight', 'norm.bias']
    """
    trained = _TRAINED if variant == "mtlora+" else (*_TRAINED, _MERGING)
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(any(part in name for part in trained))


def merge(module: nn.Module) -> int:
    """Replace adapted layers by plain ones that compute the same, in place.

    Returns:
        Number of merged layers.

    Raises:
        InputError: A layer has updates per task. Nothing is changed then.

    Example:
        >>> from taskprism.backbones import create_backbone
        >>> from taskprism.backbones.low_rank import adapt, merge
        >>> backbone = create_backbone("test_vit", neck="none", taps="even")
        >>> adapt(backbone, rank=4), merge(backbone)
        (24, 24)
    """
    found = [
        (parent, name, layer)
        for parent in module.modules()
        for name, layer in parent.named_children()
        if isinstance(layer, LowRankLinear)
    ]
    merged = [layer.merged() for _, _, layer in found]
    for (parent, name, _), plain in zip(found, merged, strict=True):
        setattr(parent, name, plain)
    return len(merged)


def trainable_report(module: nn.Module) -> dict[str, int]:
    """Trainable parameters by group: ``updates``, ``decoders``, ``rest``, and the ``total``.

    ``rest`` is what the backbone trains beside the updates; ``decoders`` all other parts.

    Example:
        >>> from taskprism import create_model
        >>> from taskprism.backbones.low_rank import trainable_report
        >>> options = {"backbone": "test_vit", "neck_channels": 8, "low_rank": {"rank": 4}}
        >>> trainable_report(create_model("multi_task", ["depth"], **options))["updates"]
        21504
    """
    updates = {
        id(parameter)
        for layer in module.modules()
        if isinstance(layer, LowRankLinear)
        for part in (layer.shared, layer.tasks, layer.norm)
        if part is not None
        for parameter in part.parameters()
    }
    groups: Counter[str] = Counter(updates=0, decoders=0, rest=0)
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            own = "rest" if name.startswith("backbone.") else "decoders"
            groups["updates" if id(parameter) in updates else own] += parameter.numel()
    return {**groups, "total": sum(groups.values())}
