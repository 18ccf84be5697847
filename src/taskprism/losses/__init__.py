"""How the losses of several tasks become one number to descend on.

A :class:`Balancing` sees the loss of every task, each already summed over its final and initial
predictions, and returns the total. :class:`FixedWeights` is the papers' weighted sum.
"""

from taskprism.losses.balancing import Balancing
from taskprism.losses.fixed import FixedWeights

__all__ = ["Balancing", "FixedWeights"]
