"""TPIM pair by pair and position by position, from the paper's equations 1 to 8."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from reference.distillation_layers import gated, projected


def bilinear(x, height, width):
    return F.interpolate(x, size=(height, width), mode="bilinear", align_corners=False)


def co_matrix(query, key):
    """(d, n) target, (d, m) source -> (n, m), rows sum to 1."""
    rows = []
    for i in range(query.shape[1]):
        row = torch.stack([torch.dot(query[:, i], key[:, j]) for j in range(key.shape[1])])
        row = (row / query.shape[0] ** 0.5).exp()
        rows.append(row / row.sum())
    return torch.stack(rows)


def fuse(fusion, iterations, alpha, co, value):
    """(n, m) and (m, C) -> (n, C)."""
    if fusion == "none":
        return co @ value
    for _ in range(iterations):
        if fusion == "A":
            value = co @ value
        elif fusion == "B":
            value = alpha * (co @ value) + value
        else:
            value = alpha * (co @ value) + (1 - alpha) * value
    return value


def tpim(module, features, iterations):
    refined = {}
    for target in module.tasks:
        total = features[target]
        for source in module.sources:
            if source == target:
                continue
            block = module.blocks[target][source]
            _, _, height, width = total.shape
            small = (max(1, height // module.downscale), max(1, width // module.downscale))
            down_t, down_s = bilinear(features[target], *small), bilinear(features[source], *small)
            query = projected(block.query, down_t)
            key = projected(block.key, down_s)
            value = projected(block.value, down_s)
            images = []
            for b in range(len(value)):
                co = co_matrix(query[b].flatten(1), key[b].flatten(1))
                fused = fuse(
                    block.fusion.fusion, iterations, block.fusion.alpha, co, value[b].flatten(1).T
                )
                images.append(fused.T.reshape(value[b].shape))
            up = bilinear(torch.stack(images), height, width)
            total = total + gated(block.own, features[source]) + up
        refined[target] = total
    return refined
