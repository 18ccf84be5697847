"""Your own metric, added to a task that exists."""

import torch
from torch import Tensor
from torchmetrics import MeanMetric

import taskprism
from taskprism.tasks import create_task


@taskprism.register_metric("worst_error")
class WorstError(MeanMetric):
    """Mean over images of the largest absolute error of an image."""

    higher_is_better = False

    def update(self, prediction: Tensor, target: Tensor, valid: Tensor) -> None:
        """Add a batch: ``(B, 1, H, W)`` each, ``valid`` boolean."""
        for error, mask in zip((prediction - target).abs(), valid, strict=True):
            if mask.any():
                super().update(error[mask].max())


if __name__ == "__main__":
    depth = create_task("depth", extra_metrics=["worst_error"])
    metrics = depth.metrics()
    prediction = torch.tensor([1.0, 2.0, 4.0, 9.0]).view(1, 1, 2, 2)
    target = torch.tensor([1.0, 2.5, 4.0, 3.0]).view(1, 1, 2, 2)
    valid = torch.tensor([True, True, True, False]).view(1, 1, 2, 2)
    depth.update_metrics(metrics, prediction, target, valid)
    print({name: round(value.item(), 3) for name, value in metrics.compute().items()})
