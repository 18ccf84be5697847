"""Layers that more than one model uses.

* :func:`resize`, :func:`ceil_divide`, :func:`upsampling_tail`: change the size of a map.
* :func:`basic_block`, :func:`bottleneck`: residual blocks.
* :class:`HighResolutionFusion`, :class:`PanopticFusion`, :func:`create_aggregation`: several maps
  to one.
* :class:`InitialHead`: a map to task features and an initial prediction.
* :func:`create_head`, :class:`AggregationHead`, :class:`DeepLabHead`, :class:`BottleneckHead`: maps
  to the output of a task.
* :class:`FeaturePropagation`: MTI-Net's step from a coarse scale to the next finer one.
* :class:`TaskSwitch`, :class:`ResidualAdapter`, :class:`AdaptedConvolution`, :class:`Modulation`:
  layers that can be separate for each task (ASTMT).
* :func:`synchronize_batch_norm`: batch normalization over the images of several processes.
* :class:`ModuleDict`, :class:`ModuleList`: PyTorch's containers with typed contents.
"""

from taskprism.layers.aggregation import (
    Aggregation,
    HighResolutionFusion,
    PanopticFusion,
    create_aggregation,
)
from taskprism.layers.batch_norm import has_batch_norm, synchronize_batch_norm
from taskprism.layers.containers import ModuleDict, ModuleList
from taskprism.layers.heads import (
    HEADS,
    AggregationHead,
    BottleneckHead,
    DeepLabHead,
    Head,
    HeadLike,
    InitialHead,
    create_head,
    list_heads,
    register_head,
)
from taskprism.layers.low_rank import LowRankLinear
from taskprism.layers.modulation import (
    AdaptedConvolution,
    Modulation,
    ResidualAdapter,
    TaskSwitch,
)
from taskprism.layers.propagation import FeaturePropagation
from taskprism.layers.residual import basic_block, bottleneck
from taskprism.layers.resize import ceil_divide, resize, upsampling_tail

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
    "LowRankLinear",
    "Modulation",
    "ModuleDict",
    "ModuleList",
    "PanopticFusion",
    "ResidualAdapter",
    "TaskSwitch",
    "basic_block",
    "bottleneck",
    "ceil_divide",
    "create_aggregation",
    "create_head",
    "has_batch_norm",
    "list_heads",
    "register_head",
    "resize",
    "synchronize_batch_norm",
    "upsampling_tail",
]
