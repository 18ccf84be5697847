"""How torchvision's geometric functions move label maps.

Importing this module teaches ``torchvision.transforms.v2`` what to do with a
:class:`~taskprism.tasks.target.DenseTarget`: pixels move by nearest neighbor, and then the
type's own ``after_*`` hook changes the values (a flipped normal looks the other way). Pixels that
come from outside the image are 0, which in a :class:`~taskprism.tasks.target.ValidMask` means "no
label".

Functions whose effect on values is undefined (such as a perspective warp of normals) raise
:class:`~taskprism.errors.InputError`, because torchvision would leave such labels silently as they
are. Color functions leave labels unchanged.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import InterpolationMode, functional

from taskprism.errors import InputError
from taskprism.tasks.target import DenseTarget

UNSUPPORTED = (
    "resized_crop",
    "perspective",
    "elastic",
    "five_crop",
    "ten_crop",
)


def _plain(target: DenseTarget) -> Tensor:
    return target.as_subclass(Tensor)


def _like(values: Tensor, target: DenseTarget) -> DenseTarget:
    return tv_tensors.wrap(values, like=target)


@lru_cache(maxsize=2)
def _sources(
    warp: Callable[[Tensor], Tensor], height: int, width: int
) -> tuple[Tensor, Tensor | None]:
    """Place that each pixel of a warped label map comes from, and those from outside, if any.

    The maps and masks of a sample are all warped in the same way, so this is computed once, by
    warping the numbers of all pixels by nearest neighbor.
    """
    exact = torch.float32 if height * width < 2**24 else torch.float64
    numbers = torch.arange(1, height * width + 1, dtype=exact).reshape(1, height, width)
    found = warp(numbers)[0].long()  # 0: outside
    outside = found == 0
    return found.sub_(1).clamp_(min=0), outside if outside.any() else None


def _warp(values: Tensor, warp: Callable[[Tensor], Tensor]) -> Tensor:
    """Values ``(..., H, W)`` by nearest neighbor; 0 outside."""
    height, width = values.shape[-2:]
    places, outside = _sources(warp, height, width)
    flat = places.flatten()
    # index_select along the last of several dimensions is two to four times slower.
    rows = values.reshape(-1, height * width)
    moved = rows.new_empty(len(rows), len(flat))
    for source, target in zip(rows, moved, strict=True):
        torch.index_select(source, 0, flat, out=target)
    moved = moved.reshape(*values.shape[:-2], *places.shape)
    return moved if outside is None else moved.masked_fill_(outside, 0)


@functional.register_kernel(functional.horizontal_flip, DenseTarget)
def horizontal_flip(target: DenseTarget) -> DenseTarget:
    """Exchange left and right."""
    return _like(target.after_horizontal_flip(_plain(target).flip(-1)), target)


@functional.register_kernel(functional.vertical_flip, DenseTarget)
def vertical_flip(target: DenseTarget) -> DenseTarget:
    """Exchange top and bottom: half a turn, then a horizontal flip."""
    values = target.after_rotation(_plain(target).flip(-2), 180.0)
    return _like(target.after_horizontal_flip(values), target)


@functional.register_kernel(functional.resize, DenseTarget)
def resize(
    target: DenseTarget, size: list[int] | None, max_size: int | None = None, **_: Any
) -> DenseTarget:
    """Sample on another grid; interpolation and antialiasing are ignored.

    ``size`` follows :func:`torchvision.transforms.v2.functional.resize`: ``[h, w]``, or ``[s]`` for
    the shorter side with ``max_size`` as the limit of the longer one.
    """
    old = (target.shape[-2], target.shape[-1])
    height, width = new_size(old, size, max_size)
    if (height, width) == old:
        return target
    values = target.resample(_plain(target), (height, width))
    return _like(target.after_resize(values, height / old[0], width / old[1]), target)


def zoom(target: DenseTarget, size: list[int], factor: float) -> DenseTarget:
    """Enlarge the content and the canvas by ``factor``, to ``size`` (H, W)."""
    values = target.resample(_plain(target), (size[0], size[1]))
    return _like(target.after_zoom(values, factor), target)


def new_size(
    old: tuple[int, int], size: int | list[int] | None, max_size: int | None
) -> tuple[int, int]:
    """``(H, W)`` after torchvision's ``resize``."""
    if isinstance(size, (list, tuple)) and len(size) == 2:
        return int(size[0]), int(size[1])
    # The rule for one side is torchvision's own, so that image and label agree to the pixel.
    probe = functional.resize_image(torch.empty(1, *old), size, InterpolationMode.NEAREST, max_size)
    return probe.shape[-2], probe.shape[-1]


