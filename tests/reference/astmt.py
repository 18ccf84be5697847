"""ASTMT's forward pass for one task, as functions of the tensors in the released checkpoints.

``state`` contains tensors under the names in those checkpoints. In the name of a layer that belongs
to one task, the name of the task precedes the last parts.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

State = dict[str, Tensor]
RESNET_BLOCKS = {26: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
MOBILENET_BLOCKS = [  # stride and dilation of each block, at output stride 16
    *[(1, 1)],
    *[(2, 1), (1, 1)],
    *[(2, 1), (1, 1), (1, 1)],
    *[(2, 1), (1, 1), (1, 1), (1, 1)],
    *[(1, 1), (1, 1), (1, 1)],
    *[(1, 2), (1, 2), (1, 2)],
    *[(1, 2)],
]


def own(state: State, layer: str, task: str) -> str:
    """Name of the tensors of a layer: those of the task, or the shared ones."""
    return f"{layer}.{task}" if any(key.startswith(f"{layer}.{task}.") for key in state) else layer


def norm(state: State, layer: str, task: str, x: Tensor) -> Tensor:
    name = own(state, layer, task)
    mean, variance = state[f"{name}.running_mean"], state[f"{name}.running_var"]
    scale = state[f"{name}.weight"] / torch.sqrt(variance + 1e-5)
    shift = state[f"{name}.bias"] - mean * scale
    return x * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)


def squeeze(state: State, layer: str, task: str, x: Tensor, most: float) -> Tensor:
    name = own(state, f"{layer}.fc", task)
    hidden = x.mean(dim=(2, 3)) @ state[f"{name}.0.weight"].T + state[f"{name}.0.bias"]
    hidden = hidden.clamp(min=0, max=most)
    gate = hidden @ state[f"{name}.2.weight"].T + state[f"{name}.2.bias"]
    return x / (1 + torch.exp(-gate))[:, :, None, None]


def adapt(state: State, layer: str, task: str, x: Tensor) -> Tensor | float:
    key = f"{layer}.adapt.{task}.weight"
    return F.conv2d(x, state[key]) if key in state else 0.0


def resnet_encoder(state: State, task: str, images: Tensor, depth: int) -> tuple[Tensor, Tensor]:
    x = F.conv2d(images, state["conv1.weight"], stride=2, padding=3)
    x = F.max_pool2d(norm(state, "bn1", task, x).relu(), 3, 2, 1)
    low = x
    for layer, (blocks, stride, dilation) in enumerate(
        zip(RESNET_BLOCKS[depth], (1, 2, 2, 1), (1, 1, 1, 2), strict=True), start=1
    ):
        for index in range(blocks):
            name, step = f"layer{layer}.{index}", stride if index == 0 else 1
            y = F.conv2d(x, state[f"{name}.conv1.weight"], stride=step)
            y = norm(state, f"{name}.bn1", task, y).relu()
            y = F.conv2d(
                y, state[f"{name}.conv2.weight"], padding=dilation, dilation=dilation
            ) + adapt(state, name, task, y)
            y = norm(state, f"{name}.bn2", task, y).relu()
            y = norm(state, f"{name}.bn3", task, F.conv2d(y, state[f"{name}.conv3.weight"]))
            y = squeeze(state, f"{name}.se", task, y, most=torch.inf)
            if index == 0:
                x = F.conv2d(x, state[f"{name}.downsample.process.weight"], stride=step)
                x = norm(state, f"{name}.downsample.norm", task, x)
            x = (x + y).relu()
        low = x if layer == 1 else low
    return low, x


def mobilenet_encoder(state: State, task: str, images: Tensor) -> tuple[Tensor, Tensor]:
    x = F.conv2d(images, state["features.0.conv.0.weight"], stride=2, padding=1)
    low = x = norm(state, "features.0.conv.1", task, x).clamp(0, 6)
    for number, (stride, dilation) in enumerate(MOBILENET_BLOCKS, start=1):
        name = f"features.{number}"
        y, convolution = x, 1
        if f"{name}.conv.conv3.weight" in state:
            y = F.conv2d(x, state[f"{name}.conv.conv1.weight"])
            y = norm(state, f"{name}.conv.bn1", task, y).clamp(0, 6)
            convolution = 2
        weight = state[f"{name}.conv.conv{convolution}.weight"]
        y = F.conv2d(
            y, weight, stride=stride, padding=dilation, dilation=dilation, groups=y.shape[1]
        )
        y = norm(state, f"{name}.conv.bn{convolution}", task, y).clamp(0, 6)
        convolution += 1
        y = F.conv2d(y, state[f"{name}.conv.conv{convolution}.weight"])
        y = norm(state, f"{name}.conv.bn{convolution}", task, y)
        y = squeeze(state, f"{name}.se", task, y, most=6.0)
        x = x + y if x.shape == y.shape and stride == 1 else y
        low = x if number == 3 else low
    return low, x


def decoder(
    state: State, task: str, low: Tensor, high: Tensor, size: tuple[int, int], mobile: bool
) -> Tensor:
    """Raw output at ``size``."""
    most = 6.0 if mobile else torch.inf

    def unit(layer: str, x: Tensor, dilation: int = 1, place: int = 0) -> Tensor:
        layer = f"decoder.{layer}"
        weight = state[f"{layer}.process.{place}.weight"]
        y = F.conv2d(
            x,
            weight,
            padding=dilation * (weight.shape[-1] // 2),
            dilation=dilation,
            groups=x.shape[1] // weight.shape[1],
        ) + adapt(state, layer, task, x)
        y = norm(state, f"{layer}.norm", task, y).clamp(0, most)
        has_squeeze = any(key.startswith(f"{layer}.se.") for key in state)
        return squeeze(state, f"{layer}.se", task, y, most) if has_squeeze else y

    seen = [unit("layer5.conv2d_list.0", high)]
    seen += [unit(f"layer5.conv2d_list.{i}", high, 6 * i) for i in (1, 2, 3)]
    pooled = unit("layer5.conv2d_list.4", high.mean(dim=(2, 3), keepdim=True), place=1)
    seen.append(pooled.expand(-1, -1, *high.shape[-2:]))
    x = unit("layer5.conv2d_final", torch.cat(seen, dim=1))
    x = F.interpolate(x, size=low.shape[-2:], mode="bilinear", align_corners=False)
    reduced = unit("low_level_reduce", low)
    x = torch.cat([reduced, x] if mobile else [x, reduced], dim=1)
    x = unit("conv_process", unit("conv_concat", x))
    x = F.conv2d(
        x,
        state[f"decoder.conv_predict.{task}.weight"],
        state[f"decoder.conv_predict.{task}.bias"],
    )
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)
