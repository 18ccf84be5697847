"""Simple NumPy implementations of the metrics, one image or pixel at a time."""

from __future__ import annotations

import math

import numpy as np


def segmentation(prediction, target, valid, classes, absent):
    guess, label = prediction[valid], target[valid]
    ious, accuracies = [], []
    for c in range(classes):
        hits = int(((guess == c) & (label == c)).sum())
        union = int(((guess == c) | (label == c)).sum())
        labeled = int((label == c).sum())
        if union or absent == "zero":
            ious.append(hits / union if union else 0.0)
        if labeled or absent == "zero":
            accuracies.append(hits / labeled if labeled else 0.0)
    return {
        "miou": sum(ious) / len(ious),
        "pixel_accuracy": float((guess == label).mean()),
        "mean_accuracy": sum(accuracies) / len(accuracies),
    }


def depth(prediction, target, valid):
    d, p = target[valid].astype(float), prediction[valid].astype(float)
    images = []
    for pred, label, mask in zip(prediction, target, valid, strict=True):
        if mask.any():
            errors = (pred[mask].astype(float) - label[mask].astype(float)) ** 2
            images.append(math.sqrt(errors.mean()))
    some = d > 0
    d_some, p_some = d[some], np.maximum(p[some], 1e-9)
    ratio = np.maximum(d_some / p_some, p_some / d_some)
    return {
        "rmse": math.sqrt(((d - p) ** 2).mean()),
        "rmse_image_mean": sum(images) / len(images),
        "log_rmse": math.sqrt(((np.log(d_some) - np.log(p_some)) ** 2).mean()),
        "abs_error": np.abs(d - p).mean(),
        "rel_error": (np.abs(d_some - p[some]) / d_some).mean(),
        **{f"delta{k}": (ratio < 1.25**k).mean() for k in (1, 2, 3)},
    }


def angles(prediction, target, valid):
    found = []
    for b, i, j in np.argwhere(valid[:, 0]):
        a = prediction[b, :, i, j].astype(float)
        c = target[b, :, i, j].astype(float)
        cosine = float(a @ c) / math.sqrt(float(a @ a) * float(c @ c))
        found.append(math.degrees(math.acos(min(1.0, max(-1.0, cosine)))))
    return np.array(found)


def normals(prediction, target, valid):
    theta = angles(prediction, target, valid)
    return {
        "mean_angle": theta.mean(),
        "median_angle": np.median(theta),
        "rmse_angle": math.sqrt((theta**2).mean()),
        "within_11_25": (theta < 11.25).mean(),
        "within_22_5": (theta < 22.5).mean(),
        "within_30": (theta < 30).mean(),
    }


def max_miou(prediction, target, valid):
    best = 0.0
    for t in np.linspace(0.2, 0.9, 15):
        ious = []
        for p, y, v in zip(prediction, target, valid, strict=True):
            if v.any():
                on, label = p[v] > t, y[v] > 0.5
                union = (on | label).sum()
                ious.append((on & label).sum() / union if union else 1.0)
        best = max(best, float(np.mean(ious)))
    return best


def max_f_astmt(prediction, target, valid):
    best = 0.0
    for t in np.linspace(0.2, 0.9, 15):
        precisions, recalls = [], []
        for p, y, v in zip(prediction, target, valid, strict=True):
            if v.any():
                on, label = p[v] > t, y[v] > 0.5
                hits = (on & label).sum()
                precisions.append(hits / (on.sum() + 1e-12))
                recalls.append(hits / (label.sum() + 1e-12))
        precision, recall = float(np.mean(precisions)), float(np.mean(recalls))
        if precision + recall:
            best = max(best, 2 * precision * recall / (precision + recall))
    return best
