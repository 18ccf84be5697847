"""Rules and layouts that several repositories share, and how a backbone is recognized."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from taskprism.backbones import HRNet, TimmFeatures
from taskprism.errors import CheckpointError
from taskprism.interop.source import Checkpoint, Layout, Rule

#: HRNets with the channels of their finest branch.
HRNETS = {
    "hrnet_w18_small_v2": 18,
    "hrnet_w18": 18,
    "hrnet_w18_small": 16,
    "hrnet_w30": 30,
    "hrnet_w32": 32,
    "hrnet_w40": 40,
    "hrnet_w44": 44,
    "hrnet_w48": 48,
    "hrnet_w64": 64,
}
RESNETS = ("resnet18", "resnet50", "resnet34", "resnet101", "resnet152")
_FINEST_BRANCH = "transition1.0.0.weight"
_ONLY_IN_RESNETS = "layer4."  # later stages of an HRNet have other names

_Shapes = dict[str, tuple[int, ...]]

BACKBONE: Rule = ("backbone.{rest}", "backbone.model.{rest}")

#: An HRNet and the fusion of its branches.
FUSED_BACKBONE: tuple[Rule, ...] = (
    ("backbone.0.{rest}", "backbone.model.{rest}"),
    ("backbone.1.last_layer.{rest}", "fusion.mix.{rest}"),
)

#: Initial heads of PAD-Net and of the systems with its front end.
INITIAL_HEADS: tuple[Rule, ...] = (
    ("initial_task_prediction_heads.layers.{task}.{rest}", "initial_heads.{task}.refine.{rest}"),
    ("initial_task_prediction_heads.conv_out.{task}.{rest}", "initial_heads.{task}.predict.{rest}"),
)

#: Final heads of two bottlenecks and a convolution.
BOTTLENECK_HEADS: tuple[Rule, ...] = (("heads.{task}.{rest}", "heads.{task}.{rest}"),)


def find_trunk(tensors: Mapping[str, Tensor], prefix: str) -> str:
    """Name of the HRNet or ResNet whose tensors start with ``prefix``.

    Raises:
        CheckpointError: It is neither.
    """
    shapes = {
        name.removeprefix(prefix): tuple(tensor.shape)
        for name, tensor in tensors.items()
        if name.startswith(prefix) and not _is_counter(name)
    }
    width = shapes.get(_FINEST_BRANCH, (0,))[0]
    hrnets = [name for name, own in HRNETS.items() if own == width]
    for name in RESNETS if is_resnet(tensors, prefix) else hrnets:
        if _shapes_of(name) == shapes:
            return name
    raise CheckpointError(
        f"The backbone in this file ({len(shapes)} tensors under {prefix!r}) is none of "
        f"{', '.join((*HRNETS, *RESNETS))}. Check `source` and `model`."
    )


def is_resnet(tensors: Mapping[str, Tensor], prefix: str) -> bool:
    """Whether the tensors that start with ``prefix`` are those of a ResNet."""
    return any(name.startswith(prefix + _ONLY_IN_RESNETS) for name in tensors)


def prefixes(tensors: Mapping[str, Tensor], start: str) -> Sequence[str]:
    """``START.NAME.`` for each NAME that follows ``START.`` in names of tensors.

    Example:
        >>> import torch
        >>> from taskprism.interop.shared_layouts import prefixes
        >>> tensors = {"heads.depth.weight": torch.ones(1), "heads.edge.weight": torch.ones(1)}
        >>> prefixes(tensors, "heads")
        ['heads.depth.', 'heads.edge.']
    """
    names = [name.split(".")[1] for name in tensors if name.startswith(f"{start}.")]
    return [f"{start}.{name}." for name in dict.fromkeys(names)]


@lru_cache
def _shapes_of(name: str) -> _Shapes:
    with torch.device("meta"):
        trunk = TimmFeatures(name) if name in RESNETS else HRNet(name)
    state = trunk.model.state_dict()
    return {key: tuple(tensor.shape) for key, tensor in state.items() if not _is_counter(key)}


def _is_counter(name: str) -> bool:
    return name.endswith("num_batches_tracked")


def heads(theirs: str, ours: str = "heads.{task}") -> tuple[Rule, ...]:
    """A head on the branches of an HRNet, or of DeepLab, whose names start with ``theirs``."""
    return (
        (theirs + ".last_layer.3.{rest}", ours + ".predict.{rest}"),
        (theirs + ".last_layer.{rest}", ours + ".aggregation.mix.{rest}"),
        (theirs + ".{layer}.{rest}", ours + ".layers.{layer}.{rest}"),
    )


def front_end_at_scales() -> tuple[Rule, ...]:
    """Initial heads at four scales, and the propagation from each to the next finer one."""
    rules: list[Rule] = [
        (
            "scale_{scale}.refinement.{task}.{rest}",
            "front_end.heads.{scale}.{task}.refine.{rest}",
        ),
        (
            "scale_{scale}.decoders.{task}.{rest}",
            "front_end.heads.{scale}.{task}.predict.{rest}",
        ),
    ]
    for scale in (1, 2, 3):
        theirs, ours = f"fpm_scale_{scale}", f"front_end.propagation.{scale - 1}"
        rules += [
            (theirs + ".non_linear.{rest}", ours + ".gate.{rest}"),
            (theirs + ".dimensionality_reduction.{rest}", ours + ".reduce.{rest}"),
            (theirs + ".se.{task}.squeeze.0.{rest}", ours + ".excite.{task}.fc1.{rest}"),
            (theirs + ".se.{task}.squeeze.2.{rest}", ours + ".excite.{task}.fc2.{rest}"),
        ]
    return tuple(rules)


find_backbone = partial(find_trunk, prefix="backbone.")
find_fused_backbone = partial(find_trunk, prefix="backbone.0.")


def trunk_options(tensors: Mapping[str, Tensor], prefix: str = "backbone.") -> dict[str, Any]:
    """Options of a dilated ResNet with DeepLab heads, or of an HRNet with bilinear fusion."""
    if is_resnet(tensors, prefix):
        return {"neck": "none", "head": "deeplab", "output_stride": 8}
    return {"hrnet_upsampling": "bilinear", "batch_norm_momentum": 0.01}


def front_end_options(checkpoint: Checkpoint, prefix: str = "backbone.") -> dict[str, Any]:
    """Options of the feature propagation as released."""
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
    """The multi-task baseline; names of its heads start with ``theirs``."""
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
