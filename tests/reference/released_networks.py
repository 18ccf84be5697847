"""Forward passes of the released networks on HRNet, as functions of tensors by released name.

Each takes images and tasks (released name -> channels, in the released order) and gives the final
outputs at the images' size, and the initial ones per scale, finest first.
"""

from __future__ import annotations

import torch
from torch import Tensor

from reference.released_layers import Released, basic, bottleneck, upsample
from reference.released_trunks import WIDTHS, deeplab, hrnet, resnet

Tasks = dict[str, int]
Maps = dict[str, Tensor]


def fuse(p: Released, name: str, maps: list[Tensor]) -> Tensor:
    """All branches resized to the finest size and fused."""
    x = torch.cat([upsample(each, maps[0].shape[-2:]) for each in maps], dim=1)
    return p.norm(f"{name}.1", p.conv(f"{name}.0", x, x.shape[1], bias=True)).relu()


def high_resolution(p: Released, name: str, maps: list[Tensor], out: int) -> Tensor:
    x = fuse(p, f"{name}.last_layer", maps)
    return p.conv(f"{name}.last_layer.3", x, out, bias=True)


def single_task(p: Released, images: Tensor, out: int, depth: int | None = None) -> Tensor:
    """One single-task network, on an HRNet or on a dilated ResNet of this depth."""
    if depth is None:
        output = high_resolution(p, "decoder", hrnet(p, "backbone", images), out)
    else:
        output = deeplab(p, "decoder", resnet(p, "backbone", images, depth), out)
    return upsample(output, images.shape[-2:])


def single_tasks(p: Released, images: Tensor, tasks: Tasks) -> Maps:
    """Several single-task networks in one file."""
    outputs = {}
    for task, out in tasks.items():
        maps = hrnet(p, f"backbones.{task}", images)
        output = high_resolution(p, f"heads.{task}", maps, out)
        outputs[task] = upsample(output, images.shape[-2:])
    return outputs


def multi_task(
    p: Released, images: Tensor, tasks: Tasks, heads: str = "decoders", depth: int | None = None
) -> Maps:
    if depth is None:
        maps = hrnet(p, "backbone", images)
        outputs = {t: high_resolution(p, f"{heads}.{t}", maps, n) for t, n in tasks.items()}
    else:
        x = resnet(p, "backbone", images, depth)
        outputs = {t: deeplab(p, f"{heads}.{t}", x, n) for t, n in tasks.items()}
    return {task: upsample(output, images.shape[-2:]) for task, output in outputs.items()}


def initial_heads(p: Released, images: Tensor, tasks: Tasks) -> tuple[Maps, Maps]:
    """Task features and initial predictions at a single scale."""
    fused = fuse(p, "backbone.1.last_layer", hrnet(p, "backbone.0", images))
    features, initial = {}, {}
    for task, out in tasks.items():
        x = fused
        for block in (0, 1):
            x = bottleneck(p, f"initial_task_prediction_heads.layers.{task}.{block}", x, 256)
        features[task] = x
        name = f"initial_task_prediction_heads.conv_out.{task}"
        initial[task] = p.conv(name, x, out, bias=True)
    return features, initial


def bottleneck_head(p: Released, name: str, x: Tensor, out: int) -> Tensor:
    for block in (0, 1):
        x = bottleneck(p, f"{name}.{block}", x, x.shape[1])
    return p.conv(f"{name}.2", x, out, bias=True)


def attend(p: Released, name: str, features: Maps, tasks: Tasks) -> Maps:
    """Gated features of all other tasks."""
    distilled = {}
    for task in tasks:
        total = features[task]
        for source, x in features.items():
            if source != task:
                pair = f"{name}.self_attention.{task}.{source}"
                gate = p.conv(f"{pair}.attention.0", x, x.shape[1], 3).sigmoid()
                total = total + gate * p.conv(f"{pair}.conv", x, x.shape[1], 3)
        distilled[task] = total
    return distilled


def pad_net(p: Released, images: Tensor, tasks: Tasks, all_tasks: Tasks) -> tuple[Maps, list[Maps]]:
    features, initial = initial_heads(p, images, all_tasks)
    distilled = attend(p, "multi_modal_distillation", features, tasks)
    outputs = {
        task: upsample(bottleneck_head(p, f"heads.{task}", distilled[task], out), images.shape[-2:])
        for task, out in tasks.items()
    }
    return outputs, [initial]


def propagate(p: Released, name: str, features: Maps) -> Maps:
    """Feature propagation, softmax over as many consecutive channels as there are tasks."""
    x = torch.cat(list(features.values()), dim=1)
    count, channels = len(features), x.shape[1] // len(features)
    inner = x.shape[1] // 4
    z = basic(p, f"{name}.non_linear.1", basic(p, f"{name}.non_linear.0", x, inner), inner)
    z = p.conv(f"{name}.non_linear.2", z, x.shape[1], bias=True)
    mask = torch.cat([group.softmax(dim=1) for group in z.split(count, dim=1)], dim=1)
    shared = basic(p, f"{name}.dimensionality_reduction", x * mask, channels)
    passed = {}
    for task, own in features.items():
        squeeze = f"{name}.se.{task}.squeeze"
        hidden = p.linear(f"{squeeze}.0", shared.mean(dim=(2, 3)), channels // 16).relu()
        gate = p.linear(f"{squeeze}.2", hidden, channels).sigmoid()
        passed[task] = shared * gate[:, :, None, None] + own
    return passed


def front_end(p: Released, images: Tensor, tasks: Tasks) -> tuple[list[Maps], list[Maps]]:
    """Task features and initial predictions at four scales, from coarse to fine."""
    maps = hrnet(p, "backbone", images)
    features: list[Maps] = [{}, {}, {}, {}]
    initial: list[Maps] = [{}, {}, {}, {}]
    received: Maps = {}
    for scale in (3, 2, 1, 0):
        for task, out in tasks.items():
            x = maps[scale]
            if received:
                x = torch.cat([x, upsample(received[task], x.shape[-2:])], dim=1)
            for block in (0, 1):
                x = basic(p, f"scale_{scale}.refinement.{task}.{block}", x, WIDTHS[scale])
            features[scale][task] = x
            name = f"scale_{scale}.decoders.{task}"
            initial[scale][task] = p.conv(name, x, out, bias=True)
        if scale:
            received = propagate(p, f"fpm_scale_{scale}", features[scale])
    return features, initial


def mti_net(p: Released, images: Tensor, tasks: Tasks, all_tasks: Tasks) -> tuple[Maps, list[Maps]]:
    features, initial = front_end(p, images, all_tasks)
    distilled = [
        attend(p, f"distillation_scale_{scale}", features[scale], tasks) for scale in range(4)
    ]
    outputs = {}
    for task, out in tasks.items():
        output = high_resolution(p, f"heads.{task}", [each[task] for each in distilled], out)
        outputs[task] = upsample(output, images.shape[-2:])
    return outputs, initial
