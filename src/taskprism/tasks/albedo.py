"""Albedo: the color of surfaces without light and shadow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor
from torchmetrics import MetricCollection

from taskprism.metrics.regression import albedo_metrics
from taskprism.tasks.base import Task, register_task
from taskprism.tasks.colors import color_rgb
from taskprism.tasks.diagnostics import PixelError
from taskprism.tasks.target import DenseTarget


class AlbedoMap(DenseTarget):
    """Surface color as images store color: sRGB in [0, 1], float32 ``(..., 3, H, W)``.

    Example:
        >>> from taskprism.tasks import AlbedoMap
        >>> AlbedoMap.zero_is_label
        False
    """

    zero_is_label: ClassVar[bool] = False


@register_task
@dataclass(frozen=True, kw_only=True)
class Albedo(Task):
    """Surface color; the loss is L1 (ASTMT).

    Raises:
        InputError: The number of channels is not 3.

    Example:
        >>> from taskprism.tasks import create_task
        >>> sorted(create_task("albedo").metrics())
        ['abs_error', 'rmse', 'rmse_image_mean']
    """

    name: str = "albedo"
    channels: int = 3
    loss_weight: float = 10.0
    primary_metric: str = "rmse"

    kind: ClassVar[str] = "albedo"
    default_losses: ClassVar[str] = "l1"
    target_type: ClassVar[type[DenseTarget]] = AlbedoMap
    target_channels: ClassVar[int] = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_channels(3)

    def decode(self, output: Tensor) -> Tensor:
        """The output, clipped to [0, 1]."""
        return output.clamp(0, 1)

    def normalize_values(self, values: Tensor) -> Tensor:
        """The colors themselves."""
        return values

    def metrics(self) -> MetricCollection:
        """RMSE and mean absolute error, pooled over all valid pixels, and mean RMSE of images."""
        return albedo_metrics()

    def pixel_errors(self) -> tuple[PixelError, ...]:
        """Mean absolute error of the three channels."""
        return (PixelError("absolute error", AlbedoMap.difference),)

    def color(
        self, values: Tensor, valid: Tensor | None = None, reference: Tensor | None = None
    ) -> np.ndarray:
        """The colors themselves."""
        return color_rgb(values, valid)

    def validate_target(self, target: Tensor, valid: Tensor) -> str | None:
        """Report valid values outside [0, 1]."""
        values = target[valid.expand_as(target)]
        if ((values >= 0) & (values <= 1)).all():
            return None
        low, high = values.min().item(), values.max().item()
        return f"valid values go from {low:g} to {high:g}; they must lie in [0, 1], check the scale"
