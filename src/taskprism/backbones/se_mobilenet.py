"""MobileNetV2 with squeeze-and-excitation and batch norms that may exist once per task."""

from __future__ import annotations

import re
from typing import ClassVar

from torch import Tensor, nn

from taskprism.backbones.modulated import (
    ModulatedBackbone,
    dilate_stages,
    register_modulated_backbone,
)
from taskprism.backbones.weights import strip_wrappers
from taskprism.layers.modulation import Modulation

#: Expansion, channels, blocks and stride of each stage (Sandler et al., CVPR 2018, table 2).
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
_LOW_LEVEL_BLOCKS = 3  # the last one at stride 4 is the third
_REDUCTION = 4

_PARTS = ("expand", "expand_bn", "depthwise", "depthwise_bn", "project", "project_bn")
#: Names of these six parts in timm, torchvision and the ImageNet weights of ASTMT's authors. A
#: block without expansion has only the last four.
_WITH_EXPANSION = (
    ("conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3"),
    ("conv.0.0", "conv.0.1", "conv.1.0", "conv.1.1", "conv.2", "conv.3"),
    ("conv.conv1", "conv.bn1", "conv.conv2", "conv.bn2", "conv.conv3", "conv.bn3"),
)
_WITHOUT_EXPANSION = (
    ("conv_dw", "bn1", "conv_pw", "bn2"),
    ("conv.0.0", "conv.0.1", "conv.1", "conv.2"),
    ("conv.conv1", "conv.bn1", "conv.conv2", "conv.bn2"),
)
_SE = {"se.fc.0": "se.fc1", "se.fc.2": "se.fc2"}
_STEM = re.compile(r"^(?:features\.0\.(?:conv\.)?([01])|(conv_stem)|(bn1))\.(\w+)$")
_TIMM_BLOCK = re.compile(r"^blocks\.(\d)\.(\d)\.(.+)\.(\w+)$")
_OTHER_BLOCK = re.compile(r"^features\.(\d+)\.(.+)\.(\w+)$")


@register_modulated_backbone
class SEMobileNetV2(ModulatedBackbone):
    """MobileNetV2 without its last 1x1 convolution, as the encoder of ASTMT (appendix C).

    Squeeze-and-excitation (with ReLU6, shared or per task) follows the projection of every block.
    The batch norm of the stem is always shared. There are no residual adapters.

    Args:
        modulation: Which layers exist once per task; it must not have adapters.
        output_stride: Stride of the last map, 8 or 16.
        pyramid: Not supported.

    Raises:
        InputError: The modulation has adapters, or a pyramid is requested.

    Example:
        >>> from taskprism.backbones import SEMobileNetV2
        >>> from taskprism.layers import Modulation
        >>> backbone = SEMobileNetV2(Modulation((), squeeze=False, adapters=False, norm=False))
        >>> backbone.channels, backbone.strides
        ((24, 320), (4, 16))
    """

    name: ClassVar[str] = "mobilenet_v2"
    has_adapters: ClassVar[bool] = False
    hub_weights: ClassVar[str] = "mobilenetv2_100.ra_in1k"
    plain_hub_weights: ClassVar[str] = "mobilenetv2_100.ra_in1k"
    weights_remark: ClassVar[str] = (
        "A substitute: no ImageNet weights of a MobileNetV2 with squeeze-and-excitation are "
        "published, so these are the weights of a plain MobileNetV2."
    )

    def __init__(
        self, modulation: Modulation, output_stride: int = 16, pyramid: bool = False
    ) -> None:
        super().__init__(modulation, output_stride, pyramid)
        self.channels = (24, 320)
        self.strides = (4, output_stride)
        self.stem = nn.Sequential(
            nn.Conv2d(3, 32, kernel_size=3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU6(inplace=True),
        )
        self.blocks = nn.ModuleList()
        steps = dilate_stages(2, tuple(stage[3] for stage in _STAGES), output_stride)
        in_channels = 32
        for (expansion, channels, count, _), (stride, dilation) in zip(_STAGES, steps, strict=True):
            for index in range(count):
                step = stride if index == 0 else 1
                self.blocks.append(
                    SEInvertedResidual(in_channels, channels, expansion, modulation, step, dilation)
                )
                in_channels = channels

    def forward(self, images: Tensor, task: str | None = None) -> list[Tensor]:
        """Output of the last block at stride 4, and of the last block."""
        x = self.stem(images)
        maps = []
        for block in self.blocks:
            x = block(x, task)
            maps.append(x)
        return [maps[_LOW_LEVEL_BLOCKS - 1], maps[-1]]

    @staticmethod
    def own_tensor_name(name: str) -> str:
        """Name here of a tensor of timm, torchvision or ASTMT's authors, without the task."""
        name = strip_wrappers(name)
        if stem := _STEM.match(name):
            number, convolution, _, kind = stem.groups()
            return f"stem.{number or ('0' if convolution else '1')}.{kind}"
        if block := _TIMM_BLOCK.match(name):
            stage, place, part, kind = block.groups()
            index = sum(count for _, _, count, _ in _STAGES[: int(stage)]) + int(place)
        elif block := _OTHER_BLOCK.match(name):
            number, part, kind = block.groups()
            index = int(number) - 1
        else:
            return name
        return f"blocks.{index}.{_own_part(part, expands=index > 0)}.{kind}"


def _own_part(part: str, expands: bool) -> str:
    """Name here of a part of a block."""
    own = _PARTS if expands else _PARTS[2:]
    for others in _WITH_EXPANSION if expands else _WITHOUT_EXPANSION:
        if part in others:
            return own[others.index(part)]
    return _SE.get(part, part)


class SEInvertedResidual(nn.Module):
    """1x1 expansion, 3x3 depth-wise, 1x1 projection, squeeze-and-excitation, plus the input.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output. The input is added if it has as many and ``stride``
            is 1.
        expansion: Inner channels / ``in_channels``; 1 leaves the first convolution out.
        modulation: Which layers exist once per task.
        stride: Stride of the block.
        dilation: Dilation of the depth-wise convolution.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        expansion: int,
        modulation: Modulation,
        stride: int = 1,
        dilation: int = 1,
    ) -> None:
        super().__init__()
        width = in_channels * expansion
        self.is_residual = stride == 1 and in_channels == out_channels
        self.expand = self.expand_bn = None
        if expansion != 1:
            self.expand = nn.Conv2d(in_channels, width, kernel_size=1, bias=False)
            self.expand_bn = modulation.batch_norm(width)
        self.depthwise = nn.Conv2d(
            width, width, 3, stride, padding=dilation, dilation=dilation, groups=width, bias=False
        )
        self.depthwise_bn = modulation.batch_norm(width)
        self.project = nn.Conv2d(width, out_channels, kernel_size=1, bias=False)
        self.project_bn = modulation.batch_norm(out_channels)
        self.se = modulation.squeeze_excitation(out_channels, _REDUCTION, nn.ReLU6)
        self.relu = nn.ReLU6(inplace=True)

    def forward(self, x: Tensor, task: str | None = None) -> Tensor:
        """``(B, in, H, W) -> (B, out, H / stride, W / stride)``."""
        out = x
        if self.expand is not None and self.expand_bn is not None:
            out = self.relu(self.expand_bn(self.expand(out), task))
        out = self.relu(self.depthwise_bn(self.depthwise(out), task))
        out = self.se(self.project_bn(self.project(out), task), task)
        return x + out if self.is_residual else out
