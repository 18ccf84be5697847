"""Layouts of the repository that came with CTAL (Sinodinos and Armanfard), once named EMA-Net."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from taskprism.errors import InputError
from taskprism.interop.shared_layouts import (
    BACKBONE,
    BOTTLENECK_HEADS,
    FUSED_BACKBONE,
    INITIAL_HEADS,
    MTI_NET,
    PAD_NET,
    find_backbone,
    find_fused_backbone,
    find_trunk,
    front_end_at_scales,
    front_end_options,
    heads,
    multi_task,
    prefixes,
    trunk_options,
)
from taskprism.interop.source import Checkpoint, Layout, Rule, Source, register_source

#: Positions of the finest map -> image size of the data set with that many (NYU, Cityscapes).
_SIZES = {72 * 96: (288, 384), 32 * 64: (128, 256)}
_STRIDE = 4


def _several(tensors: Mapping[str, Tensor]) -> str:
    found = prefixes(tensors, "backbones")
    return find_trunk(tensors, found[0] if found else "backbones.")


def _several_options(checkpoint: Checkpoint) -> dict[str, Any]:
    found = prefixes(checkpoint.tensors, "backbones")
    return trunk_options(checkpoint.tensors, found[0] if found else "backbones.")


def _pap_net_options(checkpoint: Checkpoint) -> dict[str, Any]:
    return {
        **trunk_options(checkpoint.tensors, "backbone.0."),
        "distillation_options": {"beta": 0.05, "iterations": 1, "normalize": "positions"},
    }


def _ctal_options(checkpoint: Checkpoint) -> dict[str, Any]:
    return {
        **trunk_options(checkpoint.tensors, "backbone.0."),
        **_attention(checkpoint, "affinity_learning_module.spatial_att.fusion.weight"),
    }


def _ctal_multiscale_options(checkpoint: Checkpoint) -> dict[str, Any]:
    return {
        **front_end_options(checkpoint),
        **_attention(checkpoint, "ctal.spatial_att.task_fusion.weight"),
    }


def _attention(checkpoint: Checkpoint, kernel: str) -> dict[str, Any]:
    """Options of CTAL, whose kernel has weights for each position of the finest map."""
    weight = checkpoint.tensors.get(kernel)
    if weight is None:
        return {"size": checkpoint.size}
    positions = weight.shape[0]
    size = checkpoint.size or _SIZES.get(positions)
    if size is None:
        raise InputError(
            f"This network was trained at one image size, with {positions} positions at a quarter "
            "of it. Several sizes have that many; give yours as size=(height, width)."
        )
    if (size[0] // _STRIDE) * (size[1] // _STRIDE) != positions:
        raise InputError(
            f"size={tuple(size)} has {size[0] // _STRIDE} x {size[1] // _STRIDE} positions at a "
            f"quarter, but this network was trained with {positions}; give the image size of its "
            "training."
        )
    options = {"shared_kernel": True, "kernel_size": weight.shape[-1], "gamma": 0.05}
    return {"size": list(size), "distillation_options": options}


def _ctal_rules(theirs: str, fusion: str) -> tuple[Rule, ...]:
    return (
        (theirs + ".conv_in.{task}.{rest}", "distillation.project.{task}.{rest}"),
        (
            theirs + ".spatial_att.projection.{task}.{rest}",
            "distillation.distillation.values.{task}.{rest}",
        ),
        (f"{theirs}.spatial_att.{fusion}.weight", "distillation.distillation.kernel"),
        (f"{theirs}.spatial_att.{fusion}.bias", "distillation.distillation.kernel_bias"),
        (theirs + ".conv_out.{task}.{rest}", "distillation.upsample.{task}.{rest}"),
    )


SINGLE_TASK = Layout(
    "single_task",
    (("backbones.{task}.{rest}", "backbones.{task}.model.{rest}"), *heads("heads.{task}")),
    _several,
    _several_options,
)

PAP_NET = Layout(
    "pap_net",
    (
        *FUSED_BACKBONE,
        *INITIAL_HEADS,
        ("affinity_learning_module.conv.{task}.{rest}", "distillation.project.{task}.{rest}"),
        ("diffusion_module.weights.{task}", "distillation.distillation.mixing[{task}]"),
        *BOTTLENECK_HEADS,
    ),
    find_fused_backbone,
    _pap_net_options,
)

CTAL = Layout(
    "ctal",
    (
        *FUSED_BACKBONE,
        *INITIAL_HEADS,
        *_ctal_rules("affinity_learning_module", "fusion"),
        *BOTTLENECK_HEADS,
    ),
    find_fused_backbone,
    _ctal_options,
)

CTAL_MULTISCALE = Layout(
    "ctal_multiscale",
    (
        BACKBONE,
        *front_end_at_scales(),
        ("scale_fusion.{task}.last_layer.{rest}", "fusions.{task}.mix.{rest}"),
        *_ctal_rules("ctal", "task_fusion"),
        *BOTTLENECK_HEADS,
    ),
    find_backbone,
    _ctal_multiscale_options,
)


@register_source
class EMANet(Source):
    """Repository of CTAL (Sinodinos and Armanfard), once named EMA-Net."""

    name = "ema_net"
    repository = "https://github.com/Armanfard-Lab/EMA-Net"
    tasks: ClassVar[Mapping[str, str]] = {
        "semseg": "semseg",
        "depth": "depth",
        "normals": "normals",
    }
    layouts = (
        SINGLE_TASK,
        multi_task("heads"),
        PAD_NET,
        PAP_NET,
        MTI_NET,
        CTAL,
        CTAL_MULTISCALE,
    )
    image_mean = (0.0, 0.0, 0.0)
    image_std = (1.0, 1.0, 1.0)
    dropped = (("criterion.{rest}", "weights of the losses"),)
