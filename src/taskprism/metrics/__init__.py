"""Metrics of dense prediction: pure functions under thin :class:`torchmetrics.Metric` classes.

Every metric adds up numbers that are sums over images, so that many batches, or several processes,
give the same as one. ``update`` takes ``(prediction, target, valid)``, all ``(B, C, H, W)``, with
``valid`` boolean ``(B, 1, H, W)``; invalid pixels and images without a valid one add nothing, and a
metric that never saw a valid pixel is NaN. Sums are float64. Fractions lie in [0, 1], angles are in
degrees, and each class says in ``higher_is_better`` which way is up.

Metrics of one family share their state in a :class:`torchmetrics.MetricCollection` (``*_metrics``),
so that it is computed once. The groups are declared, not found by torchmetrics, which would take
two metrics for one if their first batch has no valid pixel.

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
