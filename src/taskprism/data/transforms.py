"""Augmentation of typed samples; everything runs on ``torchvision.transforms.v2``.

A transform takes a :class:`~taskprism.data.sample.Sample` and gives a new one. Image, labels and
validity masks move together; what a move does to label *values* is decided by the target type of
each task. ``Compose`` chains transforms, and torchvision's own (``ColorJitter``, ``GaussianBlur``,
``RandomErasing`` ...) mix in freely as long as they only touch the image or the supported geometry
(see :mod:`taskprism.data.kernels`).

Pixels from outside the image carry no label. Wrap a transform in :class:`ZeroBorder` for the
convention of the papers' code, where they are labeled 0 ("background", "no edge").

==========================  ========================================================================
``RandomHorizontalFlip``    left and right exchanged
``RandomZoom``              larger about the center on the same canvas; depth divided by the factor
``RandomRotation``          turned about the center on the same canvas; normals turn along
``ScaleRotate``             both at once (ASTMT, MTI-Net)
``RandomRescale``           zoom that enlarges the canvas, to be followed by a crop (ATRC, InvPT)
``RandomCrop``              a random window; small images are padded first
``BalancedCrop``            a random window in which no class fills nearly everything (ATRC, InvPT)
``PadTo``                   pad to a size, half on each side, without resizing
``Resize``                  stretch to a size
``ResizeAndPad``            keep the aspect ratio, pad the rest
``PadToMultiple``           pad until height and width divide
``ColorJitter``            torchvision's ``ColorJitter``
``PhotometricDistortion``   brightness, contrast, saturation and hue (ATRC, InvPT)
``ZeroBorder``              the papers' zero fill around any transform
==========================  ========================================================================
"""

from torchvision.transforms.v2 import ColorJitter as ColorJitter
from torchvision.transforms.v2 import Compose

from taskprism.data.framing import PadToMultiple, RandomCrop, Resize, ResizeAndPad
from taskprism.data.geometry import (
    RandomHorizontalFlip,
    RandomRescale,
    RandomRotation,
    RandomZoom,
    ScaleRotate,
    ZeroBorder,
)
from taskprism.data.photometric import PhotometricDistortion
from taskprism.data.windows import BalancedCrop, PadTo

__all__ = [
    "BalancedCrop",
    "ColorJitter",
    "Compose",
    "PadTo",
    "PadToMultiple",
    "PhotometricDistortion",
    "RandomCrop",
    "RandomHorizontalFlip",
    "RandomRescale",
    "RandomRotation",
    "RandomZoom",
    "Resize",
    "ResizeAndPad",
    "ScaleRotate",
    "ZeroBorder",
]
