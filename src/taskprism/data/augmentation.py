"""What training images go through, as settings of a data set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from taskprism.data import transforms
from taskprism.data.protocol import Transform

Fit = Literal["stretch", "pad"]


def rename_keys(content: Any, names: Mapping[str, str]) -> Any:
    """A mapping with the keys of older files renamed; a key under its new name wins."""
    if not isinstance(content, Mapping):
        return content
    renamed = {names[key]: value for key, value in content.items() if key in names}
    return renamed | {key: value for key, value in content.items() if key not in names}


class Augmentation(BaseModel):
    """Random changes of training images; the defaults are MTI-Net's on NYUD-v2."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    horizontal_flip: float = Field(0.5, ge=0, le=1, description="probability")
    zoom: tuple[float, ...] = Field(
        (1.0, 1.2, 1.5), min_length=1, description="factors, one is chosen; [1] for none"
    )
    zoom_range: tuple[float, float] | None = Field(
        None, description="factor is uniform in this pair instead (ASTMT: [0.75, 1.25])"
    )
    degrees: float = Field(0.0, ge=0, description="largest rotation either way (ASTMT: 20)")
    color: bool = Field(
        False,
        serialization_alias="colour",  # the spelling that fingerprints were made with
        description="brightness, contrast, saturation and hue",
    )
    border: Literal["ignore", "zero"] = Field(
        "ignore", description="label of pixels from outside: none, or 0 as in the papers' code"
    )

    @model_validator(mode="before")
    @classmethod
    def _old_spelling(cls, value: Any) -> Any:
        return rename_keys(value, {"colour": "color"})

    @field_validator("zoom", "zoom_range")
    @classmethod
    def _positive(cls, value: Any) -> Any:
        if value is not None and min(value) <= 0:
            raise ValueError("zoom factors must be positive")
        return value

    def steps(self) -> list[Transform]:
        """The random part, to follow :func:`fit_to`."""
        steps: list[Transform] = []
        if self.horizontal_flip:
            steps.append(transforms.RandomHorizontalFlip(self.horizontal_flip))
        if self.degrees or self.zoom_range is not None or set(self.zoom) != {1.0}:
            warp = transforms.ScaleRotate(self.degrees, self.zoom, self.zoom_range)
            steps.append(transforms.ZeroBorder(warp) if self.border == "zero" else warp)
        if self.color:
            steps.append(transforms.PhotometricDistortion())
        return steps


def fit_to(size: tuple[int, int], fit: Fit) -> Transform:
    """Bring a sample to ``size``: stretched as in the papers, or padded with its aspect kept."""
    return transforms.Resize(size) if fit == "stretch" else transforms.ResizeAndPad(size)


def training_transform(size: tuple[int, int], fit: Fit, augmentation: Augmentation) -> Transform:
    """Fit first, so that the random part works on few pixels."""
    return transforms.Compose([fit_to(size, fit), *augmentation.steps()])
