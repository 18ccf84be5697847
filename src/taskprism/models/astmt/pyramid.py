"""ASTMT on a feature pyramid, as MTI-Net's paper compares itself with it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork

from taskprism.layers import resize
from taskprism.layers.modulation import Modulation
from taskprism.models.astmt.decoder import RESNET_STYLE, DecoderUnit


class PyramidDecoder(nn.Module):
    """Feature pyramid, and the decoder of Panoptic FPN with layers per task.

    Vandenhende et al. (MTI-Net, ECCV 2020, tables 5 and 7b) put ASTMT on the pyramid of a
    ResNet-50, and published no code. Here the pyramid's convolutions are shared and the decoder is
    built as ASTMT's own: level i has max(1, i) units of 3x3, adapter, batch norm, ReLU and
    squeeze-and-excitation, each followed by doubling, and the levels are added
    (:class:`~taskprism.layers.aggregation.PanopticFusion` has the plain form).

    Args:
        in_channels: Of the encoder's maps, finest first.
        channels: Of every unit.
        modulation: Which layers every task has for itself.
        pyramid_channels: Of the pyramid's maps.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        channels: int,
        modulation: Modulation,
        pyramid_channels: int = 256,
    ) -> None:
        super().__init__()
        self.modulation = modulation
        self.pyramid = FeaturePyramidNetwork(list(in_channels), pyramid_channels)

        def unit(entering: int) -> DecoderUnit:
            convolution = nn.Conv2d(entering, channels, kernel_size=3, padding=1, bias=False)
            style = RESNET_STYLE
            return DecoderUnit(convolution, modulation, style.activation, style.reduction)

        self.levels = nn.ModuleList(
            nn.ModuleList(
                unit(channels if step else pyramid_channels) for step in range(max(1, level))
            )
            for level in range(len(in_channels))
        )

    def forward(self, maps: Sequence[Tensor], task: str | None = None) -> Tensor:
        """Features ``(B, channels, H, W)`` of the finest map's size.

        Args:
            maps: ``(B, in_channels[i], H_i, W_i)``, finest first.
            task: May be None only if nothing depends on the task.
        """
        named = OrderedDict((str(index), each) for index, each in enumerate(maps))
        pyramid = list(self.pyramid(named).values())
        total: Tensor | None = None
        for level, steps in enumerate(self.levels):
            assert isinstance(steps, nn.ModuleList)
            x = pyramid[level]
            for done, step in enumerate(steps):
                x = resize(step(x, task), pyramid[max(level - 1 - done, 0)].shape[-2:])
            total = x if total is None else total + x
        assert total is not None
        return total
