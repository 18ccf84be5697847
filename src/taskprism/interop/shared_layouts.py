"""Layouts of PAD-Net and MTI-Net, the same in two repositories, and what they are made of."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import Tensor

from taskprism.interop.layout import Checkpoint, Layout
from taskprism.interop.shared_rules import (
    BACKBONE,
    BOTTLENECK_HEADS,
    FUSED_BACKBONE,
    INITIAL_HEADS,
    front_end_at_scales,
    heads,
)
from taskprism.interop.trunks import find_trunk, is_resnet

find_backbone = partial(find_trunk, prefix="backbone.")
find_fused_backbone = partial(find_trunk, prefix="backbone.0.")


def trunk_options(tensors: Mapping[str, Tensor], prefix: str = "backbone.") -> dict[str, Any]:
    """A dilated ResNet with DeepLab heads, or an HRNet with bilinear fusion."""
    if is_resnet(tensors, prefix):
        return {"neck": "none", "head": "deeplab", "output_stride": 8}
    return {"hrnet_upsampling": "bilinear", "batch_norm_momentum": 0.01}


def front_end_options(checkpoint: Checkpoint, prefix: str = "backbone.") -> dict[str, Any]:
    """Feature propagation as it was released."""
    gate = checkpoint.tensors.get("fpm_scale_1.non_linear.0.conv1.weight")
    reduction = 4 if gate is None else max(1, gate.shape[1] // gate.shape[0])
    return {
        **trunk_options(checkpoint.tensors, prefix),
        "fpm_reduction": reduction,
        "propagation_softmax": "channels",
    }


def _mti_net_options(checkpoint: Checkpoint) -> dict[str, Any]:
    return {
        **front_end_options(checkpoint),
        "propagation_order": list(checkpoint.tasks.values()),
    }


def multi_task(theirs: str) -> Layout:
    """The baseline, with heads filed under ``theirs``."""
    return Layout(
        "multi_task",
        (BACKBONE, *heads(theirs + ".{task}")),
        find_backbone,
        lambda checkpoint: trunk_options(checkpoint.tensors),
    )


PAD_NET = Layout(
    "pad_net",
    (
        *FUSED_BACKBONE,
        *INITIAL_HEADS,
        (
            "multi_modal_distillation.self_attention.{task}.{source}.attention.0.{rest}",
            "distillation.messages.{task}.{source}.attention.{rest}",
        ),
        (
            "multi_modal_distillation.self_attention.{task}.{source}.conv.{rest}",
            "distillation.messages.{task}.{source}.value.{rest}",
        ),
        *BOTTLENECK_HEADS,
    ),
    find_fused_backbone,
    lambda checkpoint: trunk_options(checkpoint.tensors, "backbone.0."),
)

MTI_NET = Layout(
    "mti_net",
    (
        BACKBONE,
        *front_end_at_scales(),
        (
            "distillation_scale_{scale}.self_attention.{task}.{source}.attention.0.{rest}",
            "distillations.{scale}.messages.{task}.{source}.attention.{rest}",
        ),
        (
            "distillation_scale_{scale}.self_attention.{task}.{source}.conv.{rest}",
            "distillations.{scale}.messages.{task}.{source}.value.{rest}",
        ),
        *heads("heads.{task}"),
    ),
    find_backbone,
    _mti_net_options,
)
