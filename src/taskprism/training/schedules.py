"""Learning rate over the epochs, as pure functions of the position in the run.

Nothing here has a state, so a resumed run finds the same rate as one that never stopped.
"""

from __future__ import annotations

import math

from taskprism.recipes.schema import ScheduleSettings


def learning_rate_factor(
    settings: ScheduleSettings, epochs: int, epoch: int, step: int, steps: int
) -> float:
    """Factor in [0, 1] on the recipe's learning rate.

    The shape steps once per epoch, as in the papers' training code; the warm-up steps per batch
    and multiplies it.

    ==================  ============================================================
    constant            1
    poly                ``(1 - epoch / epochs) ** power``
    cosine              ``(1 + cos(pi * epoch / epochs)) / 2``
    cosine_restarts     ``(1 + cos(pi * t / T)) / 2``, ``t`` epochs into a cycle of ``T``
                        (SGDR, Loshchilov and Hutter, 2017)
    warm-up             ``min(1, (epoch + (step + 1) / steps) / warmup_epochs)``
    ==================  ============================================================

    Args:
        settings: Shape and its parameters.
        epochs: Length of the run.
        epoch: Current epoch, from 0.
        step: Current optimizer step within the epoch, from 0.
        steps: Optimizer steps per epoch.
    """
    match settings.name:
        case "constant":
            shape = 1.0
        case "poly":
            shape = (1 - epoch / epochs) ** settings.power
        case "cosine":
            shape = _half_cosine(epoch / epochs)
        case "cosine_restarts":
            shape = _half_cosine(_cycle_position(epoch, settings.period, settings.period_factor))
    if settings.warmup_epochs > 0:
        shape *= min(1.0, (epoch + (step + 1) / steps) / settings.warmup_epochs)
    return shape


def _half_cosine(position: float) -> float:
    return (1 + math.cos(math.pi * position)) / 2


def _cycle_position(epoch: float, period: float, factor: float) -> float:
    """How far into its cycle an epoch is, in [0, 1)."""
    while epoch >= period:
        epoch -= period
        period *= factor
    return epoch / period
