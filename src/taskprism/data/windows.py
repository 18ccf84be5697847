"""Windows as ATRC and InvPT take them: balanced random crops, and central padding."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from taskprism.data import kernels as kernels  # registers the label maps' kernels
from taskprism.data.framing import RandomCrop
from taskprism.data.sample import Sample
from taskprism.errors import InputError
from taskprism.tasks.semseg import ClassMap

Color = float | tuple[float, ...]


class PadTo(v2.Transform):
    """Pad to ``size`` (H, W), half on each side; nothing is resized.

    Args:
        size: Height and width of the result.
        fill: Color of the padding, in [0, 1].

    Raises:
        InputError: On a call, if the sample is larger.
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
        return self._call_kernel(functional.pad, inpt, params["padding"], fill=_fill(self.fill))


class BalancedCrop:
    """Random crop in which no class fills nearly everything.

    A window is drawn again, up to ``tries`` times, while one class has more than ``most`` of its
    labeled pixels, or is the only one. Samples without a class map are cropped as they come;
    smaller ones are padded on the right and below.

    Args:
        size: Height and width of the window.
        most: Largest share of a class.
        tries: Draws before the last one is taken as it is.
        fill: Color of the padding, in [0, 1].
    """

    def __init__(
        self,
        size: tuple[int, int],
        most: float = 0.75,
        tries: int = 10,
        fill: Color = 0.0,
    ) -> None:
        self.crop = RandomCrop(size, fill=_fill(fill))
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


def _fill(color: Color) -> Any:
    return list(color) if isinstance(color, tuple) else color
