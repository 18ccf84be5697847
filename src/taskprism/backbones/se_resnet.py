"""SE-ResNet whose squeeze-and-excitation, adapters and batch norms may belong to tasks."""

from __future__ import annotations

from typing import NamedTuple, cast

from torch import Tensor, nn

from taskprism.backbones.modulated import ModulatedBackbone, dilated
from taskprism.layers.modulation import AdaptedConvolution, Modulation


class Shape(NamedTuple):
    """Blocks in each of the four layers, and width of the first one's 3x3 convolutions."""

    blocks: tuple[int, int, int, int]
    width: int = 64


#: Every SE-ResNet. The quarter has no trained weights; it is for small tries on a CPU.
SE_RESNETS: dict[str, Shape] = {
    "se_resnet14_quarter": Shape((1, 1, 1, 1), width=16),
    "se_resnet26": Shape((2, 2, 2, 2)),
    "se_resnet50": Shape((3, 4, 6, 3)),
    "se_resnet101": Shape((3, 4, 23, 3)),
}
_EXPANSION = 4
_REDUCTION = 16
_STRIDES = (1, 2, 2, 2)
_UNDILATED = [(stride, 1) for stride in _STRIDES]


class SEResNet(ModulatedBackbone):
    """Squeeze-and-Excitation ResNet (Hu et al., CVPR 2018) as the encoder of ASTMT.

    It differs from timm's ``seresnet*`` as the released ASTMT does: a layer strides in its first
    1x1 convolution (like ``legacy_seresnet*``), and every block of a dilated layer is dilated. The
    stem's batch norm is always shared; squeeze-and-excitation is in every block, shared or not,
    unless the modulation has none.

    Args:
        name: A key of :data:`SE_RESNETS`.
        modulation: Which layers every task has for itself.
        output_stride: Of the last map, 8 or 16.
        pyramid: Give the maps of all four layers, the last at stride 32; nothing is dilated then.
    """

    def __init__(
        self, name: str, modulation: Modulation, output_stride: int = 16, pyramid: bool = False
    ) -> None:
        super().__init__()
        self.modulation = modulation
        blocks, width = SE_RESNETS[name]
        self._given = (0, 1, 2, 3) if pyramid else (0, 3)
        self.channels = tuple(width * 2**index * _EXPANSION for index in self._given)
        self.strides = (4, 8, 16, 32) if pyramid else (4, output_stride)
        steps = _UNDILATED if pyramid else dilated(4, _STRIDES, output_stride)
        self.conv1 = nn.Conv2d(3, width, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        entering = width
        for index, (stride, dilation) in enumerate(steps):
            layer = nn.ModuleList()
            for block in range(blocks[index]):
                step = stride if block == 0 else 1
                inner = width * 2**index
                layer.append(SEBottleneck(entering, inner, modulation, step, dilation))
                entering = inner * _EXPANSION
            self.add_module(f"layer{index + 1}", layer)

    def forward(self, images: Tensor, task: str | None = None) -> list[Tensor]:
        """Output of the first and of the last layer, or of all four."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        maps = []
        for index in range(4):
            for block in cast(nn.ModuleList, self.get_submodule(f"layer{index + 1}")):
                x = block(x, task)
            maps.append(x)
        return [maps[index] for index in self._given]


class SEBottleneck(nn.Module):
    """1x1 (strided), 3x3 with adapter, 1x1, squeeze-and-excitation, plus shortcut.

    Args:
        in_channels: Of the input.
        width: Of the 3x3 convolution; the output has four times as many channels.
        modulation: Which of its layers every task has for itself.
        stride: Of the block.
        dilation: Of the 3x3 convolution.
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
