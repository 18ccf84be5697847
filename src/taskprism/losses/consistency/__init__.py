"""Losses that link the tasks of an image, for training with partial labels.

A task that is labeled in an image then teaches those that are not. :class:`MTPSL` is the method of
Li, Liu and Bilen (CVPR 2022). The recipe section ``consistency`` adds one to the training of any
model. Your own is a subclass of :class:`ConsistencyLoss`.
"""

from taskprism.losses.consistency.base import (
    CONSISTENCY_LOSSES,
    ConsistencyLoss,
    create_consistency_loss,
    list_consistency_losses,
    register_consistency_loss,
)
from taskprism.losses.consistency.features import EncoderFeatures
from taskprism.losses.consistency.mapping import MappingNetwork
from taskprism.losses.consistency.mtpsl import MTPSL
from taskprism.losses.consistency.views import View, zoomed_view

__all__ = [
    "CONSISTENCY_LOSSES",
    "MTPSL",
    "ConsistencyLoss",
    "EncoderFeatures",
    "MappingNetwork",
    "View",
    "create_consistency_loss",
    "list_consistency_losses",
    "register_consistency_loss",
    "zoomed_view",
]
