"""Metrics of dense prediction: pure functions under thin :class:`torchmetrics.Metric` classes.

The states of metrics are sums over images, so the number of batches and processes does not change
a score. ``update`` takes ``(prediction, target, valid)``, all ``(B, C, H, W)``, with ``valid``
boolean ``(B, 1, H, W)``. Invalid pixels, and images without a valid pixel, add nothing. Without any
valid pixel a score is NaN. Sums are float64. Fractions are in [0, 1], angles in degrees, and
``higher_is_better`` of each class says whether a higher score is better.

Metrics of one family share their state in a :class:`torchmetrics.MetricCollection` (``*_metrics``),
so it is computed once. The groups are declared. If torchmetrics had to find them, it would merge
different metrics after a first batch without a valid pixel.

>>> from taskprism.metrics import gain
>>> results, baseline = {"semseg": 0.44, "depth": 0.57}, {"semseg": 0.40, "depth": 0.60}
>>> round(gain(results, baseline, {"semseg": True, "depth": False}), 2)
7.5

Names that need PyTorch are imported on first use, so that :mod:`.boundaries` starts without it.
``__init__.pyi`` lists them.
"""

import lazy_loader

# Bound here because the function has the name of its module.
from taskprism.metrics.gain import gain as gain

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
