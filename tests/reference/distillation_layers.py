"""Simple implementations of the layers of attention modules."""

from __future__ import annotations

import torch


def conv1x1_bn(conv, norm, x, relu=True):
    """1x1 convolution without bias, batch norm with this batch's statistics, ReLU."""
    y = torch.einsum("oc,bchw->bohw", conv.weight[:, :, 0, 0], x)
    mean = y.mean((0, 2, 3), keepdim=True)
    variance = (y - mean).square().mean((0, 2, 3), keepdim=True)
    y = (y - mean) / (variance + norm.eps).sqrt()
    y = y * norm.weight[None, :, None, None] + norm.bias[None, :, None, None]
    return y.clamp(min=0) if relu else y


def projected(layers, x, last_relu=True):
    """All layers of a projection: conv, norm, ReLU, conv, norm, ReLU, ..."""
    modules = list(layers)
    count = (len(modules) + 1) // 3
    for i in range(count):
        conv, norm = modules[3 * i], modules[3 * i + 1]
        x = conv1x1_bn(conv, norm, x, relu=last_relu or i + 1 < count)
    return x


def conv3x3(weight, bias, x):
    """3x3 convolution with zero padding as nine shifted products."""
    _, _, height, width = x.shape
    out = 0 if bias is None else bias[None, :, None, None]
    for dy in range(3):
        for dx in range(3):
            moved = torch.zeros_like(x)
            ys = range(max(0, 1 - dy), min(height, height + 1 - dy))
            xs = range(max(0, 1 - dx), min(width, width + 1 - dx))
            for y in ys:
                for col in xs:
                    moved[:, :, y, col] = x[:, :, y + dy - 1, col + dx - 1]
            out = out + torch.einsum("oc,bchw->bohw", weight[:, :, dy, dx], moved)
    return out


def gated(message, x):
    gate = 1 / (1 + (-conv3x3(message.attention.weight, None, x)).exp())
    return gate * conv3x3(message.value.weight, None, x)


def attend(query, key, value):
    """``(d, n)``, ``(d, m)``, ``(C, m)`` -> ``(C, n)``, one position at a time."""
    columns = []
    for i in range(query.shape[1]):
        scores = (key * query[:, i : i + 1]).sum(0) / query.shape[0] ** 0.5
        weights = (scores - scores.max()).exp()
        columns.append((value * (weights / weights.sum())).sum(1))
    return torch.stack(columns, dim=1)
