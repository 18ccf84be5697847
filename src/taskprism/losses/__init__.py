"""Losses of several tasks: the criterion and how it combines them into one loss.

:class:`Criterion` computes the loss of every task from a model's final and initial predictions. A
:class:`Balancing` combines them: :class:`FixedWeights` is the papers' weighted sum. Both work in
any training loop.
"""

from taskprism.losses.balancing import (
    BALANCERS,
    Balancing,
    FixedWeights,
    LossBalancing,
    check_weights,
    create_balancer,
    list_balancers,
    register_balancer,
)
from taskprism.losses.criterion import Criterion, LossBreakdown
from taskprism.losses.gradient_balancing import (
    GradientBalancing,
    SharedFeatures,
    SharedParameters,
)

__all__ = [
    "BALANCERS",
    "Balancing",
    "Criterion",
    "FixedWeights",
    "GradientBalancing",
    "LossBalancing",
    "LossBreakdown",
    "SharedFeatures",
    "SharedParameters",
    "check_weights",
    "create_balancer",
    "list_balancers",
    "register_balancer",
]
