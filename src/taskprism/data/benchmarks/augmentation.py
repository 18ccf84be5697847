"""The papers' augmentations by name, with the transform of test images for each.

Geometry runs at the resolution of the image, followed by the resize, in the papers' order. How a
transform changes label values (depth divided by the zoom factor, normals rotated, disparity
multiplied) is defined by the target types, also where a paper's code does it differently (ASTMT
does not change depth).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from taskprism.data import transforms
from taskprism.data.protocol import Transform
from taskprism.data.transforms import BalancedCrop, PadTo

Size = tuple[int, int]
Border = Literal["ignore", "zero"]
Steps = Callable[[Size, Border], list[Transform]]

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # becomes 0 once the network has normalized the image


@dataclass(frozen=True)
class PaperAugmentation:
    """Transforms of training and test images.

    Attributes:
        summary: One line, with the papers that used it.
        steps: Size and border -> transforms of training images.
        pads: Test images are padded to the input size, half on each side, and never resized;
            otherwise they are stretched.

    Example:
        >>> ASTMT.pads, ATRC.pads
        (False, True)
    """

    summary: str
    steps: Steps
    pads: bool = False

    def train(self, size: Size, border: Border) -> Transform:
        """Random; ends at ``size``."""
        return transforms.Compose(self.steps(size, border))

    def evaluation(self, size: Size) -> Transform:
        """Not random; ends at ``size``."""
        return PadTo(size, IMAGENET_MEAN) if self.pads else transforms.Resize(size)


def _resize(size: Size, border: Border) -> list[Transform]:
    return [transforms.Resize(size)]


def _flip(size: Size, border: Border) -> list[Transform]:
    return [transforms.RandomHorizontalFlip(0.5), transforms.Resize(size)]


def _warp(
    size: Size,
    border: Border,
    degrees: float = 0.0,
    factors: tuple[float, ...] = (1.0,),
    factor_range: tuple[float, float] | None = None,
) -> list[Transform]:
    warp: Transform = transforms.ScaleRotate(degrees, factors, factor_range)
    if border == "zero":
        warp = transforms.ZeroBorder(warp)
    return [transforms.RandomHorizontalFlip(0.5), warp, transforms.Resize(size)]


def _window(size: Size, border: Border) -> list[Transform]:
    return [
        transforms.Resize(size),
        transforms.RandomRescale(factors=(1.0, 1.2, 1.5)),
        transforms.RandomCrop(size),
        transforms.RandomHorizontalFlip(0.5),
    ]


def _rescale_and_crop(size: Size, border: Border) -> list[Transform]:
    crop: Transform = BalancedCrop(size, fill=IMAGENET_MEAN)
    if border == "zero":
        crop = transforms.ZeroBorder(crop)
    return [
        transforms.RandomRescale((0.5, 2.0)),
        crop,
        transforms.RandomHorizontalFlip(0.5),
        transforms.PhotometricDistortion(),
    ]


NONE = PaperAugmentation("resize only", _resize)
CTAL = PaperAugmentation("horizontal flip (CTAL)", _flip)
ASTMT = PaperAugmentation(
    "flip, rotation to 20 degrees, zoom 0.75 to 1.25, resize (ASTMT; MTI-Net on PASCAL-Context)",
    partial(_warp, degrees=20.0, factor_range=(0.75, 1.25)),
)
MTI_NET = PaperAugmentation(
    "flip, zoom by 1, 1.2 or 1.5, resize (MTI-Net and TPIM on NYUD-v2)",
    partial(_warp, factors=(1.0, 1.2, 1.5)),
)
MTAN = PaperAugmentation("random window zoomed by 1, 1.2 or 1.5, flip (MTAN, LibMTL)", _window)
ATRC = PaperAugmentation(
    "rescale by 0.5 to 2, balanced crop, flip, photometric distortion; tests padded (ATRC, InvPT)",
    _rescale_and_crop,
    pads=True,
)
