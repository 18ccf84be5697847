"""SE-ResNet whose squeeze-and-excitation, adapters and batch norms may belong to tasks."""

from __future__ import annotations

from torch import Tensor, nn

from taskprism.backbones.modulated import ModulatedBackbone, dilated
from taskprism.layers.modulation import AdaptedConvolution, Modulation

#: Bottleneck blocks in each of the four layers.
SE_RESNETS: dict[str, tuple[int, ...]] = {
    "se_resnet26": (2, 2, 2, 2),
    "se_resnet50": (3, 4, 6, 3),
    "se_resnet101": (3, 4, 23, 3),
}
_EXPANSION = 4
_REDUCTION = 16


class SEResNet(ModulatedBackbone):
    """Squeeze-and-Excitation ResNet (Hu et al., CVPR 2018) as the encoder of ASTMT.

    It differs from timm's ``seresnet*`` where the released ASTMT does: a layer strides in its first
    1x1 convolution (as ``legacy_seresnet*``), and every block of a dilated layer is dilated. The
    stem's batch norm is always shared; a squeeze-and-excitation is in every block, shared or not.

    Args:
        name: A key of :data:`SE_RESNETS`.
        modulation: Which layers every task has for itself.
        output_stride: Of the last map, 8 or 16.
    """

    def __init__(self, name: str, modulation: Modulation, output_stride: int = 16) -> None:
        super().__init__()
        self.modulation = modulation
        self.conv1 = nn.Conv2d(3, 64, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        (_, *stages), channels = dilated((2, 1, 2, 2, 2)[1:], output_stride // 2), 64
        self.channels = (64 * _EXPANSION, 512 * _EXPANSION)
        self.strides = (4, output_stride)
