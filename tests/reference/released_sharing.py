"""Released cross-stitch, NDDR-CNN and MTAN on a dilated ResNet, by released names."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from reference.released_layers import Released, bottleneck, upsample
from reference.released_networks import Maps, Tasks
from reference.released_trunks import deeplab, resnet_stage, resnet_stem


def cross_stitch(p: Released, images: Tensor, tasks: Tasks, depth: int) -> Maps:
    states = {task: resnet_stem(p, f"backbone.{task}", images) for task in tasks}
    for stage in (1, 2, 3, 4):
        seen = {
            task: resnet_stage(p, f"backbone.{task}", x, stage, depth)[-1]
            for task, x in states.items()
        }
        for task in tasks:
            total = torch.zeros_like(seen[task])
            for source, x in seen.items():
                name = f"cross_stitch.layer{stage}.cross_stitch_unit.{task}.{source}.param"
                share = p.param(name, (x.shape[1],), 0.5, 0.4).to(x)
                total = total + share[:, None, None] * x
            states[task] = total
    return _heads(p, states, tasks, images)


def nddr_cnn(p: Released, images: Tensor, tasks: Tasks, depth: int) -> Maps:
    states = {task: resnet_stem(p, f"backbone.{task}", images) for task in tasks}
    states = _reduce(p, "nddr.conv", states)
    for stage in (1, 2, 3, 4):
        seen = {
            task: resnet_stage(p, f"backbone.{task}", x, stage, depth)[-1]
            for task, x in states.items()
        }
        name = "nddr.layer1_without_conv" if stage == 1 else f"nddr.layer{stage}"
        states = _reduce(p, name, seen)
    return _heads(p, states, tasks, images)


def _reduce(p: Released, name: str, states: Maps) -> Maps:
    stacked = torch.cat(list(states.values()), dim=1)
    return {
        task: p.norm(
            f"{name}.layer.{task}.1", p.conv(f"{name}.layer.{task}.0", stacked, x.shape[1])
        ).relu()
        for task, x in states.items()
    }


def mtan(p: Released, images: Tensor, tasks: Tasks, depth: int) -> Maps:
    x = resnet_stem(p, "backbone", images)
    passed: Maps = {}
    attended: Maps = {}
    for stage in (1, 2, 3, 4):
        outputs = resnet_stage(p, "backbone", x, stage, depth)
        before, x = outputs[-2], outputs[-1]
        channels = x.shape[1]
        for task in tasks:
            name = f"attention_{stage}.{task}"
            y = torch.cat([before, passed[task]], dim=1) if passed else before
            y = p.norm(f"{name}.1", p.conv(f"{name}.0", y, channels // 4, bias=True)).relu()
            y = p.norm(f"{name}.4", p.conv(f"{name}.3", y, channels, bias=True)).sigmoid()
            attended[task] = y * x
        if stage < 4:
            passed = {
                task: bottleneck(p, f"refine_{stage}.0", y, 2 * channels)
                for task, y in attended.items()
            }
        if stage == 1:
            passed = {task: F.max_pool2d(y, 2) for task, y in passed.items()}
    return _heads(p, attended, tasks, images)


def _heads(p: Released, states: Maps, tasks: Tasks, images: Tensor) -> Maps:
    return {
        task: upsample(deeplab(p, f"heads.{task}", states[task], out), images.shape[-2:])
        for task, out in tasks.items()
    }
