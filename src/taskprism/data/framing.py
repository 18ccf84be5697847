"""Sizes: stretch, crop and pad samples."""

from __future__ import annotations

from typing import Any

import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from taskprism.data import kernels as kernels  # registers the label maps' kernels
from taskprism.errors import InputError


def _size(size: int | tuple[int, int] | list[int]) -> tuple[int, int]:
    height, width = (size, size) if isinstance(size, int) else size
    if height < 1 or width < 1:
        raise InputError(f"A size is (height, width) of at least 1 pixel, got {(height, width)}.")
    return int(height), int(width)


class Resize(v2.Transform):
    """Stretch to ``size`` (H, W); a sample of that size already is returned as it is.

    Images are interpolated bilinearly with antialiasing, labels by each type's ``resample``. Depth
    and normals keep their values (the same view on another grid); disparity scales with the width.
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
    """Cut a random window of ``size`` (H, W); smaller images are padded right and below first.

    Args:
        size: Height and width of the window.
        fill: Color of the padding, in [0, 1].
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
        """Pad and cut one tensor."""
        if any(params["padding"]):
            inpt = self._call_kernel(functional.pad, inpt, params["padding"], fill=self.fill)
        return self._call_kernel(
            functional.crop, inpt, params["top"], params["left"], self.size[0], self.size[1]
        )


class PadToMultiple(v2.Transform):
    """Pad right and below until height and width are multiples of ``multiple``.

    Args:
        multiple: Usually the coarsest stride of the backbone, 32.
        fill: Color of the padding, in [0, 1].
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
