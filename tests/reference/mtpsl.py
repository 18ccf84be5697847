"""The loss of one task pair of MTPSL in plain loops over positions, from its published description.

Batch norm is spelled out for one image, convolutions are sums over shifted maps.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

CONVOLUTIONS = (2, 2, 3, 3, 3)
#: (our prefix, published prefix) of each layer.
LAYERS = [
    (f"scales.{scale}.{layer}.", f"{published}.")
    for scale, count in enumerate(CONVOLUTIONS)
    for layer, published in enumerate(
        [f"encoder_block.{scale}"]
        + (
            [f"conv_block_enc.{scale}"]
            if count == 2
            else [f"conv_block_enc.{scale}.{i}" for i in range(count - 1)]
        )
    )
]


def published_name(key: str, tasks: list[str]) -> str:
    """Name of a parameter of the mapping network in the published list of keys."""
    if key.startswith("inputs."):
        _, task, layer, kind = key.split(".")
        return f"mapfns.pred_encoder_source.{tasks.index(task)}.{layer}.{kind}"
    for prefix, published in LAYERS:
        if key.startswith(prefix):
            return "mapfns." + published + key.removeprefix(prefix).replace("norm.", "bn.")
    return key


def convolution(maps: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """3x3 convolution of ``(C, H, W)`` with a border of zeros."""
    channels, height, width = maps.shape
    padded = torch.zeros(channels, height + 2, width + 2, dtype=maps.dtype)
    padded[:, 1:-1, 1:-1] = maps
    result = bias[:, None, None].expand(len(weight), height, width).clone()
    for y in range(3):
        for x in range(3):
            part = padded[:, y : y + height, x : x + width]
            result += torch.einsum("oc,chw->ohw", weight[:, :, y, x], part)
    return result


def normalized(maps: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Batch norm in training over the positions of one image ``(C, H, W)``."""
    result = torch.empty_like(maps)
    for channel, values in enumerate(maps):
        mean = values.sum() / values.numel()
        variance = ((values - mean) ** 2).sum() / values.numel()
        result[channel] = (values - mean) / math.sqrt(variance + 1e-5)
        result[channel] = result[channel] * weight[channel] + bias[channel]
    return result


def pooled(maps: Tensor) -> Tensor:
    """Maximum of 2 x 2 positions."""
    height, width = maps.shape[1] // 2 * 2, maps.shape[2] // 2 * 2
    parts = [maps[:, y:height:2, x:width:2] for y in range(2) for x in range(2)]
    return torch.stack(parts).amax(dim=0)


def mapped(maps: Tensor, task: str, pair: int, state: dict[str, Tensor]) -> Tensor:
    """Features of a prediction or label ``(C, H, W)`` of a task, by the network's parameters."""
    at = f"inputs.{task}."
    maps = convolution(maps, state[f"{at}0.weight"], state[f"{at}0.bias"])
    maps = normalized(maps, state[f"{at}1.weight"], state[f"{at}1.bias"]).clamp(min=0)
    for scale, count in enumerate(CONVOLUTIONS):
        for layer in range(count):
            at = f"scales.{scale}.{layer}."
            maps = convolution(maps, state[f"{at}conv.weight"], state[f"{at}conv.bias"])
            maps = normalized(maps, state[f"{at}norm.weight"], state[f"{at}norm.bias"])
            gamma, beta = state[f"{at}gamma"][:, pair], state[f"{at}beta"][:, pair]
            maps = (maps * gamma[:, None, None] + beta[:, None, None]).clamp(min=0)
        maps = pooled(maps)
    return maps


def distance(first: Tensor, second: Tensor) -> float:
    """One minus the cosine over channels, mean over the positions of ``(C, H, W)``."""
    total, count = 0.0, 0
    for y in range(first.shape[1]):
        for x in range(first.shape[2]):
            a, b = first[:, y, x], second[:, y, x]
            total += 1 - float(a @ b) / float(a.norm() * b.norm())
            count += 1
    return total / count


def pair_loss(source: Tensor, target: Tensor, features: Tensor, weight: float) -> float:
    """Loss of a pair from the three mapped features ``(C, h, w)``."""
    link = distance(source, target)
    return link + weight * (distance(source, features) + distance(target, features))
