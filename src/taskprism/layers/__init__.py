"""Layers that more than one model uses.

* :func:`basic_block`, :func:`bottleneck`: residual blocks.
* :class:`HighResolutionFusion`, :class:`PanopticFusion`, :func:`create_aggregation`: several maps
  to one.
* :func:`create_head`, :class:`AggregationHead`, :class:`DeepLabHead`, :class:`BottleneckHead`: maps
  to a task's output.
* :class:`InitialHead`: a map to task features and initial prediction.
* :class:`FeaturePropagation`: MTI-Net's step from a coarse scale to the next finer one.
* :class:`TaskSwitch`, :class:`ResidualAdapter`, :class:`AdaptedConvolution`, :class:`Modulation`:
  layers of which every task may have its own (ASTMT).
* :class:`ModuleDict`, :class:`ModuleList`: PyTorch's containers with typed contents.
* :func:`upsampling_tail`: a map doubled by learnt layers.
* :func:`resize`: bilinear to an exact size.
"""

from taskprism.layers.aggregation import (
    Aggregation,
    HighResolutionFusion,
    PanopticFusion,
    create_aggregation,
)
from taskprism.layers.containers import ModuleDict, ModuleList
from taskprism.layers.heads import (
    HEADS,
    AggregationHead,
    BottleneckHead,
    DeepLabHead,
    Head,
    HeadLike,
    create_head,
    list_heads,
    register_head,
)
from taskprism.layers.initial import InitialHead
from taskprism.layers.modulation import (
    AdaptedConvolution,
    Modulation,
    ResidualAdapter,
    TaskSwitch,
)
from taskprism.layers.propagation import FeaturePropagation
from taskprism.layers.residual import basic_block, bottleneck
from taskprism.layers.resize import resize
from taskprism.layers.upsampling import upsampling_tail

__all__ = [
    "HEADS",
    "AdaptedConvolution",
    "Aggregation",
    "AggregationHead",
    "BottleneckHead",
    "DeepLabHead",
    "FeaturePropagation",
    "Head",
    "HeadLike",
    "HighResolutionFusion",
    "InitialHead",
    "Modulation",
    "ModuleDict",
    "ModuleList",
    "PanopticFusion",
    "ResidualAdapter",
    "TaskSwitch",
    "basic_block",
    "bottleneck",
    "create_aggregation",
    "create_head",
    "list_heads",
    "register_head",
    "resize",
    "upsampling_tail",
]
