"""CTAL as in the paper: HW x HW affinities, interleaved, convolved in groups, multiplied."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def ctal_loops(features, values, kernel, bias, gamma):
    """One number at a time. Lists of (C, H, W); kernel per target (HW, N, f, f), bias (HW,)."""
    _, height, width = features[0].shape
    reach = kernel[0].shape[-1] // 2
    places = [(y, x) for y in range(height) for x in range(width)]
    unit = [
        {(y, x): f[:, y, x] / f[:, y, x].square().sum().sqrt() for y, x in places} for f in features
    ]
    affinity = [{(p, q): torch.dot(u[p], u[q]) for p in places for q in places} for u in unit]
    refined = []
    for own, value, weights, offsets in zip(features, values, kernel, bias, strict=False):
        out = torch.zeros_like(own)
        for j, (py, px) in enumerate(places):
            for qy, qx in places:
                g = offsets[j].clone()
                for t in range(len(features)):
                    for dy in range(-reach, reach + 1):
                        for dx in range(-reach, reach + 1):
                            at = (qy + dy, qx + dx)
                            if at in unit[t]:
                                weight = weights[j, t, dy + reach, dx + reach]
                                g += weight * affinity[t][(py, px), at]
                out[:, py, px] += g * value[:, qy, qx]
        refined.append(gamma * out + (1 - gamma) * own)
    return refined


def ctal_direct(module, features):
    """As in the released code: stack affinities, interleave, one grouped convolution, multiply."""
    planes = []
    for source in module.sources:
        x = features[source]
        height, width = x.shape[-2:]
        norm = x.square().sum(1, keepdim=True).sqrt()
        flat = (x / norm).flatten(2)
        gram = torch.einsum("bcp,bcq->bpq", flat, flat)
        planes.append(gram.reshape(-1, height * width, height, width))
    joint = torch.stack(planes, dim=2).flatten(1, 2)  # channel j N + t is row j of affinity t
    shared = module.kernel.dim() == 4
    refined = {}
    for k, task in enumerate(module.tasks):
        kernel = module.kernel if shared else module.kernel[k]
        bias = module.kernel_bias
        if bias is not None and not shared:
            bias = bias[k]
        groups = kernel.shape[0]
        fused = F.conv2d(joint, kernel, bias, padding=kernel.shape[-1] // 2, groups=groups)
        conv = module.values[task]
        value = F.conv2d(features[task], conv.weight, conv.bias, padding=1)
        out = torch.einsum("bcq,bpq->bcp", value.flatten(2), fused.flatten(2)).view_as(value)
        refined[task] = module.gamma * out + (1 - module.gamma) * features[task]
    return refined
