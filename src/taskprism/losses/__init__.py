"""Losses of several tasks: the criterion and how it combines them into one loss.

:class:`Criterion` computes the loss of every task from a model's final and initial predictions. A
:class:`Balancing` combines them: :class:`FixedWeights` is the papers' weighted sum, and
:func:`list_balancers` names all others. A :class:`GradientBalancing` combines gradients instead of
losses. All of them work in any training loop. A :class:`ConsistencyLoss` links tasks in images that
lack labels of some.
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
from taskprism.losses.consistency import (
    CONSISTENCY_LOSSES,
    MTPSL,
    ConsistencyLoss,
    create_consistency_loss,
    list_consistency_losses,
    register_consistency_loss,
)
from taskprism.losses.criterion import Criterion, LabelCounts, LossBreakdown
from taskprism.losses.gradient_balancing import (
    GradientBalancing,
    SharedFeatures,
    SharedParameters,
)

__all__ = [
    "BALANCERS",
    "CONSISTENCY_LOSSES",
    "MTPSL",
    "Balancing",
    "ConsistencyLoss",
    "Criterion",
    "FixedWeights",
    "GradientBalancing",
    "LabelCounts",
    "LossBalancing",
    "LossBreakdown",
    "SharedFeatures",
    "SharedParameters",
    "check_weights",
    "create_balancer",
    "create_consistency_loss",
    "list_balancers",
    "list_consistency_losses",
    "register_balancer",
    "register_consistency_loss",
]
