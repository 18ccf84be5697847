"""Human part segmentation: which part of a body each pixel shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torchmetrics import MetricCollection

from taskprism.tasks.base import register_task
from taskprism.tasks.semseg import SemanticSegmentation

PASCAL_PARTS = (
    "background",
    "head",
    "torso",
    "upper arm",
    "lower arm",
    "upper leg",
    "lower leg",
)


@register_task
@dataclass(frozen=True, kw_only=True)
class HumanParts(SemanticSegmentation):
    """Segmentation into body parts; class 0 is background.

    Seven channels without names are background and the six parts of PASCAL.

    Attributes:
        skip_empty_images: Leave out images whose valid labels are all background, in loss and
            metrics, as all published numbers on PASCAL do: the IoU of background is over images
            of people only.
    """

    name: str = "human_parts"
    channels: int = 7
    loss_weight: float = 2.0
    skip_empty_images: bool = True

    kind: ClassVar[str] = "human_parts"
    has_background: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.channels == len(PASCAL_PARTS) and not self.class_names:
            object.__setattr__(self, "class_names", PASCAL_PARTS)
        super().__post_init__()

    def loss(self, output: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """Cross-entropy over the images that show a person."""
        return super().loss(output, target, self._counted(target, valid))

    def update_metrics(
        self, metrics: MetricCollection, output: Tensor, target: Tensor, valid: Tensor
    ) -> None:
        """Add the images of a batch that show a person."""
        super().update_metrics(metrics, output, target, self._counted(target, valid))

    def target_statistics(self, target: Tensor, valid: Tensor) -> Tensor:
        """Number of pixels of each class in an image that shows a person, otherwise 0."""
        return super().target_statistics(target, self._counted(target, valid))

    def _counted(self, target: Tensor, valid: Tensor) -> Tensor:
        if not self.skip_empty_images:
            return valid
        return valid & ((target != 0) & valid).any(dim=-1, keepdim=True).any(dim=-2, keepdim=True)
