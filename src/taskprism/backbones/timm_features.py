"""Any timm model as a backbone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import timm
import torch.nn.functional as F
from timm.layers import Format
from torch import Tensor

from taskprism.backbones.base import BACKBONES, Backbone
from taskprism.backbones.layer_groups import LayerGroups, timm_groups
from taskprism.errors import InputError, UnknownNameError

# With these options, models that are built for one image size accept any; others refuse them.
_ANY_SIZE: list[dict[str, Any]] = [
    {"strict_img_size": False, "dynamic_mask": True},
    {"dynamic_img_size": True},
]
_NO_SWITCH: dict[str, Any] = {}


class TimmFeatures(Backbone):
    """Feature maps of a timm model (Wightman, "PyTorch Image Models"), by default from stride 4 on.

    Images whose size is not a multiple of the coarsest stride are padded with zeros on the right
    and at the bottom, and the maps are cropped to ``ceil(size / stride)``.

    Args:
        name: A name of ``timm.list_models()``, with or without a weights tag.
        output_stride: Coarsest stride, reached by dilation (8 or 16 for DeepLab); by default the
            network is not dilated. Some networks do not support it.
        finest_stride: Stride of the finest map that is returned.
        drop_path_rate: Stochastic depth of the last block, for networks that have it.
        in_channels: Channels of the images.

    Raises:
        UnknownNameError: timm has no such model.
        InputError: timm cannot extract feature maps from it, or not at this output stride.

    Example:
        >>> from taskprism.backbones import TimmFeatures
        >>> TimmFeatures("test_resnet", output_stride=16).strides
        (4, 8, 16, 16)
    """

    def __init__(
        self,
        name: str,
        output_stride: int | None = None,
        finest_stride: int = 4,
        drop_path_rate: float = 0.0,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        check_name(name)
        self.name = name
        options: dict[str, Any] = {}
        if output_stride is not None:
            options["output_stride"] = output_stride
        if drop_path_rate:
            options["drop_path_rate"] = drop_path_rate
        if in_channels != 3:
            options["in_chans"] = in_channels
        self.model, self.only_size = _create(name, options)
        info = self.model.feature_info
        strides, channels = info.reduction(), info.channels()
        # With dilation several maps have the same stride; all are kept, the last is the deepest.
        self.kept = [i for i, stride in enumerate(strides) if stride >= finest_stride]
        if not self.kept:
            raise InputError(
                f"Backbone {name!r} has no feature map at a stride of {finest_stride} or more."
            )
        self.strides = tuple(strides[i] for i in self.kept)
        self.channels = tuple(channels[i] for i in self.kept)
        self.channels_last = getattr(self.model, "output_fmt", Format.NCHW) == Format.NHWC
        set_image_statistics(self, name)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Feature maps, finest first."""
        maps = self.model(self.pad(images))
        kept = [maps[index] for index in self.kept]
        if self.channels_last:
            kept = [each.permute(0, 3, 1, 2) for each in kept]
        return self.crop(kept, images.shape[-2:])

    def layer_groups(self, coarse: bool = True) -> LayerGroups:
        """Groups as timm defines them for fine-tuning: stages, or blocks if not ``coarse``."""
        groups = timm_groups(self.model, self.name, coarse)
        if groups is None:
            return super().layer_groups(coarse)
        return [[f"model.{name}" for name in names] for names in groups]

    def pad(self, images: Tensor) -> Tensor:
        """Pad with zeros to a size that is a multiple of the coarsest stride.

        Raises:
            InputError: The model accepts only images of another size.
        """
        height, width = images.shape[-2:]
        if self.only_size not in (None, (height, width)):
            raise InputError(
                f"Backbone {self.name!r} accepts images of {self.only_size} only, got "
                f"{(height, width)}; resize them, or choose another backbone."
            )
        right, below = -width % max(self.strides), -height % max(self.strides)
        return F.pad(images, (0, right, 0, below)) if right or below else images

    def crop(self, maps: Sequence[Tensor], size: Sequence[int]) -> list[Tensor]:
        """Crop the maps of a padded image to those of an image of ``size``."""
        height, width = size
        return [
            each[:, :, :rows, :columns].contiguous()
            for each, (rows, columns) in zip(maps, self.feature_sizes((height, width)), strict=True)
        ]


def check_name(name: str) -> None:
    """Raise :class:`~taskprism.errors.UnknownNameError` if timm has no model of this name.

    Example:
        >>> from taskprism.backbones.timm_features import check_name
        >>> check_name("resnet18.a1_in1k")
    """
    architecture, dot, _ = name.partition(".")
    if not timm.is_model(architecture):
        raise UnknownNameError("backbone", name, [*BACKBONES, *timm.list_models()])
    tags = timm.list_pretrained(f"{architecture}.*")
    if dot and name not in tags:
        raise UnknownNameError("backbone with a weights tag", name, tags)


def set_image_statistics(backbone: Backbone, name: str) -> None:
    """Set mean and standard deviation of the images that timm's weights expect."""
    config = timm.get_pretrained_cfg(name, allow_unregistered=True)
    if config is not None:
        backbone.image_mean = _three(config.mean)
        backbone.image_std = _three(config.std)


def _create(name: str, options: dict[str, Any]) -> tuple[Any, tuple[int, int] | None]:
    """Feature extractor, and the only image size that it accepts, or None."""
    config = timm.get_pretrained_cfg(name, allow_unregistered=True)
    fixed = config.input_size[1:] if config is not None and config.fixed_input_size else None
    refusal: Exception | None = None
    for switches in [*_ANY_SIZE, _NO_SWITCH] if fixed else [_NO_SWITCH]:
        try:
            model = timm.create_model(name, features_only=True, **options, **switches)
            return model, None if switches else fixed
        except TypeError as error:
            refusal = error
        except (RuntimeError, NotImplementedError, AssertionError) as error:
            refusal = error
            break
    raise InputError(
        f"timm cannot extract feature maps from {name!r}"
        + (f" with {options}" if options else "")
        + f": {refusal}. Choose another backbone (`taskprism list backbones`)."
    ) from refusal


def _three(values: Any) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue
