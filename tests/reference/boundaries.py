"""Simple implementation of boundary evaluation: one pixel, threshold and path at a time."""

from __future__ import annotations

import math

import numpy as np
import scipy.io
import skimage
from PIL import Image
from scipy import ndimage
from skimage import segmentation
from skimage.morphology import thin


def suppression_margins(edges):
    """For every pixel, 1.01 times its value minus the larger of its two neighbors across."""
    height, width = edges.shape
    triangle = np.array([1, 2, 3, 4, 5, 4, 3, 2, 1]) / 25
    padded = np.pad(edges.astype(float), 4, mode="symmetric")
    smooth = np.zeros(edges.shape)
    for y in range(height):
        for x in range(width):
            smooth[y, x] = triangle @ padded[y : y + 9, x : x + 9] @ triangle
    by_y, by_x = np.gradient(smooth)
    by_yy, by_xy = np.gradient(by_y)
    by_xx = np.gradient(by_x)[1]

    def value(y, x):
        y, x = min(max(y, 0), height - 1.001), min(max(x, 0), width - 1.001)
        top, left = int(y), int(x)
        down, right = y - top, x - left
        upper = edges[top, left] * (1 - right) + edges[top, left + 1] * right
        lower = edges[top + 1, left] * (1 - right) + edges[top + 1, left + 1] * right
        return upper * (1 - down) + lower * down

    margins = np.zeros(edges.shape)
    for y in range(height):
        for x in range(width):
            sign = float(np.sign(-by_xy[y, x]))
            angle = math.atan(by_yy[y, x] * sign / (by_xx[y, x] + 1e-5)) % math.pi
            dx, dy = math.cos(angle), math.sin(angle)
            across = max(value(y + dy, x + dx), value(y - dy, x - dx))
            margins[y, x] = 1.01 * edges[y, x] - across
    return margins


def border_ramp(height, width):
    ramp = np.ones((height, width))
    for y in range(height):
        for x in range(width):
            for distance in (min(y, height - 1 - y), min(x, width - 1 - x)):
                ramp[y, x] *= min(1, distance / 5)
    return ramp


def label_boundaries(labels):
    """Boundaries between the 4-connected parts of every label, as in SEISM."""
    parts = np.zeros(labels.shape, dtype=int)
    for label in np.unique(labels):
        found, _ = ndimage.label(labels == label)
        parts[found > 0] = found[found > 0] + parts.max()
    height, width = labels.shape
    boundary = np.zeros(labels.shape, dtype=bool)
    for y in range(height):
        for x in range(width):
            for dy, dx in ((0, 1), (1, 0), (1, 1)):
                if y + dy < height and x + dx < width:
                    boundary[y, x] |= parts[y, x] != parts[y + dy, x + dx]
    return boundary


def near_pairs(predicted, truth, radius):
    """Indices of the true pixels near each predicted pixel."""
    true_pixels = np.argwhere(truth)
    return [
        [j for j, q in enumerate(true_pixels) if math.dist(p, q) <= radius]
        for p in np.argwhere(predicted)
    ]


def most_pairs(near):
    """Size of a maximum matching, from one augmenting path after another."""
    partner = {}

    def cover(p, seen):
        for q in near[p]:
            if q not in seen:
                seen.add(q)
                if q not in partner or cover(partner[q], seen):
                    partner[q] = p
                    return True
        return False

    return sum(cover(p, set()) for p in range(len(near)))


def most_pairs_of_all(near):
    """Size of a maximum matching, from all assignments; only for a few pixels."""
    if not near:
        return 0
    best = most_pairs_of_all(near[1:])
    for q in near[0]:
        best = max(best, 1 + most_pairs_of_all([[r for r in some if r != q] for some in near[1:]]))
    return best


def count_image(ridges, annotations, thresholds, radius, at_least=False, thinning=True):
    """Matched true, true, predicted, and (with one annotator) matched predicted pixels."""
    rows = []
    for threshold in np.asarray(thresholds, dtype=np.float32):
        predicted = ridges >= threshold if at_least else ridges > threshold
        if thinning:
            predicted = thin(predicted)
        pairs = [most_pairs(near_pairs(predicted, truth, radius)) for truth in annotations]
        truths = sum(int(truth.sum()) for truth in annotations)
        rows.append([sum(pairs), truths, pairs[0], int(predicted.sum())])
    return np.array(rows).T


def average_precision(precision, recall):
    points = {}
    for p, r in zip(precision, recall, strict=True):
        points.setdefault(r, p)
    points = sorted(points.items())
    total = 0.0
    for step in range(101):
        at = step / 100
        for (r0, p0), (r1, p1) in zip([points[0], *points], [*points, points[-1]], strict=True):
            if r0 <= at <= r1:
                total += p0 if r1 == r0 else p0 + (p1 - p0) * (at - r0) / (r1 - r0)
                break
    return total / 100


def photograph(name, rows=slice(None), columns=slice(None)):
    """Part of a photograph of scikit-image, gray in [0, 1]."""
    image = getattr(skimage.data, name)()
    gray = skimage.color.rgb2gray(image) if image.ndim == 3 else image / 255
    return gray[rows, columns]


def made_labels(image, scale=200):
    """Segments of a photograph, instead of human annotations."""
    return segmentation.felzenszwalb(image, scale=scale, sigma=1, min_size=60)


def made_prediction(image, seed=0, noise=0.1):
    """Noisy gradient magnitude: a poor edge detector."""
    gradient = skimage.filters.sobel(ndimage.gaussian_filter(image, 1))
    noisy = gradient / np.percentile(gradient, 99.5)
    noisy += np.random.default_rng(seed).normal(0, noise, image.shape)
    return np.clip(noisy, 0, 1).astype(np.float32)


def write_berkeley_truth(path, label_maps):
    """An annotation file as the Berkeley data set publishes them: a cell of one struct each."""
    people = np.empty((1, len(label_maps)), dtype=object)
    for number, labels in enumerate(label_maps):
        people[0, number] = {
            "Segmentation": (labels + 1).astype(np.uint16),
            "Boundaries": thin(label_boundaries(labels)).astype(np.uint8),
        }
    scipy.io.savemat(path, {"groundTruth": people})


def write_berkeley_tree(root, names=("coffee", "chelsea", "astronaut")):
    """Computed segments of photographs in ``groundTruth``, gradients in ``predictions``."""
    (root / "groundTruth").mkdir(parents=True)
    (root / "predictions").mkdir()
    for number, name in enumerate(names):
        image = photograph(name, slice(80, 160), slice(100, 220))
        people = [made_labels(image, scale=100 * (2 + k)) for k in range(number + 1)]
        write_berkeley_truth(root / "groundTruth" / f"{name}.mat", people)
        prediction = made_prediction(image, seed=number)
        Image.fromarray((prediction * 255).astype(np.uint8)).save(root / f"predictions/{name}.png")
