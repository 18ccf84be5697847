"""Augmentation of typed samples; everything runs on ``torchvision.transforms.v2``.

A transform takes a :class:`~taskprism.data.sample.Sample` and returns a new one. Image, labels and
validity masks move together; the target type of each task decides how a transform changes
label *values*. ``Compose`` chains transforms. Those of torchvision (``ColorJitter``,
``GaussianBlur``, ``RandomErasing`` ...) can be mixed in, if they change only the image or use the
supported geometry (see :mod:`taskprism.data.kernels`).

Pixels from outside the image carry no label. Wrap a transform in :class:`ZeroBorder` for the
convention of the papers' code, where they are labeled 0 ("background", "no edge").

==========================  ========================================================================
``RandomHorizontalFlip``    horizontal flip
``RandomZoom``              larger about the center on the same canvas; depth divided by the factor
``RandomRotation``          rotation about the center on the same canvas, also of normals
``ScaleRotate``             both at once (ASTMT, MTI-Net)
``RandomRescale``           zoom that resizes the canvas, followed by a crop (ATRC, InvPT)
``RandomCrop``              a random window; small images are padded first
``BalancedCrop``            a random window that no class dominates (ATRC, InvPT)
``PadTo``                   pad to a size, half on each side, without resizing
``Resize``                  stretch to a size
``ResizeAndPad``            keep the aspect ratio, pad the rest
``PadToMultiple``           pad until height and width divide
``ColorJitter``             torchvision's ``ColorJitter``
``PhotometricDistortion``   brightness, contrast, saturation and hue (ATRC, InvPT)
``ColorsOnly``              a change of colors that leaves further channels alone
``ZeroBorder``              the papers' zero fill around any transform
==========================  ========================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import ColorJitter as ColorJitter
from torchvision.transforms.v2 import Compose, InterpolationMode, functional

from taskprism.data import kernels as kernels  # registers the label maps' kernels
from taskprism.data.sample import Sample
from taskprism.errors import InputError
from taskprism.tasks.semseg import ClassMap
from taskprism.tasks.target import DenseTarget, ValidMask


def _size(size: int | tuple[int, int] | list[int]) -> tuple[int, int]:
    height, width = (size, size) if isinstance(size, int) else size
    if height < 1 or width < 1:
        raise InputError(f"A size is (height, width), each at least 1; got {(height, width)}.")
    return int(height), int(width)


class Resize(v2.Transform):
    """Stretch to ``size`` (H, W); a sample of that size is returned unchanged.

    Images are interpolated bilinearly with antialiasing, labels by each type's ``resample``. Depth
    and normals keep their values (the same view on another grid); disparity scales with the width.

    Example:
        >>> Resize((4, 6))(torch.rand(3, 8, 8)).shape
        torch.Size([3, 4, 6])
    """

    def __init__(self, size: int | tuple[int, int] | list[int]) -> None:
        super().__init__()
        self.size = _size(size)

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Resize one tensor."""
        if tuple(inpt.shape[-2:]) == self.size:
            return inpt
        return self._call_kernel(functional.resize, inpt, list(self.size), antialias=True)


class ResizeAndPad(v2.Transform):
    """Fit into ``size`` (H, W) with the aspect ratio kept; the rest, half on each side, is padding.

    Args:
        size: Height and width of the result.
        fill: Color of the padding, in [0, 1].

    Example:
        >>> ResizeAndPad(8)(torch.ones(1, 4, 8))[0, :, 0].tolist()
        [0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0]
    """

    def __init__(self, size: int | tuple[int, int] | list[int], fill: float = 0.0) -> None:
        super().__init__()
        self.size = _size(size)
        self.fill = fill

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Inner size, and padding as left, top, right, bottom."""
        height, width = v2.query_size(flat_inputs)
        scale = min(self.size[0] / height, self.size[1] / width)
        inner = [max(1, round(height * scale)), max(1, round(width * scale))]
        top, left = (self.size[0] - inner[0]) // 2, (self.size[1] - inner[1]) // 2
        right, bottom = self.size[1] - inner[1] - left, self.size[0] - inner[0] - top
        return {"size": inner, "padding": [left, top, right, bottom]}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Resize and pad one tensor."""
        resized = self._call_kernel(functional.resize, inpt, params["size"], antialias=True)
        return self._call_kernel(functional.pad, resized, params["padding"], fill=self.fill)


