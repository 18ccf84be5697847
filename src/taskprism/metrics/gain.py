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
        baseline: Task name -> score of its single-task network; may hold further tasks.
        higher_is_better: Task name -> direction of the score.

    Returns:
        Task name -> percent, in the order of ``results``; NaN where a score is NaN.

    Raises:
        InputError: If a baseline or direction is missing, or a baseline is 0.
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
        InputError: As :func:`task_gains`, and if there is no task.
    """
    if not results:
        raise InputError("The gain of no task is not defined; give at least one result.")
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
                f"Task {task!r} has no {what}; there are {', '.join(mapping) or 'none'}. "
                "Add it, or leave the task out of the results."
            )
    base = float(baseline[task])
    if base == 0:
        raise InputError(
            f"The baseline of task {task!r} is 0, so nothing can be relative to it; "
            "take another metric, or a baseline that has learned something."
        )
    sign = 1.0 if higher_is_better[task] else -1.0
    return 100.0 * sign * (float(score) - base) / abs(base)
