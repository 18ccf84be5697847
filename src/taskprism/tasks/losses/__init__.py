"""Losses of dense prediction: registered ones that a task names, and the functions behind them.

========================== ======================= ===============================================
name                       labels                  loss
========================== ======================= ===============================================
``cross_entropy``          classes                 softmax cross-entropy; label smoothing
``focal``                  classes, masks          cross-entropy, less of well-predicted pixels
``dice``                   classes, masks          overlap, per image
``lovasz_softmax``         classes                 surrogate of the mean IoU, per image
``balanced_cross_entropy`` masks                   binary cross-entropy, weighted classes (HED)
``l1``                     values, distances,      mean absolute error
                           directions
``l1_gradient``            distances               L1, and L1 of the gradients of the map (ASTMT)
``berhu``                  values, distances       L1 of small errors, L2 of large ones
``silog``                  distances               scale-invariant error of logarithms
``cosine``                 directions              one minus the cosine of the angle
========================== ======================= ===============================================

The option ``losses`` of a task names one, or several with a weight or with options:

>>> import torch
>>> from taskprism.tasks import create_task
>>> semseg = create_task("semseg", 40, losses={"cross_entropy": 1, "dice": 0.5})
>>> depth = create_task("depth", losses={"silog": {"weight": 2, "variance_focus": 0.85}})
>>> target, valid = torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2, dtype=torch.bool)
>>> l1(target + 0.5, target, valid).item()
0.5

To add a loss, write a subclass of :class:`Loss` in any module and decorate it with
:func:`register_loss`.
"""

from taskprism.tasks.losses.absolute import L1, L1Gradient, l1, l1_gradient, sobel
from taskprism.tasks.losses.balanced_cross_entropy import (
    BalancedCrossEntropy,
    balanced_binary_cross_entropy,
)
from taskprism.tasks.losses.base import (
    LOSSES,
    LabelKind,
    Loss,
    LossTask,
    check_saved_losses,
    list_losses,
    losses_to_config,
    read_losses,
    register_loss,
)
from taskprism.tasks.losses.berhu import BerHu
from taskprism.tasks.losses.classification import CrossEntropy, cross_entropy
from taskprism.tasks.losses.cosine import Cosine
from taskprism.tasks.losses.dice import Dice
from taskprism.tasks.losses.focal import Focal
from taskprism.tasks.losses.lovasz import LovaszSoftmax
from taskprism.tasks.losses.pixels import (
    full_precision,
    hide,
    image_mean,
    masked_mean,
    one_hot,
    unit_vectors,
)
from taskprism.tasks.losses.silog import SILog

__all__ = [
    "L1",
    "LOSSES",
    "BalancedCrossEntropy",
    "BerHu",
    "Cosine",
    "CrossEntropy",
    "Dice",
    "Focal",
    "L1Gradient",
    "LabelKind",
    "Loss",
    "LossTask",
    "LovaszSoftmax",
    "SILog",
    "balanced_binary_cross_entropy",
    "check_saved_losses",
    "cross_entropy",
    "full_precision",
    "hide",
    "image_mean",
    "l1",
    "l1_gradient",
    "list_losses",
    "losses_to_config",
    "masked_mean",
    "one_hot",
    "read_losses",
    "register_loss",
    "sobel",
    "unit_vectors",
]
