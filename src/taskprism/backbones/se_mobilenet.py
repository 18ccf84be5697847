"""MobileNetV2 with squeeze-and-excitation and batch norms that may belong to tasks."""

from __future__ import annotations

from torch import Tensor, nn

from taskprism.backbones.modulated import ModulatedBackbone, dilated
from taskprism.errors import InputError
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


class SEMobileNetV2(ModulatedBackbone):
    """MobileNetV2 without its last 1x1 convolution, as the encoder of ASTMT (appendix C).

    Squeeze-and-excitation (with ReLU6, shared or per task) follows every block's projection. The
    stem's batch norm is always shared. There are no residual adapters.

    Args:
        modulation: Which layers every task has for itself; no adapters.
        output_stride: Of the last map, 8 or 16.

    Raises:
        InputError: If adapters are asked for.
    """

    def __init__(self, modulation: Modulation, output_stride: int = 16) -> None:
        super().__init__()
        if modulation.adapters:
            raise InputError(
                "mobilenet_v2 has no residual adapters, only SE-ResNets do; leave `adapters` out."
            )
        self.modulation = modulation
        self.channels = (24, 320)
        self.strides = (4, output_stride)
        self.stem = nn.Sequential(
            nn.Conv2d(3, 32, kernel_size=3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU6(inplace=True),
        )
        self.blocks = nn.ModuleList()
        strides = dilated(2, tuple(stage[3] for stage in _STAGES), output_stride)
        entering = 32
        for (expansion, channels, count, _), (stride, dilation) in zip(
            _STAGES, strides, strict=True
        ):
            for index in range(count):
                step = stride if index == 0 else 1
                self.blocks.append(
                    SEInvertedResidual(entering, channels, expansion, modulation, step, dilation)
                )
                entering = channels

    def forward(self, images: Tensor, task: str | None = None) -> list[Tensor]:
        """Output of the last block at stride 4, and of the last of all."""
        x = self.stem(images)
        maps = []
        for block in self.blocks:
            x = block(x, task)
            maps.append(x)
        return [maps[_LOW_LEVEL_BLOCKS - 1], maps[-1]]


class SEInvertedResidual(nn.Module):
    """1x1 expansion, 3x3 depth-wise, 1x1 projection, squeeze-and-excitation, plus the input.

    Args:
        in_channels: Of the input.
        out_channels: Of the output; the input is added if it has as many and is not strided.
        expansion: Of the inner width; 1 leaves the first convolution out.
        modulation: Which of its layers every task has for itself.
        stride: Of the block.
        dilation: Of the depth-wise convolution.
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
