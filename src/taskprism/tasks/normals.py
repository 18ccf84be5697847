"""Surface normals: the direction that the surface at each pixel faces."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torchmetrics import MetricCollection

from taskprism.metrics.normals import normals_metrics
from taskprism.tasks import losses
from taskprism.tasks.base import CATEGORIES, Task, register_task
from taskprism.tasks.colors import DirectionBall, Legend, color_rgb, direction_ball
from taskprism.tasks.diagnostics import PixelError
from taskprism.tasks.statistics import LabelStatistics
from taskprism.tasks.storage import Storage
from taskprism.tasks.target import DenseTarget

LENGTH_TOLERANCE = 0.05  # what 8-bit storage and interpolation may do to a unit vector


class NormalMap(DenseTarget):
    """Unit vectors, float32 ``(..., 3, H, W)``: x right, y up, z toward the camera.

    A visible surface faces the camera, so z > 0. Readers convert other conventions to this one.

    Example:
        >>> import torch
        >>> from taskprism.tasks import NormalMap
        >>> right = torch.tensor([1.0, 0.0, 0.0]).view(3, 1, 1)
        >>> NormalMap.after_horizontal_flip(right).flatten().tolist()
        [-1.0, 0.0, 0.0]
    """

    zero_is_label: ClassVar[bool] = False
    is_direction: ClassVar[bool] = True
    similar_within: ClassVar[float] = 15.0

    @classmethod
    def after_horizontal_flip(cls, values: Tensor) -> Tensor:
        """Negate x."""
        x, y, z = values.unbind(dim=-3)
        return torch.stack([-x, y, z], dim=-3)

    @classmethod
    def after_rotation(cls, values: Tensor, degrees: float) -> Tensor:
        """Rotate x and y counter-clockwise, as the picture is rotated."""
        cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        x, y, z = values.unbind(dim=-3)
        return torch.stack([cosine * x - sine * y, sine * x + cosine * y, z], dim=-3)

    @classmethod
    def difference(cls, first: Tensor, second: Tensor) -> Tensor:
        """Angle between both in degrees."""
        # atan2 is precise at small angles, where the cosine alone is not.
        across = torch.linalg.vector_norm(torch.cross(first, second, dim=-3), dim=-3, keepdim=True)
        along = (first * second).sum(dim=-3, keepdim=True)
        return torch.rad2deg(torch.atan2(across, along))


def mean_direction(logits: Tensor) -> Tensor:
    """Mean of ``CATEGORIES`` fixed directions, weighted by the class probabilities.

    The directions are spread evenly over the half sphere z > 0, the directions that visible
    surfaces can face (a spiral of golden angles, at equal steps in z).

    Args:
        logits: Class logits ``(B, CATEGORIES, H, W)``.

    Returns:
        ``(B, 3, H, W)``, not of unit length.

    Example:
        >>> import torch
        >>> mean = mean_direction(torch.zeros(1, 40, 1, 1))  # no class is preferred
        >>> round(mean[0, 2].item(), 3)
        0.5
    """
    places = torch.arange(CATEGORIES, device=logits.device, dtype=logits.dtype) + 0.5
    z = places / CATEGORIES
    angle = places * math.pi * (3 - math.sqrt(5))
    radius = (1 - z * z).sqrt()
    directions = torch.stack([radius * angle.cos(), radius * angle.sin(), z])
    return torch.einsum("dn,bnhw->bdhw", directions, logits.softmax(dim=1))


@register_task
@dataclass(frozen=True, kw_only=True)
class Normals(Task):
    """Surface normals: the direction of the output counts, its length does not.

    Attributes:
        losses: ``"l1"`` between unit vectors (MTI-Net) by default, or ``"cosine"`` (MTAN).

    Raises:
        InputError: The number of channels is not 3.
        UnknownNameError: There is no such loss.

    Example:
        >>> import torch
        >>> from taskprism.tasks import create_task
        >>> output = torch.tensor([0.0, 3.0, 4.0]).view(1, 3, 1, 1)
        >>> [round(value, 2) for value in create_task("normals").decode(output).flatten().tolist()]
        [0.0, 0.6, 0.8]
    """

    name: str = "normals"
    channels: int = 3
    loss_weight: float = 10.0
    primary_metric: str = "mean_angle"

    kind: ClassVar[str] = "normals"
    target_type: ClassVar[type[DenseTarget]] = NormalMap
    label_kind: ClassVar[losses.LabelKind] = "direction"
    default_losses: ClassVar[str] = "l1"
    target_channels: ClassVar[int] = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_channels(3)

    def loss_inputs(self, output: Tensor, target: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Unit vectors of the output, and the target."""
        return losses.unit_vectors(losses.hide(output, valid)), target

    def decode(self, output: Tensor) -> Tensor:
        """Unit vectors; an output of zero length stays zero."""
        return losses.unit_vectors(losses.full_precision(output))

    def normalize_values(self, values: Tensor) -> Tensor:
        """Components from [-1, 1] to [0, 1]; no direction becomes 0.5."""
        return (values + 1) / 2

    @property
    def storage(self) -> Storage:
        """8-bit colors, at most 0.4 degrees from the value; black where there is no label."""
        return Storage(missing=0, scale="2/255", offset=-1.0)

    @property
    def categories(self) -> int:
        """Number of fixed directions on the half sphere toward the camera."""
        return CATEGORIES

    def from_categories(self, logits: Tensor) -> Tensor:
        """Mean of fixed directions, see :func:`mean_direction`."""
        return mean_direction(logits)

    def doubts(self, labels: LabelStatistics) -> list[str]:
        """Report normals that point away from the camera, and floors that face down."""
        found = []
        if labels.labeled and (toward := labels.mean[2].item()) <= 0:
            found.append(
                f"the mean z is {toward:.2f}, away from the camera. The stored z axis is "
                f"'forward', not 'toward': change tasks.{self.name}.encoding.axes"
            )
        if labels.ground_pixels:
            up = (labels.ground[1] / labels.ground_pixels).item()
            if up <= 0:
                found.append(
                    f"floors face down (mean n_y = {up:.2f}). The stored y axis is 'down', not "
                    f"'up': change tasks.{self.name}.encoding.axes"
                )
        return found

    def metrics(self) -> MetricCollection:
        """Mean, median and RMSE of the angle in degrees; fractions within 11.25, 22.5 and 30."""
        return normals_metrics()

    def pixel_errors(self) -> tuple[PixelError, ...]:
        """Angle between prediction and label."""
        return (PixelError("angle", NormalMap.difference, "°"),)

    def color(
        self, values: Tensor, valid: Tensor | None = None, reference: Tensor | None = None
    ) -> np.ndarray:
        """Red is x, green y, blue z, each from -1 (0) to 1 (255)."""
        return color_rgb((values + 1) / 2, valid)

    def legend(self, values: Tensor, valid: Tensor | None = None) -> Legend | None:
        """A ball, colored by its normals."""
        normals, inside = direction_ball()
        picture = self.color(torch.from_numpy(normals), torch.from_numpy(inside)[None])
        return DirectionBall(picture, inside, axes=("x right", "y up", "z to camera"))

    def validate_target(self, target: Tensor, valid: Tensor) -> str | None:
        """Report valid vectors that do not have unit length."""
        lengths = torch.linalg.vector_norm(target, dim=-3, keepdim=True)[valid]
        wrong = ~((lengths - 1).abs() <= LENGTH_TOLERANCE)  # also true for NaN
        if not wrong.any():
            return None
        return (
            f"{int(wrong.sum())} valid normals are not unit vectors (lengths "
            f"{lengths.min().item():.3g} to {lengths.max().item():.3g}); check scale and offset, "
            "or mark them invalid"
        )
