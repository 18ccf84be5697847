"""Losses of dense prediction, computed pixel by pixel on NumPy arrays ``(B, C, H, W)``."""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage


def _pixels(valid):
    return [tuple(index) for index in np.argwhere(valid[:, 0])]


def _log_probabilities(logits):
    logits = [float(v) for v in logits]
    top = max(logits)
    total = top + math.log(sum(math.exp(v - top) for v in logits))
    return [v - total for v in logits]


def cross_entropy(output, target, valid, weights=None, smoothing=0.0):
    losses = []
    classes = output.shape[1]
    for b, i, j in _pixels(valid):
        logs = _log_probabilities(output[b, :, i, j])
        w = weights or [1.0] * classes
        y = int(target[b, 0, i, j])
        spread = sum(w[c] * logs[c] for c in range(classes)) / classes
        losses.append(-(1 - smoothing) * w[y] * logs[y] - smoothing * spread)
    return sum(losses) / len(losses)


def focal(output, target, valid, gamma, weights):
    losses = []
    for b, i, j in _pixels(valid):
        y = int(target[b, 0, i, j])
        log = _log_probabilities(output[b, :, i, j])[y]
        losses.append(-weights[y] * (1 - math.exp(log)) ** gamma * log)
    return sum(losses) / len(losses)


def binary_focal(output, target, valid, gamma, alpha):
    losses = []
    for b, i, j in _pixels(valid):
        p = 1 / (1 + math.exp(-float(output[b, 0, i, j])))
        positive = float(target[b, 0, i, j]) > 0.5
        p, w = (p, alpha) if positive else (1 - p, 1 - alpha)
        losses.append(-w * (1 - p) ** gamma * math.log(p))
    return sum(losses) / len(losses)


def _mean_over_images(of_image, output, target, valid):
    """Each image counts as often as it has valid pixels."""
    total = pixels = 0.0
    for b in range(len(output)):
        inside = valid[b, 0]
        if inside.any():
            total += inside.sum() * of_image(output[b][:, inside].T, target[b][0, inside])
            pixels += inside.sum()
    return total / pixels


def dice(output, target, valid, smooth=1.0):
    def of_image(logits, labels):
        p = np.exp([_log_probabilities(pixel) for pixel in logits])
        found = []
        for c in set(labels.tolist()):
            g = labels == c
            found.append(1 - (2 * p[g, c].sum() + smooth) / (p[:, c].sum() + g.sum() + smooth))
        return sum(found) / len(found)

    return _mean_over_images(of_image, output, target, valid)


def mask_dice(output, target, valid):
    def of_image(logits, labels):
        p = 1 / (1 + np.exp(-logits[:, 0]))
        return 1 - (2 * (p * labels).sum() + 1) / (p.sum() + labels.sum() + 1)

    return _mean_over_images(of_image, output, target, valid)


def lovasz_softmax(output, target, valid):
    """The Lovasz extension as the sum over sets of the largest errors."""

    def jaccard(wrong, positives):
        """Jaccard loss of a prediction that is wrong at a set of pixels."""
        found = positives ^ wrong
        return 1 - len(positives & found) / len(positives | found)

    def of_image(logits, labels):
        p = np.exp([_log_probabilities(pixel) for pixel in logits])
        found = []
        for c in set(labels.tolist()):
            positives = set(np.flatnonzero(labels == c).tolist())
            errors = [abs(float(y == c) - row[c]) for y, row in zip(labels, p, strict=True)]
            order = sorted(range(len(errors)), key=lambda i: -errors[i])
            total, before, wrong = 0.0, 0.0, set()
            for i in order:
                wrong.add(i)
                after = jaccard(wrong, positives)
                total += errors[i] * (after - before)
                before = after
            found.append(total)
        return sum(found) / len(found)

    return _mean_over_images(of_image, output, target, valid)


def berhu(output, target, valid):
    total, count = 0.0, 0
    for b in range(len(output)):
        errors = [abs(float(e)) for e in (output[b] - target[b])[:, valid[b, 0]].flatten()]
        limit = 0.2 * max(errors, default=0)
        total += sum(e if e <= limit else (e * e + limit * limit) / (2 * limit) for e in errors)
        count += len(errors)
    return total / count


def silog(output, target, valid, focus, smallest, root=False):
    def log(z):
        return math.log(z) if z > smallest else math.log(smallest) + z / smallest - 1

    def of_image(values, labels):
        d = [log(float(z)) - log(float(y)) for z, y in zip(values[:, 0], labels, strict=True)]
        n = len(d)
        loss = sum(e * e for e in d) / n - focus / n**2 * sum(d) ** 2
        return 10 * math.sqrt(loss) if root else loss

    return _mean_over_images(of_image, output, target, valid)


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
