"""SE-ResNets whose squeeze-and-excitation, adapters and batch norms may exist once per task."""

from __future__ import annotations

import re
from typing import ClassVar, cast

from torch import Tensor, nn

from taskprism.backbones.modulated import (
    ModulatedBackbone,
    dilate_stages,
    register_modulated_backbone,
)
from taskprism.backbones.weights import strip_wrappers
from taskprism.layers.modulation import AdaptedConvolution, Modulation

_EXPANSION = 4
_REDUCTION = 16
_STRIDES = (1, 2, 2, 2)
_UNDILATED = [(stride, 1) for stride in _STRIDES]
#: Names of layers in timm (``seresnet*``, ``resnet*``, ``legacy_seresnet*``), torchvision and the
#: ImageNet weights that the authors of ASTMT released -> names here.
_RENAMED = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^layer0\.", ""),
        (r"\.se_module\.", ".se."),
        (r"\.se\.fc\.0\.", ".se.fc1."),
        (r"\.se\.fc\.2\.", ".se.fc2."),
        (r"\.downsample\.0\.", ".shortcut."),
        (r"\.downsample\.1\.", ".shortcut_bn."),
        (r"^(layer\d\.\d+\.conv2)\.", r"\1.shared."),
    )
]


class SEResNet(ModulatedBackbone):
    """Squeeze-and-Excitation ResNet (Hu et al., CVPR 2018) as the encoder of ASTMT.

    It differs from timm's ``seresnet*`` as the released ASTMT does: a layer strides in its first
    1x1 convolution (like ``legacy_seresnet*``), and every block of a dilated layer is dilated. The
    batch norm of the stem is always shared. Squeeze-and-excitation is in every block, shared or
    not, unless the modulation has none.

    Args:
        modulation: Which layers exist once per task.
        output_stride: Stride of the last map, 8 or 16.
        pyramid: Return the maps of all four layers, the last at stride 32, without dilation.

    Attributes:
        blocks: Blocks in each of the four layers.
        width: Channels of the 3x3 convolutions in the first layer.

    Example:
        >>> import torch
        >>> from taskprism.backbones import SEResNet
        >>> from taskprism.layers import Modulation
        >>> class Tiny(SEResNet):
        ...     name, blocks, width = "tiny", (1, 1, 1, 1), 8
        >>> backbone = Tiny(Modulation((), squeeze=False, adapters=False, norm=False))
        >>> [tuple(each.shape) for each in backbone(torch.rand(1, 3, 32, 32))]
        [(1, 32, 8, 8), (1, 256, 2, 2)]
    """

    has_pyramid: ClassVar[bool] = True
    blocks: ClassVar[tuple[int, int, int, int]]
    width: ClassVar[int] = 64

    def __init__(
        self, modulation: Modulation, output_stride: int = 16, pyramid: bool = False
    ) -> None:
        super().__init__(modulation, output_stride, pyramid)
        width = self.width
        self._returned = (0, 1, 2, 3) if pyramid else (0, 3)
        self.channels = tuple(width * 2**index * _EXPANSION for index in self._returned)
        self.strides = (4, 8, 16, 32) if pyramid else (4, output_stride)
        steps = _UNDILATED if pyramid else dilate_stages(4, _STRIDES, output_stride)
        self.conv1 = nn.Conv2d(3, width, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        in_channels = width
        for index, (stride, dilation) in enumerate(steps):
            layer = nn.ModuleList()
            for block in range(self.blocks[index]):
                step = stride if block == 0 else 1
                inner = width * 2**index
                layer.append(SEBottleneck(in_channels, inner, modulation, step, dilation))
                in_channels = inner * _EXPANSION
            self.add_module(f"layer{index + 1}", layer)

    def forward(self, images: Tensor, task: str | None = None) -> list[Tensor]:
        """Output of the first and of the last layer, or of all four."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        maps = []
        for index in range(4):
            for block in cast(nn.ModuleList, self.get_submodule(f"layer{index + 1}")):
                x = block(x, task)
            maps.append(x)
        return [maps[index] for index in self._returned]

    @staticmethod
    def own_tensor_name(name: str) -> str:
        """Name here of a tensor of timm, torchvision or ASTMT's authors, without the task."""
        name = strip_wrappers(name)
        for pattern, replacement in _RENAMED:
            name = pattern.sub(replacement, name)
        return name


class SEBottleneck(nn.Module):
    """1x1 (strided), 3x3 with adapter, 1x1, squeeze-and-excitation, plus shortcut.

    Args:
        in_channels: Channels of the input.
        width: Channels of the 3x3 convolution; the output has four times as many.
        modulation: Which layers exist once per task.
        stride: Stride of the block.
        dilation: Dilation of the 3x3 convolution.
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        modulation: Modulation,
        stride: int = 1,
        dilation: int = 1,
    ) -> None:
        super().__init__()
        out_channels = width * _EXPANSION
        self.conv1 = nn.Conv2d(in_channels, width, kernel_size=1, stride=stride, bias=False)
        self.bn1 = modulation.batch_norm(width)
        self.conv2 = AdaptedConvolution(
            nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation, bias=False), modulation
        )
        self.bn2 = modulation.batch_norm(width)
        self.conv3 = nn.Conv2d(width, out_channels, kernel_size=1, bias=False)
        self.bn3 = modulation.batch_norm(out_channels)
        self.se = modulation.squeeze_excitation(out_channels, _REDUCTION)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = self.shortcut_bn = None
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)
            self.shortcut_bn = modulation.batch_norm(out_channels)

    def forward(self, x: Tensor, task: str | None = None) -> Tensor:
        """``(B, in, H, W) -> (B, 4 width, H / stride, W / stride)``."""
        out = self.relu(self.bn1(self.conv1(x), task))
        out = self.relu(self.bn2(self.conv2(out, task), task))
        out = self.se(self.bn3(self.conv3(out), task), task)
        if self.shortcut is not None and self.shortcut_bn is not None:
            x = self.shortcut_bn(self.shortcut(x), task)
        return self.relu(out + x)


@register_modulated_backbone
class SEResNet14Quarter(SEResNet):
    """A small SE-ResNet for trials on a CPU. There are no trained weights."""

    name: ClassVar[str] = "se_resnet14_quarter"
    blocks: ClassVar[tuple[int, int, int, int]] = (1, 1, 1, 1)
    width: ClassVar[int] = 16


@register_modulated_backbone
class SEResNet26(SEResNet):
    """SE-ResNet-26, the usual encoder of ASTMT."""

    name: ClassVar[str] = "se_resnet26"
    blocks: ClassVar[tuple[int, int, int, int]] = (2, 2, 2, 2)
    hub_weights: ClassVar[str] = "resnet26.bt_in1k"
    plain_hub_weights: ClassVar[str] = "resnet26.bt_in1k"
    weights_remark: ClassVar[str] = (
        "A substitute: no ImageNet weights of an SE-ResNet-26 are published, so these are the "
        "weights of a plain ResNet-26, which strides in the 3x3 convolution."
    )


# The weights of ASTMT's authors are not on the hub. The "legacy" ones of timm stride in the first
# convolution, as here.
@register_modulated_backbone
class SEResNet50(SEResNet):
    """SE-ResNet-50."""

    name: ClassVar[str] = "se_resnet50"
    blocks: ClassVar[tuple[int, int, int, int]] = (3, 4, 6, 3)
    hub_weights: ClassVar[str] = "legacy_seresnet50.in1k"
    plain_hub_weights: ClassVar[str] = "resnet50.a1_in1k"


@register_modulated_backbone
class SEResNet101(SEResNet):
    """SE-ResNet-101."""

    name: ClassVar[str] = "se_resnet101"
    blocks: ClassVar[tuple[int, int, int, int]] = (3, 4, 23, 3)
    hub_weights: ClassVar[str] = "legacy_seresnet101.in1k"
    plain_hub_weights: ClassVar[str] = "resnet101.a1_in1k"