class RandomCrop(v2.Transform):
    """Crop a random window of ``size`` (H, W); smaller images are padded at right and bottom first.

    Args:
        size: Height and width of the window.
        fill: Color of the padding, in [0, 1].

    Example:
        >>> RandomCrop((4, 6))(torch.rand(3, 8, 8)).shape
        torch.Size([3, 4, 6])
    """

    def __init__(self, size: int | tuple[int, int] | list[int], fill: float = 0.0) -> None:
        super().__init__()
        self.size = _size(size)
        self.fill = fill

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Padding (left, top, right, bottom) and the window's corner."""
        height, width = v2.query_size(flat_inputs)
        down, right = max(0, self.size[0] - height), max(0, self.size[1] - width)
        top = int(torch.randint(height + down - self.size[0] + 1, ()))
        left = int(torch.randint(width + right - self.size[1] + 1, ()))
        return {"padding": [0, 0, right, down], "top": top, "left": left}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Pad and crop one tensor."""
        if any(params["padding"]):
            inpt = self._call_kernel(functional.pad, inpt, params["padding"], fill=self.fill)
        return self._call_kernel(
            functional.crop, inpt, params["top"], params["left"], self.size[0], self.size[1]
        )


class PadToMultiple(v2.Transform):
    """Pad at the right and bottom until height and width are multiples of ``multiple``.

    Args:
        multiple: Usually the coarsest stride of the backbone, 32.
        fill: Color of the padding, in [0, 1].

    Example:
        >>> PadToMultiple(32)(torch.rand(3, 40, 64)).shape
        torch.Size([3, 64, 64])
    """

    def __init__(self, multiple: int = 32, fill: float = 0.0) -> None:
        super().__init__()
        if multiple < 1:
            raise InputError(f"multiple must be at least 1, got {multiple}.")
        self.multiple = multiple
        self.fill = fill

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Padding as left, top, right, bottom."""
        height, width = v2.query_size(flat_inputs)
        return {"padding": [0, 0, -width % self.multiple, -height % self.multiple]}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Pad one tensor."""
        if not any(params["padding"]):
            return inpt
        return self._call_kernel(functional.pad, inpt, params["padding"], fill=self.fill)


Color = float | tuple[float, ...]


class PadTo(v2.Transform):
    """Pad to ``size`` (H, W), half on each side; nothing is resized.

    Args:
        size: Height and width of the result.
        fill: Color of the padding, in [0, 1].

    Raises:
        InputError: On a call, if the sample is larger.

    Example:
        >>> PadTo((3, 4))(torch.ones(1, 1, 4))[0, :, 0].tolist()
        [0.0, 1.0, 0.0]
    """

    def __init__(self, size: tuple[int, int], fill: Color = 0.0) -> None:
        super().__init__()
        self.size = (int(size[0]), int(size[1]))
        self.fill = fill

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Padding as left, top, right, bottom."""
        height, width = v2.query_size(flat_inputs)
        down, right = self.size[0] - height, self.size[1] - width
        if down < 0 or right < 0:
            raise InputError(
                f"An image of {height} x {width} (height x width) cannot be padded to "
                f"{self.size[0]} x {self.size[1]}; give a larger input_size, or an augmentation "
                "that resizes."
            )
        return {"padding": [right // 2, down // 2, right - right // 2, down - down // 2]}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Pad one tensor."""
        if not any(params["padding"]):
            return inpt
        return self._call_kernel(functional.pad, inpt, params["padding"], fill=_as_fill(self.fill))


class BalancedCrop:
    """Random crop that no class dominates.

    A window is drawn again, up to ``tries`` times, while one class has more than ``most`` of its
    labeled pixels, or is the only one. Samples without a class map are cropped once;
    smaller ones are padded at the right and bottom.

    Args:
        size: Height and width of the window.
        most: Largest share of a class.
        tries: Draws before the last one is accepted.
        fill: Color of the padding, in [0, 1].

    Example:
        >>> from taskprism.data import make_sample
        >>> from taskprism.tasks import SemanticSegmentation
        >>> labels = {"semseg": torch.arange(64).reshape(8, 8) // 32}
        >>> tasks = [SemanticSegmentation(channels=2)]
        >>> sample = make_sample("a", torch.rand(3, 8, 8), labels, tasks)
        >>> BalancedCrop((4, 4))(sample)["targets"]["semseg"].shape
        torch.Size([1, 4, 4])
    """

    def __init__(
        self,
        size: tuple[int, int],
        most: float = 0.75,
        tries: int = 10,
        fill: Color = 0.0,
    ) -> None:
        self.crop = RandomCrop(size, fill=_as_fill(fill))
        self.most = most
        self.tries = tries

    def __call__(self, sample: Sample, *others: Any) -> Any:
        """Crop a sample, and with it further tensors of its size."""
        name = next((k for k, v in sample["targets"].items() if isinstance(v, ClassMap)), None)
        inputs: Any = (sample, *others) if others else sample
        leaves = [sample["image"]]
        for _ in range(self.tries):
            params = self.crop.make_params(leaves)
            if name is None or self._balanced(sample, name, params):
                break
        return _apply(self.crop, inputs, params)

    def _balanced(self, sample: Sample, name: str, params: dict[str, Any]) -> bool:
        labels = self.crop.transform(sample["targets"][name], params).as_subclass(Tensor)
        valid = self.crop.transform(sample["valid"][name], params).as_subclass(Tensor)
        counts = torch.bincount(labels[valid])
        return bool((counts > 0).sum() > 1 and counts.max() < self.most * counts.sum())


def _apply(crop: RandomCrop, inputs: Any, params: dict[str, Any]) -> Any:
    """One draw on every tensor in a nest of dictionaries and tuples."""
    if isinstance(inputs, dict):
        return {key: _apply(crop, value, params) for key, value in inputs.items()}
    if isinstance(inputs, tuple):
        return tuple(_apply(crop, value, params) for value in inputs)
    return crop.transform(inputs, params) if isinstance(inputs, Tensor) else inputs


def _as_fill(color: Color) -> Any:
    return list(color) if isinstance(color, tuple) else color


Factors = Sequence[float]


def _uniform(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))


def _choose(values: Factors) -> float:
    return float(values[int(torch.randint(len(values), ()))])


class RandomHorizontalFlip(v2.RandomHorizontalFlip):
    """Flip horizontally with probability ``p``.

    Example:
        >>> RandomHorizontalFlip(1.0)(torch.tensor([[[1.0, 2.0, 3.0]]])).tolist()
        [[[3.0, 2.0, 1.0]]]
    """


class ScaleRotate(v2.Transform):
    """Zoom and rotate about the image center on the same canvas.

    As in the code of ASTMT and MTI-Net: depth is divided by the zoom factor (the scene comes
    nearer), disparity multiplied, normals rotate with the image. Images are interpolated
    bilinearly, labels by nearest neighbor; a thin edge may break where ``factor < 1``.

    Args:
        degrees: Angle is uniform in ``[-degrees, degrees]``, or in the pair given.
        factors: One is chosen, each as likely as the other (MTI-Net on NYUD: 1, 1.2, 1.5).
        factor_range: Factor is uniform in this pair instead (ASTMT: 0.75 to 1.25).
        fill: Color of image pixels that come from outside, in [0, 1].

    Example:
        >>> ScaleRotate(degrees=20, factor_range=(0.75, 1.25))(torch.rand(3, 8, 8)).shape
        torch.Size([3, 8, 8])
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
            angle=-params["angle"],  # torchvision's affine rotates clockwise
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

    Example:
        >>> from taskprism.data import make_sample
        >>> from taskprism.tasks import Depth
        >>> labels = {"depth": torch.full((8, 8), 4.0)}
        >>> sample = make_sample("a", torch.rand(3, 8, 8), labels, [Depth()])
        >>> RandomZoom([2.0])(sample)["targets"]["depth"].unique().tolist()
        [2.0]
    """

    def __init__(
        self,
        factors: Factors = (1.0, 1.2, 1.5),
        factor_range: tuple[float, float] | None = None,
        fill: float = 0.0,
    ) -> None:
        super().__init__(0.0, factors, factor_range, fill)


class RandomRotation(ScaleRotate):
    """Rotate about the center on the same canvas by up to ``degrees`` in either direction.

    Example:
        >>> RandomRotation(10)(torch.rand(3, 8, 8)).shape
        torch.Size([3, 8, 8])
    """

    def __init__(self, degrees: float | tuple[float, float], fill: float = 0.0) -> None:
        super().__init__(degrees, fill=fill)


class RandomRescale(v2.Transform):
    """Zoom that also enlarges or shrinks the canvas; follow it with :class:`RandomCrop`.

    As in ATRC and InvPT (0.5 to 2). Unlike ``Resize``, which samples the same view on another
    grid, this brings the scene nearer: depth is divided by the factor.

    Args:
        factor_range: Factor is uniform in this pair.
        factors: One is chosen instead (MTAN: 1, 1.2, 1.5).

    Example:
        >>> RandomRescale(factors=[1.5])(torch.rand(3, 8, 8)).shape
        torch.Size([3, 12, 12])
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
        """Draw the factor and compute the new size."""
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
    ignore them. A :class:`~taskprism.tasks.target.DenseTarget` decides by
    ``zero_is_label``.

    Args:
        transform: Any transform or ``Compose`` of this module.

    Example:
        >>> from taskprism.data import make_sample
        >>> from taskprism.tasks import Edge
        >>> sample = make_sample("a", torch.rand(3, 8, 8), {"edge": torch.ones(8, 8)}, [Edge()])
        >>> shrink = RandomZoom([0.5])
        >>> shrink(sample)["valid"]["edge"].all(), ZeroBorder(shrink)(sample)["valid"]["edge"].all()
        (tensor(False), tensor(True))
    """

    def __init__(self, transform: Callable[..., Any]) -> None:
        self.transform = transform

    def __call__(self, sample: Sample) -> Sample:
        """Transform, and mark pixels from outside the image as labeled."""
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


class PhotometricDistortion(v2.Transform):
    """Brightness, contrast, saturation and hue, each with probability ``p`` (ATRC, InvPT).

    In this order: brightness shift, contrast (before or after the two others, at random),
    saturation, hue. The numbers are those of the segmentation toolboxes for 8-bit images, scaled to
    [0, 1].

    Args:
        brightness: Largest shift, added to all channels.
        contrast: Range of the factor about 0.
        saturation: Range of the factor.
        hue: Largest shift, as a share of the full circle.
        p: Probability of each change.

    Example:
        >>> image = tv_tensors.Image(torch.rand(3, 8, 8))
        >>> PhotometricDistortion()(image).shape
        torch.Size([3, 8, 8])
    """

    _transformed_types = (tv_tensors.Image,)

    def __init__(
        self,
        brightness: float = 32 / 255,
        contrast: tuple[float, float] = (0.5, 1.5),
        saturation: tuple[float, float] = (0.5, 1.5),
        hue: float = 0.1,  # 18 of the 180 steps of an 8-bit hue
        p: float = 0.5,
    ) -> None:
        super().__init__()
        self.brightness = brightness
        self.contrast = contrast
        self.saturation = saturation
        self.hue = hue
        self.p = p

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw each change, None where it is skipped."""
        draws = {
            "brightness": _uniform(-self.brightness, self.brightness),
            "contrast": _uniform(*self.contrast),
            "saturation": _uniform(*self.saturation),
            "hue": _uniform(-self.hue, self.hue),
        }
        kept = {k: v if float(torch.rand(())) < self.p else None for k, v in draws.items()}
        return {**kept, "contrast_first": bool(torch.rand(()) < 0.5)}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Apply one draw to one image ``(..., 3, H, W)`` in [0, 1]; further channels stay."""
        image, others = inpt.as_subclass(torch.Tensor).split_with_sizes(
            [3, inpt.shape[-3] - 3], dim=-3
        )
        if params["brightness"] is not None:
            image = image + params["brightness"]
        if params["contrast"] is not None and params["contrast_first"]:
            image = image * params["contrast"]
        image = image.clamp(0, 1)
        if params["saturation"] is not None:
            image = functional.adjust_saturation(image, params["saturation"])
        if params["hue"] is not None:
            image = functional.adjust_hue(image, params["hue"])
        if params["contrast"] is not None and not params["contrast_first"]:
            image = image * params["contrast"]
        return tv_tensors.wrap(torch.cat([image.clamp(0, 1), others], dim=-3), like=inpt)


class ColorsOnly:
    """A transform of colors that leaves the channels of an image after red, green and blue alone.

    Args:
        transform: Any transform that changes only the image.

    Example:
        >>> from taskprism.data import make_sample
        >>> sample = make_sample("a", torch.ones(4, 8, 8), {}, [])
        >>> changed = ColorsOnly(ColorJitter(brightness=(0.5, 0.5)))(sample)["image"]
        >>> changed[:, 0, 0].tolist()
        [0.5, 0.5, 0.5, 1.0]
    """

    def __init__(self, transform: Callable[..., Any]) -> None:
        self.transform = transform

    def __call__(self, sample: Sample) -> Sample:
        """Transform the colors."""
        image = sample["image"]
        if image.shape[0] == 3:
            return self.transform(sample)
        pixels = image.as_subclass(Tensor)
        changed = self.transform({**sample, "image": tv_tensors.Image(pixels[:3])})
        both = torch.cat([changed["image"].as_subclass(Tensor), pixels[3:]])
        return {**changed, "image": tv_tensors.wrap(both, like=image)}


__all__ = [
    "BalancedCrop",
    "ColorJitter",
    "ColorsOnly",
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
