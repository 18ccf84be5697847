r"""The gain Δm of a multi-task network over single-task ones.

.. math:: \Delta_m = \frac{100}{T} \sum_{t=1}^{T} (-1)^{l_t} \frac{M_t - B_t}{B_t}

with :math:`M_t` the score of task t, :math:`B_t` that of a single-task network on the same
backbone, and :math:`l_t = 1` if a lower score is better (ASTMT, Maninis et al., CVPR 2019, Eq. 4;
MTI-Net, Vandenhende et al., ECCV 2020). Positive is better. (ASTMT's tables print the negated
number as an "average drop".)
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from taskprism.errors import InputError


def task_gains(
    results: Mapping[str, float],
    baseline: Mapping[str, float],
    higher_is_better: Mapping[str, bool],
) -> dict[str, float]:
    """Relative improvement of each task in percent.

    Args:
        results: Task name -> score.
        baseline: Task name -> score of its single-task network; more tasks are allowed.
        higher_is_better: Task name -> whether a higher score is better.

    Returns:
        Task name -> percent, in the order of ``results``; NaN where a score is NaN.

    Raises:
        InputError: A baseline or direction is missing, or a baseline is 0.

    Example:
        >>> gains = task_gains({"depth": 0.57}, {"depth": 0.60}, {"depth": False})
        >>> round(gains["depth"], 2)
        5.0
    """
    return {
        task: _relative(task, score, baseline, higher_is_better) for task, score in results.items()
    }


def gain(
    results: Mapping[str, float],
    baseline: Mapping[str, float],
    higher_is_better: Mapping[str, bool],
) -> float:
    """Δm in percent: the mean of :func:`task_gains`.

    Raises:
        InputError: As for :func:`task_gains`, or there is no task.

    Example:
        >>> round(gain({"semseg": 0.44}, {"semseg": 0.40}, {"semseg": True}), 2)
        10.0
    """
    if not results:
        raise InputError("Δm needs at least one task, but the results are empty.")
    gains = task_gains(results, baseline, higher_is_better)
    return math.fsum(gains.values()) / len(gains)


def _relative(
    task: str,
    score: float,
    baseline: Mapping[str, float],
    higher_is_better: Mapping[str, bool],
) -> float:
    for what, mapping in (
        ("baseline", baseline),
        ("direction (higher_is_better)", higher_is_better),
    ):
        if task not in mapping:
            raise InputError(
                f"Task {task!r} has no {what}. Known: {', '.join(mapping) or 'none'}. Add it, or "
                "leave the task out of the results."
            )
    base = float(baseline[task])
    if base == 0:
        raise InputError(
            f"The baseline of task {task!r} is 0, so a relative gain is not defined. Use another "
            "metric or a better baseline."
        )
    sign = 1.0 if higher_is_better[task] else -1.0
    return 100.0 * sign * (float(score) - base) / abs(base)
