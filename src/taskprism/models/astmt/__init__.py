"""Attentive Single-Tasking of Multiple Tasks (Maninis et al., CVPR 2019).

``model`` is the network with all tasks, ``single_task`` has one network per task, and ``decoders``
holds the decoders of both: DeepLab-v3+, Panoptic FPN and UberNet.
"""

from taskprism.models.astmt.model import ASTMT
from taskprism.models.astmt.single_task import ASTMTSingleTask

__all__ = ["ASTMT", "ASTMTSingleTask"]
