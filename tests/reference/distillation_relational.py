"""ATRC's contexts, position by position (without dropout)."""

from __future__ import annotations

import torch

from reference.distillation_layers import attend, projected
from reference.distillation_tpim import bilinear


def soft_plus(x):
    return (1 + x.exp()).log()


def global_context(block, target, source):
    query = soft_plus(projected(block.query, target, last_relu=False))
    key = soft_plus(projected(block.key, source, last_relu=False))
    value = projected(block.value, source)
    out = torch.zeros_like(value)
    for b in range(len(value)):
        keys, values = key[b].flatten(1), value[b].flatten(1)
        for y in range(out.shape[2]):
            for x in range(out.shape[3]):
                weights = torch.stack([torch.dot(k, query[b, :, y, x]) for k in keys.T])
                out[b, :, y, x] = (values * weights).sum(1) / weights.sum()
    return out


def local_context(block, target, source, window=9):
    query, key = projected(block.query, target), projected(block.key, source)
    value = projected(block.value, source)
    reach = window // 2
    _, inner, height, width = value.shape
    out = torch.zeros_like(value)
    for b in range(len(value)):
        for y in range(height):
            for x in range(width):
                scores, values_at = [], []
                for dy in range(-reach, reach + 1):
                    for dx in range(-reach, reach + 1):
                        inside = 0 <= y + dy < height and 0 <= x + dx < width
                        if inside:
                            product = torch.dot(query[b, :, y, x], key[b, :, y + dy, x + dx])
                            scores.append(product / inner**0.5)
                            values_at.append(value[b, :, y + dy, x + dx])
                        else:
                            scores.append(value.new_zeros(()))
                            values_at.append(value.new_zeros(inner))
                weights = torch.stack(scores).softmax(0)
                out[b, :, y, x] = sum(w * v for w, v in zip(weights, values_at, strict=True))
    return out


def label_context(block, target, source, labels):
    batch, classes = labels.shape[:2]
    regions = torch.zeros(batch, source.shape[1], classes, 1, dtype=source.dtype)
    for b in range(batch):
        for label in range(classes):
            weights = labels[b, label].exp()
            weights = weights / weights.sum()
            regions[b, :, label, 0] = (source[b] * weights).sum((1, 2))
    query = projected(block.query, target)
    key, value = projected(block.key, regions), projected(block.value, regions)
    images = [
        attend(q.flatten(1), k.flatten(1), v.flatten(1)).reshape(q.shape)
        for q, k, v in zip(query, key, value, strict=True)
    ]
    return torch.stack(images)


def relational_context(module, features, predictions):
    refined = {}
    for target in module.tasks:
        own = features[target]
        contexts = []
        for source in module.sources:
            kind = module.genotype[target][source]
            if kind == "none":
                continue
            block, theirs = module.contexts[target][source], features[source]
            if kind == "global":
                contexts.append(global_context(block, own, theirs))
            elif kind == "local":
                contexts.append(local_context(block, own, theirs))
            else:
                labels = predictions[target if kind == "target_label" else source]
                labels = bilinear(labels, *own.shape[-2:])
                contexts.append(label_context(block, own, theirs, labels))
        parts = [own]
        if contexts:
            stacked = torch.cat(contexts, dim=1)
            parts.append(projected(module.gather[target], stacked, last_relu=False))
        refined[target] = projected(module.merge[target], torch.cat(parts, dim=1))
    return refined
