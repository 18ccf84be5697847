from __future__ import annotations

import pytest
import timm
import torch
from torch import Tensor, nn

from taskprism.backbones import create_backbone

NAME = "hrnet_w18_small_v2"


@pytest.fixture(scope="module")
def reference() -> nn.Module:
    model = timm.create_model(
        NAME, features_only=True, feature_location="", out_indices=(1, 2, 3, 4)
    )
    for module in model.modules():  # so that normalization does something
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.normal_(module.bias)
    return model.eval()


def features(model: nn.Module, images: Tensor) -> list[Tensor]:
    with torch.no_grad():
        return model(images)


def test_names_of_weights_are_timms(reference: nn.Module) -> None:
    backbone = create_backbone(NAME)
    assert list(backbone.model.state_dict()) == list(reference.state_dict())
    assert len(backbone.model.state_dict()) == 864
    assert sum(p.numel() for p in backbone.parameters()) == 3_860_720


@pytest.mark.parametrize("training", [False, True])
def test_nearest_is_timm_to_the_bit(reference: nn.Module, training: bool) -> None:
    backbone = create_backbone(NAME, hrnet_upsampling="nearest")
    backbone.model.load_state_dict(reference.state_dict())
    images = torch.randn(2, 3, 64, 96)
    for ours, theirs in zip(
        features(backbone.train(training), images),
        features(reference.train(training), images),
        strict=True,
    ):
        assert torch.equal(ours, theirs)
    reference.eval()


def test_bilinear_is_timm_with_bilinear_upsampling(reference: nn.Module) -> None:
    backbone = create_backbone(NAME).eval()
    backbone.model.load_state_dict(reference.state_dict())
    images = torch.randn(1, 3, 96, 64)
    nearest = features(reference, images)
    upsamplings = [m for m in reference.modules() if isinstance(m, nn.Upsample)]
    assert upsamplings
    for module in upsamplings:
        module.mode, module.align_corners = "bilinear", False
    bilinear = features(reference, images)
    for module in upsamplings:
        module.mode, module.align_corners = "nearest", None
    for ours, theirs, other in zip(features(backbone, images), bilinear, nearest, strict=True):
        assert torch.equal(ours, theirs)
        assert not torch.allclose(ours, other, rtol=0.01)


def test_sizes_that_timm_refuses(reference: nn.Module) -> None:
    images = torch.randn(1, 3, 85, 112)
    with pytest.raises(RuntimeError):
        features(reference, images)
    maps = features(create_backbone(NAME).eval(), images)
    sizes = [tuple(each.shape[-2:]) for each in maps]
    assert sizes == [(22, 28), (11, 14), (6, 7), (3, 4)]
