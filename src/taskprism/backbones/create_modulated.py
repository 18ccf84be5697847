"""Modulated backbones by name."""

from __future__ import annotations

from taskprism.backbones.modulated import ModulatedBackbone
from taskprism.backbones.modulated_names import se_mobilenet_name, se_resnet_name
from taskprism.backbones.modulated_weights import Pretraining, load_modulated
from taskprism.backbones.se_mobilenet import SEMobileNetV2
from taskprism.backbones.se_resnet import SE_RESNETS, SEResNet
from taskprism.errors import InputError, UnknownNameError
from taskprism.layers.modulation import Modulation

#: Every modulated backbone with its ImageNet weights; the list is the registry. The authors' own
#: are on no hub. The ``legacy`` ones of timm stride in the first convolution, as here.
MODULATED: dict[str, Pretraining] = {
    "se_resnet14_quarter": Pretraining("", se_resnet_name),
    "se_resnet26": Pretraining(
        "resnet26.bt_in1k",
        se_resnet_name,
        "A substitute: no ImageNet weights of an SE-ResNet-26 are to be had, so these are a plain "
        "ResNet-26's, which strides in the 3x3 convolution.",
        plain_name="resnet26.bt_in1k",
    ),
    "se_resnet50": Pretraining(
        "legacy_seresnet50.in1k", se_resnet_name, plain_name="resnet50.a1_in1k"
    ),
    "se_resnet101": Pretraining(
        "legacy_seresnet101.in1k", se_resnet_name, plain_name="resnet101.a1_in1k"
    ),
    "mobilenet_v2": Pretraining(
        "mobilenetv2_100.ra_in1k",
        se_mobilenet_name,
        "A substitute: no ImageNet weights of a MobileNetV2 with squeeze-and-excitation are to be "
        "had, so these are a plain MobileNetV2's.",
        plain_name="mobilenetv2_100.ra_in1k",
    ),
}


def create_modulated_backbone(
    name: str, modulation: Modulation, output_stride: int = 16, pyramid: bool = False
) -> ModulatedBackbone:
    """Backbone with random weights.

    Args:
        name: A key of :data:`MODULATED`.
        modulation: Which layers every task has for itself.
        output_stride: Of the last map, 8 or 16.
        pyramid: Give maps at strides 4, 8, 16 and 32 instead (SE-ResNets only).

    Raises:
        UnknownNameError: If there is no such backbone.
        InputError: If it cannot have these layers, or this output stride, or is no pyramid.
    """
    if name not in MODULATED:
        raise UnknownNameError("backbone of a model that runs one task at a time", name, MODULATED)
    if name in SE_RESNETS:
        return SEResNet(name, modulation, output_stride, pyramid)
    if pyramid:
        raise InputError(
            f"{name!r} gives no pyramid of maps; take one of {', '.join(SE_RESNETS)}, or another "
            "decoder."
        )
    return SEMobileNetV2(modulation, output_stride)


def load_modulated_weights(backbone: ModulatedBackbone, name: str, pretrained: bool | str) -> None:
    """Give a backbone ImageNet weights; see :func:`load_modulated`."""
    load_modulated(backbone, MODULATED[name], pretrained)
