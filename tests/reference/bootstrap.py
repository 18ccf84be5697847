"""Paired bootstrap of Δm, one draw and one image at a time."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np

Images = Sequence[np.ndarray]  # one confusion matrix, or (squared error, pixels), per image


def mean_iou(images: Images) -> float:
    """Mean IoU of classes that occur, from confusion matrices ``(classes, classes + 1)``."""
    confusion = np.zeros(images[0].shape)
    for image in images:
        confusion = confusion + image
    found = []
    for k in range(len(confusion)):
        union = confusion[k].sum() + confusion[:, k].sum() - confusion[k, k]
        if union > 0:
            found.append(confusion[k, k] / union)
    return sum(found) / len(found)


def pooled_rmse(images: Images) -> float:
    """Root of the mean squared error over all pixels."""
    return (sum(i[0] for i in images) / sum(i[1] for i in images)) ** 0.5


SCORES = {"miou": (mean_iou, 1), "rmse": (pooled_rmse, -1)}


def gain_draws(
    method: list[dict[str, Images]],
    baseline: list[dict[str, Images]],
    samples: int,
    seed: int = 0,
    paired: bool = True,
    over: str = "images and seeds",
) -> list[float]:
    """Δm of resampled images and seeds.

    Args:
        method: Metric -> images, one dictionary per seed.
        baseline: The same for the baseline.
        samples: Number of draws.
        seed: Seed of the draws.
        paired: The seeds of both sides are drawn in pairs.
        over: What is drawn; the other is not resampled.
    """
    dice = random.Random(seed)
    (count,) = {len(images) for run in [*method, *baseline] for images in run.values()}
    found = []
    for _ in range(samples):
        images = _draw(dice, count, count) if "images" in over else list(range(count))
        ours, *others = (
            _draw(dice, len(runs), max(len(runs) - 1, 1)) if "seeds" in over else range(len(runs))
            for runs in (method, *(baseline for _ in baseline[0]))
        )
        theirs = dict(zip(baseline[0], others, strict=True))
        gains = []
        for s in ours:
            parts = []
            for metric in method[0]:
                score, sign = SCORES[metric]
                value = score([method[s][metric][i] for i in images])
                rivals = [s] if paired else theirs[metric]
                references = [score([baseline[r][metric][i] for i in images]) for r in rivals]
                reference = sum(references) / len(references)
                parts.append(100 * sign * (value - reference) / reference)
            gains.append(sum(parts) / len(parts))
        found.append(sum(gains) / len(gains))
    return found


def _draw(dice: random.Random, count: int, times: int) -> list[int]:
    return [dice.randrange(count) for _ in range(times)]
