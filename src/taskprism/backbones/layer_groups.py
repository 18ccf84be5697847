"""The layers of a backbone in order, to train only the last ones or each at its own rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import groupby
from typing import Any

import timm
import torch
from timm.models import group_parameters
from torch import nn

from taskprism.backbones.weights import plain_name

#: Names of parameters of each group, from the image to the output.
LayerGroups = list[list[str]]


def groups_of_children(module: nn.Module, coarse: bool) -> LayerGroups:
    """Groups of any network, from the order in which its layers are defined.

    Layers before the first ``nn.Sequential`` or ``nn.ModuleList`` are one group, and those after
    it belong to the group before them. Each of several such containers is a group (a stage), or if
    not ``coarse``, each of its blocks is one. The blocks of a single container are groups always.

    Example:
        >>> from torch import nn
        >>> from taskprism.backbones.layer_groups import groups_of_children
        >>> net = nn.Module()
        >>> net.stem = nn.Conv2d(3, 4, 1, bias=False)
        >>> net.stages = nn.ModuleList([nn.Conv2d(4, 4, 1, bias=False) for _ in range(2)])
        >>> groups_of_children(net, coarse=True)
        [['stem.weight'], ['stages.0.weight'], ['stages.1.weight']]
    """
    prefix, holder = "", module
    while not list(holder.parameters(recurse=False)):
        inner = [(n, child) for n, child in holder.named_children() if list(child.parameters())]
        if len(inner) != 1 or isinstance(inner[0][1], nn.Sequential | nn.ModuleList):
            break
        prefix, holder = f"{prefix}{inner[0][0]}.", inner[0][1]
    containers = [n for n, child in holder.named_children() if _is_container(child)]
    split = not coarse or len(containers) == 1
    places: dict[str, tuple[int, ...]] = {}
    last: tuple[int, ...] = (0,)
    own = {name for name, _ in holder.named_parameters(recurse=False)}
    for name, _ in holder.named_parameters():
        child, *rest = name.split(".")
        if name in own:
            places[name] = (0,)
        elif child in containers:
            number = containers.index(child) + 1
            last = (number, int(rest[0])) if split else (number,)
            places[name] = last
        else:
            places[name] = last
    return [
        [f"{prefix}{name}" for name in names]
        for _, names in groupby(sorted(places, key=places.__getitem__), places.__getitem__)
    ]


def _is_container(module: nn.Module) -> bool:
    """Whether a module is a list of blocks; a convolution with its norm is a single layer."""
    if not isinstance(module, nn.Sequential | nn.ModuleList):
        return False
    blocks = [each for each in module if list(each.parameters())]
    is_list = isinstance(module, nn.ModuleList)
    return bool(blocks) and (is_list or all(list(each.children()) for each in blocks))


def timm_groups(module: nn.Module, name: str, coarse: bool) -> LayerGroups | None:
    """Groups of a network that timm created, as timm defines them for fine-tuning.

    Args:
        module: The network, whole or as an extractor of features.
        name: Its timm name.
        coarse: Stages of networks that have some, instead of blocks. A plain transformer has only
            blocks.

    Returns:
        None if timm defines no groups for it.

    Example:
        >>> from taskprism.backbones import create_backbone
        >>> from taskprism.backbones.layer_groups import timm_groups
        >>> trunk = create_backbone("test_resnet", neck="none")
        >>> groups = timm_groups(trunk.model, "test_resnet", coarse=True)
        >>> [names[0].split(".")[0] for names in groups]
        ['conv1', 'layer1', 'layer2', 'layer3', 'layer4']
    """
    numbers = _timm_numbers(name.split(".")[0], coarse)
    if numbers is None:
        return None
    names = [name for name, _ in module.named_parameters()]
    found = {name: _number(plain_name(name), numbers) for name in names}
    known = sorted({number for number in found.values() if number is not None})
    if not known:
        return None
    # What an extractor adds comes after the layers of the network.
    order = {name: known[-1] if number is None else number for name, number in found.items()}
    return [[name for name in names if order[name] == number] for number in known]


def _number(name: str, numbers: Mapping[str, int]) -> int | None:
    """Group of a parameter; those inside a replaced layer (low-rank updates) have that of it."""
    if name in numbers:
        return numbers[name]
    path = name
    while "_" in path:
        path = path.rpartition("_")[0]
        inside = (number for each, number in numbers.items() if each.startswith(f"{path}_"))
        number = next(inside, None)
        if number is not None:
            return number
    return None


@lru_cache(maxsize=32)
def _timm_numbers(architecture: str, coarse: bool) -> Mapping[str, int] | None:
    """Plain name of a parameter -> number of its group."""
    with torch.device("meta"):
        model: Any = timm.create_model(architecture)
    if not hasattr(model, "group_matcher"):
        return None
    matcher = model.group_matcher(coarse=coarse)
    numbers: Any = group_parameters(model, matcher, reverse=True)
    return {plain_name(name): int(number) for name, number in numbers.items()}


def layer_factors(groups: Sequence[Sequence[str]], decay: float) -> dict[str, float]:
    """Name of a parameter -> factor of its learning rate: ``decay ** (groups - index)``.

    The last group has ``decay``, the one before it ``decay ** 2`` and so on; what follows the
    backbone has 1. (Clark et al., "ELECTRA", 2020; Bao et al., "BEiT", 2022.)

    Example:
        >>> from taskprism.backbones.layer_groups import layer_factors
        >>> layer_factors([["stem"], ["block"]], decay=0.5)
        {'stem': 0.25, 'block': 0.5}
    """
    return {
        name: decay ** (len(groups) - index) for index, names in enumerate(groups) for name in names
    }
