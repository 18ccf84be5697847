"""A ResNet that runs stage by stage, for systems that share features between stages."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from taskprism.backbones.timm_features import TimmFeatures
from taskprism.backbones.weights import load_pretrained
from taskprism.errors import InputError
from taskprism.options import Stride, read_options
from taskprism.registry import describe_part

STAGES = ("layer1", "layer2", "layer3", "layer4")
_STEM_AND_STAGES = 5


class ResidualStages(TimmFeatures):
    """A timm ResNet (also ResNeXt, SE-ResNet, ...) whose four stages can be run one by one.

    Weights have the same names as in :class:`TimmFeatures`.

    Args:
        name: A timm name of an architecture with ``layer1`` to ``layer4``.
        output_stride: Coarsest stride, reached by dilation; by default 32.

    Raises:
        InputError: The architecture has no such stages, or not at this output stride.

    Example:
        >>> import torch
        >>> from taskprism.backbones import ResidualStages
        >>> encoder = ResidualStages("test_resnet")
        >>> tuple(encoder.stage(0)(encoder.enter(torch.rand(1, 3, 32, 32))).shape)
        (1, 32, 8, 8)
    """

    def __init__(self, name: str, output_stride: int | None = None) -> None:
        what = "" if output_stride is None else f" with output_stride={output_stride}"
        refusal = InputError(
            f"Backbone {name!r}{what} cannot be run stage by stage, which sharing between stages "
            f"needs; use a ResNet (stem, {', '.join(STAGES)}), such as 'resnet18' or 'resnet50', "
            "with output_stride 8, 16 or 32."
        )
        try:
            super().__init__(name, output_stride)
        except InputError as error:
            raise refusal from error
        channels = self.model.feature_info.channels()
        has_stages = all(hasattr(self.model, stage) for stage in STAGES)
        if not has_stages or len(channels) != _STEM_AND_STAGES:
            raise refusal
        self.stem_channels: int = channels[0]
        self.config = {"name": name, "options": {"output_stride": output_stride}}

    def enter(self, images: Tensor) -> Tensor:
        """Normalized images ``(B, 3, H, W)`` -> input of the first stage."""
        x = self.pad(images)
        for name, module in self.model.items():
            if name in STAGES:
                break
            x = module(x)
        return x

    @property
    def watched(self) -> nn.Module:
        """Last block: stages may run one by one, without a call of the backbone itself."""
        return self.stage(3)[-1]

    def stage(self, index: int) -> nn.Sequential:
        """Residual blocks of a stage, 0 to 3."""
        return cast(nn.Sequential, self.model[STAGES[index]])


def create_residual_stages(
    backbone: object, pretrained: bool | str = False, output_stride: Stride | None = 8
) -> ResidualStages:
    """Create a ResNet that can run stage by stage.

    Args:
        backbone: A timm name (see :class:`ResidualStages`), or an instance of this class.
        pretrained: See :func:`taskprism.backbones.create_backbone`.
        output_stride: See :class:`ResidualStages`.

    Raises:
        InputError: The backbone is something else, or cannot run stage by stage.

    Example:
        >>> from taskprism.backbones import create_residual_stages
        >>> create_residual_stages("test_resnet").strides
        (4, 8, 8, 8)
    """
    if isinstance(backbone, ResidualStages):
        return backbone
    if not isinstance(backbone, str):
        raise InputError(
            f"Backbone {describe_part(backbone)} cannot be run stage by stage; give the timm name "
            "of a ResNet, such as 'resnet18', or an instance of ResidualStages."
        )
    read_options(f"Backbone {backbone!r}", {"output_stride": output_stride}, create_residual_stages)
    trunk = ResidualStages(backbone, output_stride)
    if pretrained:
        load_pretrained(trunk.model, backbone, pretrained)
    return trunk
