"""Cross-task modules: dictionary of task features -> dictionary of refined task features.

Every module is created as ``Module(tasks, channels, sources=None, ...)``. ``sources`` are the tasks
whose features are read (main and auxiliary tasks), ``tasks`` those whose features are refined. It
maps ``{source: (B, channels, H, W)}`` to ``{task: (B, channels, H, W)}``. Use it alone, or give it
to a model that has a ``distillation`` option. To add a module, write a subclass of
:class:`Distillation`, in any file, and decorate it with :func:`register_distillation`.

>>> import torch
>>> from taskprism.distillation import create_distillation
>>> module = create_distillation("spatial_attention", ["semseg", "depth"], channels=8)
>>> features = {"semseg": torch.rand(1, 8, 6, 5), "depth": torch.rand(1, 8, 6, 5)}
>>> {task: tuple(x.shape) for task, x in module(features).items()}
{'semseg': (1, 8, 6, 5), 'depth': (1, 8, 6, 5)}
"""

from taskprism.distillation.affinity_diffusion import AffinityDiffusion
from taskprism.distillation.base import (
    DISTILLATIONS,
    Distillation,
    create_distillation,
    find_distillation,
    list_distillations,
    register_distillation,
)
from taskprism.distillation.concat import Concat
from taskprism.distillation.ctal import CTAL
from taskprism.distillation.relational_context import RelationalContext
from taskprism.distillation.spatial_attention import SpatialAttention
from taskprism.distillation.tpim import TPIM
from taskprism.distillation.window_attention import WindowAttention
from taskprism.distillation.xtam import XTAM

__all__ = [
    "CTAL",
    "DISTILLATIONS",
    "TPIM",
    "XTAM",
    "AffinityDiffusion",
    "Concat",
    "Distillation",
    "RelationalContext",
    "SpatialAttention",
    "WindowAttention",
    "create_distillation",
    "find_distillation",
    "list_distillations",
    "register_distillation",
]
