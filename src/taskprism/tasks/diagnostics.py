"""What tasks tell about their mistakes: errors of pixels, scores of classes, and calibration.

Reports read these, so they work for every task, also for one of yours:
:meth:`Task.pixel_errors <taskprism.tasks.Task.pixel_errors>`,
:meth:`Task.class_scores <taskprism.tasks.Task.class_scores>` and
:meth:`Task.calibration <taskprism.tasks.Task.calibration>`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class PixelError:
    """One way to measure the error of each pixel, for error maps and histograms.

    Attributes:
        name: Such as ``"absolute error"``.
        measure: ``measure(prediction, target)`` of two maps ``(..., C, H, W)`` in the target's
            units; returns ``(..., 1, H, W)`` float, at least 0.
        unit: Such as ``"m"``; empty for plain numbers.
        is_miss: Whether an error is either 0 (right) or 1 (wrong). It has no histogram.

    Example:
        >>> import torch
        >>> from taskprism.tasks import PixelError
        >>> error = PixelError("absolute error", lambda a, b: (a - b).abs(), "m")
        >>> error.measure(torch.full((1, 1, 1), 2.5), torch.full((1, 1, 1), 2.0)).item(), error.unit
        (0.5, 'm')
    """

    name: str
    measure: Callable[[Tensor, Tensor], Tensor]
    unit: str = ""
    is_miss: bool = False


@dataclass(frozen=True, eq=False)
class ClassScores:
    """Scores of each class over a data set.

    Attributes:
        names: One per class.
        values: Name of a score -> ``(classes,)`` float; NaN for a class that does not occur.
        confusion: Pixels by label (rows) and prediction (columns), ``(classes, classes)`` integers,
            or with one more column for predictions that are no class.

    Example:
        >>> import torch
        >>> from taskprism.tasks import ClassScores
        >>> confusion = torch.tensor([[3, 1], [0, 4]])
        >>> recall = confusion.diagonal() / confusion.sum(dim=1)
        >>> ClassScores(("floor", "wall"), {"accuracy": recall}, confusion).values["accuracy"]
        tensor([0.7500, 1.0000])
    """

    names: tuple[str, ...]
    values: Mapping[str, Tensor]
    confusion: Tensor


@dataclass(frozen=True, eq=False)
class Calibration:
    """Probabilities that a prediction states, and how often they came true.

    Attributes:
        stated: Probability of each pixel, ``(B, 1, H, W)`` in [0, 1].
        held: Whether what it was stated for is the case, ``(B, 1, H, W)`` in [0, 1].
        question: What the probability is of, such as ``"the predicted class is right"``.

    Example:
        >>> import torch
        >>> from taskprism.tasks import create_task
        >>> edge, logits = create_task("edge"), torch.zeros(1, 1, 2, 2)
        >>> edge.calibration(logits, torch.ones(1, 1, 2, 2)).stated.unique()
        tensor([0.5000])
    """

    stated: Tensor
    held: Tensor
    question: str
