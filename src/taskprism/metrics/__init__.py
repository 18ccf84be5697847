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

What needs PyTorch is imported on first use, so that :mod:`.boundaries` starts without it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from taskprism.metrics.gain import gain, task_gains

if TYPE_CHECKING:
    from taskprism.metrics.albedo import (
        AlbedoAbsoluteError,
        AlbedoImageRmse,
        AlbedoRmse,
        albedo_metrics,
    )
    from taskprism.metrics.base import (
        METRICS,
        DenseMetric,
        create_metric,
        list_metrics,
        register_metric,
    )
    from taskprism.metrics.depth import (
        DepthAbsoluteError,
        DepthDelta,
        DepthImageRmse,
        DepthLogRmse,
        DepthRelativeError,
        DepthRmse,
        depth_metrics,
    )
    from taskprism.metrics.edge import EdgeLoss, edge_metrics
    from taskprism.metrics.normals import (
        MeanAngle,
        MedianAngle,
        RmseAngle,
        WithinAngle,
        normals_metrics,
    )
    from taskprism.metrics.saliency import ImageMaxF, MaxF, MaxIoU, max_f, saliency_metrics
    from taskprism.metrics.segmentation import (
        MeanAccuracy,
        MeanIoU,
        PixelAccuracy,
        segmentation_metrics,
    )

__all__ = [
    "METRICS",
    "AlbedoAbsoluteError",
    "AlbedoImageRmse",
    "AlbedoRmse",
    "DenseMetric",
    "DepthAbsoluteError",
    "DepthDelta",
    "DepthImageRmse",
    "DepthLogRmse",
    "DepthRelativeError",
    "DepthRmse",
    "EdgeLoss",
    "ImageMaxF",
    "MaxF",
    "MaxIoU",
    "MeanAccuracy",
    "MeanAngle",
    "MeanIoU",
    "MedianAngle",
    "PixelAccuracy",
    "RmseAngle",
    "WithinAngle",
    "albedo_metrics",
    "create_metric",
    "depth_metrics",
    "edge_metrics",
    "gain",
    "list_metrics",
    "max_f",
    "normals_metrics",
    "register_metric",
    "saliency_metrics",
    "segmentation_metrics",
    "task_gains",
]

_HOMES = {
    "METRICS": "base",
    "DenseMetric": "base",
    "create_metric": "base",
    "list_metrics": "base",
    "register_metric": "base",
    "AlbedoAbsoluteError": "albedo",
    "AlbedoImageRmse": "albedo",
    "AlbedoRmse": "albedo",
    "DepthAbsoluteError": "depth",
    "DepthDelta": "depth",
    "DepthImageRmse": "depth",
    "DepthLogRmse": "depth",
    "DepthRelativeError": "depth",
    "DepthRmse": "depth",
    "EdgeLoss": "edge",
    "ImageMaxF": "saliency",
    "MaxF": "saliency",
    "MaxIoU": "saliency",
    "MeanAccuracy": "segmentation",
    "MeanAngle": "normals",
    "MeanIoU": "segmentation",
    "MedianAngle": "normals",
    "PixelAccuracy": "segmentation",
    "RmseAngle": "normals",
    "WithinAngle": "normals",
    "albedo_metrics": "albedo",
    "depth_metrics": "depth",
    "edge_metrics": "edge",
    "max_f": "saliency",
    "normals_metrics": "normals",
    "saliency_metrics": "saliency",
    "segmentation_metrics": "segmentation",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"taskprism.metrics.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'taskprism.metrics' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
