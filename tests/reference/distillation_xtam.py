"""DenseMTL's cross-task attention, position by position."""

from __future__ import annotations

import torch

from reference.distillation_layers import attend, conv3x3, gated, projected


def shrink_nearest(x, factor):
    rows, columns = x.shape[-2] // factor, x.shape[-1] // factor
    ys = [int(y * x.shape[-2] / rows) for y in range(rows)]
    xs = [int(c * x.shape[-1] / columns) for c in range(columns)]
    return x[:, :, ys][:, :, :, xs]


def shrink_max(x, factor):
    rows, columns = x.shape[-2] // factor, x.shape[-1] // factor
    cells = []
    for r in range(rows):
        line = []
        for c in range(columns):
            cell = x[:, :, r * factor : (r + 1) * factor, c * factor : (c + 1) * factor]
            line.append(cell.flatten(2).max(2).values)
        cells.append(torch.stack(line, dim=2))
    return torch.stack(cells, dim=2)


def grow_nearest(x, height, width):
    ys = [int(y * x.shape[-2] / height) for y in range(height)]
    xs = [int(c * x.shape[-1] / width) for c in range(width)]
    return x[:, :, ys][:, :, :, xs]


def xtam(module, features):
    refined = {}
    for target in module.tasks:
        others = [source for source in module.sources if source != target]
        received = []
        for source in others:
            block = module.messages[target][source]
            conv = block.extract[0]
            extracted = conv3x3(conv.weight, conv.bias, features[source]).clamp(min=0)
            x = shrink_nearest(features[target], block.downscale)
            y = shrink_max(extracted, block.downscale)
            query, key = projected(block.query, x), projected(block.key, y)
            value = projected(block.value, y)
            images = [
                attend(q.flatten(1), k.flatten(1), v.flatten(1)).reshape(v.shape)
                for q, k, v in zip(query, key, value, strict=True)
            ]
            up = grow_nearest(torch.stack(images), *features[target].shape[-2:])
            both = torch.cat([gated(block.own, extracted), block.alpha * up], dim=1)
            received.append(projected(block.project, both))
        out = features[target]
        if received:
            out = out + projected(module.merge[target], torch.cat(received, dim=1))
        refined[target] = out
    return refined
