"""Your own task: the brightness of the light at every pixel."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torchmetrics import MeanMetric, MetricCollection

import taskprism
from taskprism.tasks import DenseTarget, Task


class BrightnessMap(DenseTarget):
    """Label map: float32 in [0, 1], ``(1, H, W)``. Flips and zooms leave the values alone."""


class BrightnessError(MeanMetric):
    """Mean absolute error over all valid pixels."""

    higher_is_better = False

    def update(self, prediction: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> None:
        super().update((prediction - target).abs()[valid])


@taskprism.register_task
@dataclass(frozen=True, kw_only=True)
class Brightness(Task):
    """Brightness in [0, 1]."""

    name: str = "brightness"
    channels: int = 1
    primary_metric: str = "error"

    kind: ClassVar[str] = "brightness"
    target_type: ClassVar[type[DenseTarget]] = BrightnessMap

    def loss(self, output: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        error = (self.decode(output) - target).abs() * valid
        return error.sum() / valid.sum().clamp(min=1)  # exactly 0 if no pixel is valid

    def decode(self, output: torch.Tensor) -> torch.Tensor:
        return output.sigmoid()

    def metrics(self) -> MetricCollection:
        return MetricCollection({"error": BrightnessError()})

    def color(
        self,
        values: torch.Tensor,
        valid: torch.Tensor | None = None,
        reference: torch.Tensor | None = None,
    ) -> np.ndarray:
        gray = (values[0].clamp(0, 1) * 255).byte().cpu().numpy()
        return np.repeat(gray[..., None], 3, axis=-1)


if __name__ == "__main__":
    model = taskprism.create_model("pad_net", [Brightness(), "depth"], backbone="test_resnet")
    images = torch.rand(2, 3, 64, 64)
    outputs = model(model.normalize(images))
    brightness = images.mean(dim=1, keepdim=True)
    valid = torch.ones_like(brightness, dtype=torch.bool)
    loss = model.tasks[0].loss(outputs["brightness"], brightness, valid)
    loss.backward()
    print(f"brightness {tuple(outputs['brightness'].shape)}, loss {loss.item():.3f}")
