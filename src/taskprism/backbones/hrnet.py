"""HRNet, whose branches are the feature maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import timm
import torch.nn.functional as F
from torch import Tensor, nn

from taskprism.backbones.base import Backbone
from taskprism.backbones.layer_groups import LayerGroups, timm_groups
from taskprism.backbones.timm_features import check_name, set_image_statistics
from taskprism.errors import UnknownNameError

Upsampling = Literal["bilinear", "nearest"]


class HRNet(Backbone):
    """The four branches of an HRNet at 1/4, 1/8, 1/16 and 1/32 (Wang et al., 2020).

    Where branches are fused, timm and the ImageNet training upsample by nearest neighbor. The
    multi-task systems (PAD-Net, MTI-Net, CTAL in their released code) fine-tune the same weights
    with bilinear upsampling to the exact size, which accepts any image size. All weights have the
    names of timm, which are the official ones.

    Args:
        name: A timm name that starts with ``hrnet``.
        upsampling: ``"bilinear"`` as in the multi-task systems, or ``"nearest"`` as in timm.
        finest_stride: Stride of the finest map: 4, or 2 to include the map of the stem.
        in_channels: Channels of the images.

    Example:
        >>> from taskprism.backbones import HRNet
        >>> backbone = HRNet("hrnet_w18_small")
        >>> backbone.channels, backbone.strides
        ((16, 32, 64, 128), (4, 8, 16, 32))
    """

    def __init__(
        self,
        name: str,
        upsampling: Upsampling = "bilinear",
        finest_stride: int = 4,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        check_name(name)
        self.name = name
        if upsampling not in get_args(Upsampling):
            raise UnknownNameError("hrnet_upsampling", upsampling, get_args(Upsampling))
        model: Any = timm.create_model(
            name,
            features_only=True,
            feature_location="",
            in_chans=in_channels,
            out_indices=(1, 2, 3, 4) if finest_stride > 2 else (0, 1, 2, 3, 4),
        )
        for stage in (model.stage2, model.stage3, model.stage4):
            for index, module in enumerate(stage):
                stage[index] = ExactFusion(module, upsampling)
        self.model = model
        self.channels = tuple(model.feature_info.channels())
        self.strides = tuple(model.feature_info.reduction())
        set_image_statistics(self, name)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Branches, finest first."""
        return self.model(images)

    def layer_groups(self, coarse: bool = True) -> LayerGroups:
        """Groups as timm defines them for fine-tuning: stages, or modules if not ``coarse``."""
        groups = timm_groups(self.model, self.name, coarse)
        assert groups is not None  # timm defines them for every HRNet
        return [[f"model.{name}" for name in names] for names in groups]


class ExactFusion(nn.Module):
    """A module of HRNet whose branches are resized to the exact size of each other.

    Args:
        module: timm's ``HighResolutionModule``; branches and fusion layers keep their names.
        upsampling: Mode of the interpolation.
    """

    branches: nn.ModuleList
    fuse_layers: nn.ModuleList
    fuse_act: nn.Module

    def __init__(self, module: Any, upsampling: Upsampling) -> None:
        super().__init__()
        self.upsampling = upsampling
        self.branches = module.branches
        self.fuse_layers = module.fuse_layers
        self.fuse_act = module.fuse_act
        for target, sources in enumerate(module.fuse_layers):
            for source in sources[target + 1 :]:
                source[-1] = nn.Identity()  # the upsampling by a factor

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Run every branch, then fuse all into each."""
        maps = [branch(each) for branch, each in zip(self.branches, maps, strict=True)]
        return [
            self.fuse_act(self._fuse(layers, maps, index))
            for index, layers in enumerate(self.fuse_layers)
        ]

    def _fuse(self, layers: Any, maps: Sequence[Tensor], index: int) -> Tensor:
        size = maps[index].shape[-2:]
        corners = False if self.upsampling == "bilinear" else None
        total: Tensor | None = None
        for source, layer in enumerate(layers):
            x = layer(maps[source])
            if source > index:
                x = F.interpolate(x, size=size, mode=self.upsampling, align_corners=corners)
            total = x if total is None else total + x
        assert total is not None
        return total
