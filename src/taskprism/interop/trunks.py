"""Which backbone a checkpoint holds, by names and shapes of its tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from taskprism.backbones import HRNet, TimmFeatures
from taskprism.errors import CheckpointError

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
_ONLY_IN_RESNETS = "layer4."  # an HRNet's later stages are called otherwise

_Shapes = dict[str, tuple[int, ...]]


def find_trunk(tensors: Mapping[str, Tensor], prefix: str) -> str:
    """Name of the HRNet or ResNet whose tensors are filed under ``prefix``.

    Raises:
        CheckpointError: If it is neither.
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
    """Whether a ResNet is filed under ``prefix``."""
    return any(name.startswith(prefix + _ONLY_IN_RESNETS) for name in tensors)


def prefixes(tensors: Mapping[str, Tensor], start: str) -> Sequence[str]:
    """``START.NAME.`` for each name that follows ``START.`` in names of tensors."""
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
