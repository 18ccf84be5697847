"""Attentive Single-Tasking of Multiple Tasks (Maninis et al., CVPR 2019).

``model`` is the network, ``single_task`` the single-task networks of its tables; the decoders are
``decoder`` (DeepLab-v3+), ``pyramid`` (Panoptic FPN) and ``uber`` (UberNet).
"""

from taskprism.models.astmt.model import ASTMT
from taskprism.models.astmt.single_task import ASTMTSingleTask

__all__ = ["ASTMT", "ASTMTSingleTask"]
