"""Losses of dense prediction, computed pixel by pixel on NumPy arrays ``(B, C, H, W)``."""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage


def _pixels(valid):
    return [tuple(index) for index in np.argwhere(valid[:, 0])]


def cross_entropy(output, target, valid):
    losses = []
    for b, i, j in _pixels(valid):
        logits = [float(v) for v in output[b, :, i, j]]
        top = max(logits)
        total = top + math.log(sum(math.exp(v - top) for v in logits))
        losses.append(total - logits[int(target[b, 0, i, j])])
    return sum(losses) / len(losses)


def l1(output, target, valid):
    errors = []
    for b, i, j in _pixels(valid):
        errors += [
            abs(float(o) - float(t))
            for o, t in zip(output[b, :, i, j], target[b, :, i, j], strict=True)
        ]
    return sum(errors) / len(errors)


def l1_gradient(output, target, valid):
    residual = np.where(valid, output - target, 0.0)
    total = 0.0
    for image in residual[:, 0]:
        total += np.abs(ndimage.sobel(image, axis=0, mode="constant")).sum()
        total += np.abs(ndimage.sobel(image, axis=1, mode="constant")).sum()
    return l1(output, target, valid) + total / valid.sum()


def normals_l1(output, target, valid):
    errors = []
    for b, i, j in _pixels(valid):
        n = output[b, :, i, j]
        n = n / math.sqrt(sum(float(v) ** 2 for v in n))
        errors += [abs(float(v) - float(w)) for v, w in zip(n, target[b, :, i, j], strict=True)]
    return sum(errors) / len(errors)


def normals_cosine(output, target, valid):
    errors = []
    for b, i, j in _pixels(valid):
        n, m = output[b, :, i, j], target[b, :, i, j]
        errors.append(1 - float(n @ m) / math.sqrt(float(n @ n)))
    return sum(errors) / len(errors)


def balanced_bce(output, target, valid, weight):
    pixels = _pixels(valid)
    labels = [float(target[b, 0, i, j]) for b, i, j in pixels]
    if weight is None:
        weight = sum(1 - y for y in labels) / len(labels)
    total = 0.0
    for (b, i, j), y in zip(pixels, labels, strict=True):
        p = 1 / (1 + math.exp(-float(output[b, 0, i, j])))
        total -= weight * y * math.log(p) + (1 - weight) * (1 - y) * math.log(1 - p)
    return total / len(labels)
