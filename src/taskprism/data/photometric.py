"""Changes of the image's colors; labels stay as they are."""

from __future__ import annotations

from typing import Any

import torch
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional


def _between(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))


class PhotometricDistortion(v2.Transform):
    """Brightness, contrast, saturation and hue, each with probability ``p`` (ATRC, InvPT).

    In this order: brightness shift, contrast (before or after the two others, at random),
    saturation, hue. The numbers are those of the segmentation toolboxes on 8-bit images, put into
    [0, 1].

    Args:
        brightness: Largest shift, added to all channels.
        contrast: Range of the factor about 0.
        saturation: Range of the factor.
        hue: Largest shift, as a share of the full circle.
        p: Probability of each change.
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
        """Draw each change, None where it is left out."""
        draws = {
            "brightness": _between(-self.brightness, self.brightness),
            "contrast": _between(*self.contrast),
            "saturation": _between(*self.saturation),
            "hue": _between(-self.hue, self.hue),
        }
        kept = {k: v if float(torch.rand(())) < self.p else None for k, v in draws.items()}
        return {**kept, "contrast_first": bool(torch.rand(()) < 0.5)}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Apply one draw to one image ``(..., 3, H, W)`` in [0, 1]."""
        image = inpt.as_subclass(torch.Tensor)
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
        return tv_tensors.wrap(image.clamp(0, 1), like=inpt)
