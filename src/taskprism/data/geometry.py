"""Flips, zooms and rotations of samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import InterpolationMode, functional

from taskprism.data import kernels
from taskprism.data.sample import Sample
from taskprism.errors import InputError
from taskprism.tasks.target import DenseTarget, ValidMask

Factors = Sequence[float]


def _uniform(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))


def _choose(values: Factors) -> float:
    return float(values[int(torch.randint(len(values), ()))])


class RandomHorizontalFlip(v2.RandomHorizontalFlip):
    """Exchange left and right with probability ``p``."""


class ScaleRotate(v2.Transform):
    """Zoom and turn about the image center on the same canvas.

    As in the code of ASTMT and MTI-Net: depth is divided by the zoom factor (the scene comes
    nearer), disparity multiplied, normals turn with the image. Images are interpolated bilinearly,
    labels by nearest neighbor; a thin edge may break where ``factor < 1``.

    Args:
        degrees: Angle is uniform in ``[-degrees, degrees]``, or in the pair given.
        factors: One is chosen, each as likely as the other (MTI-Net on NYUD: 1, 1.2, 1.5).
        factor_range: Factor is uniform in this pair instead (ASTMT: 0.75 to 1.25).
        fill: Color of image pixels that come from outside, in [0, 1].
    """

    def __init__(
        self,
        degrees: float | tuple[float, float] = 0.0,
        factors: Factors = (1.0,),
        factor_range: tuple[float, float] | None = None,
        fill: float = 0.0,
    ) -> None:
        super().__init__()
        self.degrees = (-degrees, degrees) if isinstance(degrees, (int, float)) else degrees
        self.factors = tuple(factors)
        self.factor_range = factor_range
        self.fill = fill
        all_factors = self.factor_range if self.factor_range is not None else self.factors
        if not all_factors or min(all_factors) <= 0:
            raise InputError(f"Zoom factors must be positive, got {list(all_factors)}.")

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw angle (counter-clockwise degrees) and factor."""
        angle = _uniform(*self.degrees)
        factor = (
            _choose(self.factors) if self.factor_range is None else _uniform(*self.factor_range)
        )
        return {"angle": angle, "factor": factor}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Apply one draw to one tensor."""
        if params["angle"] == 0 and params["factor"] == 1:
            return inpt
        return self._call_kernel(
            functional.affine,
            inpt,
            angle=-params["angle"],  # torchvision's affine turns clockwise
            translate=[0, 0],
            scale=params["factor"],
            shear=[0.0, 0.0],
            interpolation=InterpolationMode.BILINEAR,
            fill=self.fill,
        )


class RandomZoom(ScaleRotate):
    """Zoom about the center on the same canvas: ``RandomZoom([1, 1.2, 1.5])``.

    Args:
        factors: One is chosen.
        factor_range: Factor is uniform in this pair instead.
        fill: Color of image pixels that come from outside, in [0, 1].
    """

    def __init__(
        self,
        factors: Factors = (1.0, 1.2, 1.5),
        factor_range: tuple[float, float] | None = None,
        fill: float = 0.0,
    ) -> None:
        super().__init__(0.0, factors, factor_range, fill)


class RandomRotation(ScaleRotate):
    """Turn about the center on the same canvas by up to ``degrees`` either way."""

    def __init__(self, degrees: float | tuple[float, float], fill: float = 0.0) -> None:
        super().__init__(degrees, fill=fill)


class RandomRescale(v2.Transform):
    """Zoom that enlarges or shrinks the canvas too; follow it with :class:`RandomCrop`.

    As in ATRC and InvPT (0.5 to 2). Unlike ``Resize``, which samples the same view on another
    grid, this brings the scene nearer: depth is divided by the factor.

    Args:
        factor_range: Factor is uniform in this pair.
        factors: One is chosen instead (MTAN: 1, 1.2, 1.5).
    """

    def __init__(
        self, factor_range: tuple[float, float] = (0.5, 2.0), factors: Factors | None = None
    ) -> None:
        super().__init__()
        all_factors = factor_range if factors is None else tuple(factors)
        if not all_factors or min(all_factors) <= 0:
            raise InputError(f"Zoom factors must be positive, got {list(all_factors)}.")
        self.factor_range = factor_range
        self.factors = None if factors is None else tuple(factors)

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw the factor and the size that it gives."""
        height, width = v2.query_size(flat_inputs)
        factor = _uniform(*self.factor_range) if self.factors is None else _choose(self.factors)
        size = [max(1, round(height * factor)), max(1, round(width * factor))]
        return {"factor": factor, "size": size}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Apply one draw to one tensor."""
        if isinstance(inpt, DenseTarget):
            return kernels.zoom(inpt, params["size"], params["factor"])
        return self._call_kernel(functional.resize, inpt, params["size"], antialias=True)


class ZeroBorder:
    """Label pixels from outside the image as 0 where 0 is a label, as the papers' code does.

    By default such pixels carry no label. In the code of ASTMT and MTI-Net a warp fills them with
    0, which is then trained on as "background", "no edge" or "not salient", while depth and normals
    ignore them. A :class:`~taskprism.tasks.target.DenseTarget` says which it is by
    ``zero_is_label``.

    Args:
        transform: Any transform or ``Compose`` of this module.
    """

    def __init__(self, transform: Callable[..., Any]) -> None:
        self.transform = transform

    def __call__(self, sample: Sample) -> Sample:
        """Transform, and mark what came from outside as labeled."""
        height, width = sample["image"].shape[-2:]
        inside = ValidMask(torch.ones(1, height, width, dtype=torch.bool))
        moved, inside = self.transform(sample, inside)
        outside = ~inside.as_subclass(Tensor)
        for name, target in moved["targets"].items():
            if target.zero_is_label:
                valid = moved["valid"][name]
                moved["valid"][name] = tv_tensors.wrap(
                    valid.as_subclass(Tensor) | outside, like=valid
                )
        return moved
