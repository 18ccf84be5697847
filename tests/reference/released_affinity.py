"""Forward passes of the released PAP-Net and CTAL, as functions of tensors by released name."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from reference.released_layers import Released, upsample
from reference.released_networks import (
    Maps,
    Tasks,
    bottleneck_head,
    front_end,
    fuse,
    initial_heads,
)


def pap_net(
    p: Released, images: Tensor, tasks: Tasks, iterations: int = 1, beta: float = 0.05
) -> tuple[Maps, list[Maps]]:
    features, initial = initial_heads(p, images, tasks)
    narrow, affinities = {}, []
    for task in tasks:
        x = p.conv(f"affinity_learning_module.conv.{task}", features[task], 128, bias=True)
        narrow[task] = x
        flat = x.flatten(2).mT
        unit = flat / flat.norm(dim=1, keepdim=True)  # each channel, over positions
        affinity = unit @ unit.mT
        affinities.append(affinity / affinity.sum(dim=1, keepdim=True))  # columns sum to 1
    outputs = {}
    for task, out in tasks.items():
        weights = p.param(f"diffusion_module.weights.{task}", (len(tasks),), 0.3, 1.0)
        shares = weights.to(images).softmax(dim=0)
        mixture = sum(share * each for share, each in zip(shares, affinities, strict=True))
        start = state = narrow[task].flatten(2).mT
        for _ in range(iterations):
            state = beta * (mixture @ state) + (1 - beta) * start
        x = state.mT.reshape(narrow[task].shape)
        outputs[task] = upsample(bottleneck_head(p, f"heads.{task}", x, out), images.shape[-2:])
    return outputs, [initial]


def learn_affinities(
    p: Released, name: str, fusion: str, features: Maps, gamma: float = 0.05
) -> Maps:
    """CTAL with one kernel for all tasks, and the layers up to the final heads."""
    attention = f"{name}.spatial_att"
    narrow = {t: p.conv(f"{name}.conv_in.{t}", x, 128, bias=True) for t, x in features.items()}
    count = len(narrow)
    batch, channels, height, width = next(iter(narrow.values())).shape
    positions = height * width
    affinities = []
    for x in narrow.values():
        unit = x.flatten(2) / x.flatten(2).norm(dim=1, keepdim=True).clamp_min(1e-12)
        affinities.append((unit.mT @ unit).view(batch, positions, height, width))
    planes = torch.stack(affinities, dim=2).flatten(1, 2)  # position by position, task by task
    kernel = p.param(f"{attention}.{fusion}.weight", (positions, count, 3, 3), 0.0, 0.3)
    offset = p.param(f"{attention}.{fusion}.bias", (positions,), 0.0, 0.3)
    fused = F.conv2d(planes, kernel.to(planes), offset.to(planes), padding=1, groups=positions)
    fused = fused.flatten(2)
    refined = {}
    for task, own in narrow.items():
        values = p.conv(f"{attention}.projection.{task}", own, channels, 3, bias=True)
        diffused = (values.flatten(2) @ fused.mT).view_as(own)
        x = gamma * diffused + (1 - gamma) * own
        tail = f"{name}.conv_out.{task}"
        weight = p.param(f"{tail}.0.weight", (channels, channels, 2, 2), 0.0, 0.1)
        bias = p.param(f"{tail}.0.bias", (channels,), 0.0, 0.2)
        x = F.conv_transpose2d(x, weight.to(x), bias.to(x), stride=2)
        x = p.norm(f"{tail}.1", x).relu()
        refined[task] = p.conv(f"{tail}.3", x, channels, 3, bias=True)
    return refined


def ctal(p: Released, images: Tensor, tasks: Tasks) -> tuple[Maps, list[Maps]]:
    features, initial = initial_heads(p, images, tasks)
    refined = learn_affinities(p, "affinity_learning_module", "fusion", features)
    outputs = {
        task: upsample(bottleneck_head(p, f"heads.{task}", refined[task], out), images.shape[-2:])
        for task, out in tasks.items()
    }
    return outputs, [initial]


def ctal_multiscale(p: Released, images: Tensor, tasks: Tasks) -> tuple[Maps, list[Maps]]:
    features, initial = front_end(p, images, tasks)
    fused = {
        task: fuse(p, f"scale_fusion.{task}.last_layer", [each[task] for each in features])
        for task in tasks
    }
    refined = learn_affinities(p, "ctal", "task_fusion", fused)
    outputs = {
        task: upsample(bottleneck_head(p, f"heads.{task}", refined[task], out), images.shape[-2:])
        for task, out in tasks.items()
    }
    return outputs, initial