@functional.register_kernel(functional.crop, DenseTarget)
def crop(target: DenseTarget, top: int, left: int, height: int, width: int) -> DenseTarget:
    """Crop; pixels outside the image are 0."""
    return _like(functional.crop_image(_plain(target), top, left, height, width), target)


@functional.register_kernel(functional.center_crop, DenseTarget)
def center_crop(target: DenseTarget, output_size: list[int]) -> DenseTarget:
    """Crop the center; pixels outside the image are 0."""
    return _like(functional.center_crop_image(_plain(target), output_size), target)


@functional.register_kernel(functional.pad, DenseTarget)
def pad(
    target: DenseTarget, padding: list[int], fill: Any = None, padding_mode: str = "constant"
) -> DenseTarget:
    """Add a border of zeros; ``fill`` is ignored, only the mode "constant" is allowed."""
    if padding_mode != "constant":
        raise InputError(
            f"Labels can only be padded with padding_mode='constant', got {padding_mode!r}: "
            "mirrored normals and disparities would be wrong."
        )
    values = functional.pad_image(_plain(target), padding, fill=0)
    return _like(values, target)


def _pair(center: list[float] | None) -> tuple[float, float] | None:
    return None if center is None else (center[0], center[1])


@dataclass(frozen=True)
class _Rotation:
    angle: float
    expand: bool
    center: tuple[float, float] | None

    def __call__(self, values: Tensor) -> Tensor:
        center = None if self.center is None else list(self.center)
        nearest = InterpolationMode.NEAREST
        return functional.rotate_image(values, self.angle, nearest, self.expand, center, fill=0)


@dataclass(frozen=True)
class _Similarity:
    angle: float
    translate: tuple[float, float]
    scale: float
    center: tuple[float, float] | None

    def __call__(self, values: Tensor) -> Tensor:
        return functional.affine_image(
            values,
            self.angle,
            list(self.translate),
            self.scale,
            [0.0, 0.0],
            InterpolationMode.NEAREST,
            fill=0,
            center=None if self.center is None else list(self.center),
        )


@functional.register_kernel(functional.rotate, DenseTarget)
def rotate(
    target: DenseTarget,
    angle: float,
    interpolation: Any = None,
    expand: bool = False,
    center: list[float] | None = None,
    fill: Any = None,
) -> DenseTarget:
    """Rotate counter-clockwise by ``angle`` degrees."""
    values = _warp(_plain(target), _Rotation(angle, expand, _pair(center)))
    return _like(target.after_rotation(values, angle), target)


@functional.register_kernel(functional.affine, DenseTarget)
def affine(
    target: DenseTarget,
    angle: float,
    translate: list[float],
    scale: float,
    shear: list[float],
    interpolation: Any = None,
    fill: Any = None,
    center: list[float] | None = None,
) -> DenseTarget:
    """Rotate clockwise by ``angle`` degrees and zoom by ``scale``; shear is not supported."""
    if any(shear):
        raise InputError(
            "Labels cannot be sheared: the effect of shear on normals is undefined. Use shear=0."
        )
    x, y = translate
    values = _warp(_plain(target), _Similarity(angle, (x, y), scale, _pair(center)))
    return _like(target.after_zoom(target.after_rotation(values, -angle), scale), target)


def _refusal(name: str) -> Callable[..., DenseTarget]:
    def refuse(target: DenseTarget, *_: Any, **__: Any) -> DenseTarget:
        raise InputError(
            f"{type(target).__name__} does not support torchvision's {name!r}: its effect on label "
            "values is undefined. Use flips, zooms, rotations, crops, pads and resizes "
            "(taskprism.data.transforms)."
        )

    return refuse


for _name in UNSUPPORTED:
    functional.register_kernel(getattr(functional, _name), DenseTarget)(_refusal(_name))
