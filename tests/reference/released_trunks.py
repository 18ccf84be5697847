"""Forward passes of HRNet and dilated ResNet, as functions of tensors by released name."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from reference.released_layers import Released, basic, bottleneck, residual, upsample

WIDTHS = (18, 36, 72, 144)
_RESNETS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}


def hrnet(p: Released, prefix: str, images: Tensor) -> list[Tensor]:
    """HRNet-W18-small-v2, branches fused by bilinear interpolation to the exact size."""
    x = images
    for number in (1, 2):
        x = p.norm(f"{prefix}.bn{number}", p.conv(f"{prefix}.conv{number}", x, 64, 3, stride=2))
        x = x.relu()
    for block in (0, 1):
        x = bottleneck(p, f"{prefix}.layer1.{block}", x, 256)
    first = p.conv(f"{prefix}.transition1.0.0", x, WIDTHS[0], 3)
    second = p.conv(f"{prefix}.transition1.1.0.0", x, WIDTHS[1], 3, stride=2)
    maps = [
        p.norm(f"{prefix}.transition1.0.1", first).relu(),
        p.norm(f"{prefix}.transition1.1.0.1", second).relu(),
    ]
    maps = _module(p, f"{prefix}.stage2.0", maps)
    for stage, modules in ((3, 3), (4, 2)):
        name = f"{prefix}.transition{stage - 1}.{stage - 1}.0"
        new = p.conv(f"{name}.0", maps[-1], WIDTHS[stage - 1], 3, stride=2)
        maps = [*maps, p.norm(f"{name}.1", new).relu()]
        for module in range(modules):
            maps = _module(p, f"{prefix}.stage{stage}.{module}", maps)
    return maps


def _module(p: Released, name: str, maps: list[Tensor]) -> list[Tensor]:
    branches = []
    for branch, x in enumerate(maps):
        for block in (0, 1):
            x = basic(p, f"{name}.branches.{branch}.{block}", x, WIDTHS[branch])
        branches.append(x)
    fused = []
    for target, own in enumerate(branches):
        total = torch.zeros_like(own)
        for source, x in enumerate(branches):
            layer = f"{name}.fuse_layers.{target}.{source}"
            if source > target:
                x = p.norm(f"{layer}.1", p.conv(f"{layer}.0", x, WIDTHS[target]))
                x = upsample(x, own.shape[-2:])
            for step in range(target - source):
                last = step == target - source - 1
                out = WIDTHS[target] if last else WIDTHS[source]
                x = p.norm(f"{layer}.{step}.1", p.conv(f"{layer}.{step}.0", x, out, 3, stride=2))
                x = x if last else x.relu()
            total = total + x
        fused.append(total.relu())
    return fused


def resnet_stem(p: Released, prefix: str, images: Tensor) -> Tensor:
    x = p.norm(f"{prefix}.bn1", p.conv(f"{prefix}.conv1", images, 64, 7, stride=2)).relu()
    return F.max_pool2d(x, kernel_size=3, stride=2, padding=1)


def resnet_stage(p: Released, prefix: str, x: Tensor, stage: int, depth: int) -> list[Tensor]:
    """Outputs of every block of stage 1 to 4, at output stride 8."""
    width = 64 * 2 ** (stage - 1)
    outputs = []
    for block in range(_RESNETS[depth][stage - 1]):
        stride = 2 if stage == 2 and block == 0 else 1
        dilation = {3: 2, 4: 4}.get(stage, 1)
        entering = dilation // 2 if block == 0 and stage > 2 else dilation
        name = f"{prefix}.layer{stage}.{block}"
        if depth == 18:
            layers = [(3, width, stride, entering), (3, width, 1, dilation)]
            x = residual(p, name, x, width, layers)
        else:
            layers = [(1, width, 1, 1), (3, width, stride, entering), (1, 4 * width, 1, 1)]
            x = residual(p, name, x, 4 * width, layers)
        outputs.append(x)
    return outputs


def resnet(p: Released, prefix: str, images: Tensor, depth: int) -> Tensor:
    x = resnet_stem(p, prefix, images)
    for stage in (1, 2, 3, 4):
        x = resnet_stage(p, prefix, x, stage, depth)[-1]
    return x


def deeplab(p: Released, name: str, x: Tensor, out: int) -> Tensor:
    """Head of DeepLab-v3."""
    seen = [p.norm(f"{name}.0.convs.0.1", p.conv(f"{name}.0.convs.0.0", x, 256)).relu()]
    for place, rate in enumerate((12, 24, 36), start=1):
        y = p.conv(f"{name}.0.convs.{place}.0", x, 256, 3, dilation=rate)
        seen.append(p.norm(f"{name}.0.convs.{place}.1", y).relu())
    pooled = p.conv(f"{name}.0.convs.4.1", x.mean(dim=(2, 3), keepdim=True), 256)
    pooled = p.norm(f"{name}.0.convs.4.2", pooled).relu()
    seen.append(pooled.expand(-1, -1, *x.shape[-2:]))
    x = p.norm(f"{name}.0.project.1", p.conv(f"{name}.0.project.0", torch.cat(seen, 1), 256)).relu()
    x = p.norm(f"{name}.2", p.conv(f"{name}.1", x, 256, 3)).relu()
    return p.conv(f"{name}.4", x, out, bias=True)
