from __future__ import annotations

from typing import Any

import pytest
import torch

from taskprism.backbones import Backbone, create_backbone
from taskprism.errors import InputError, UnknownNameError

CASES: dict[str, tuple[dict[str, Any], tuple[int, ...], tuple[int, ...]]] = {
    "hrnet_w18_small": ({}, (16, 32, 64, 128), (4, 8, 16, 32)),
    "tf_efficientnet_lite0": ({"neck": "none"}, (24, 40, 112, 320), (4, 8, 16, 32)),
    "mobilenetv2_050": ({}, (256,) * 4, (4, 8, 16, 32)),
    "convnext_atto": ({"neck": "fpn", "neck_channels": 48}, (48,) * 4, (4, 8, 16, 32)),
    "resnet18": ({"neck": "fuse"}, (64 + 128 + 256 + 512,), (4,)),
    "resnet10t": ({"neck": "aspp", "output_stride": 8}, (256,), (8,)),
    "resnet18.a1_in1k": (
        {"neck": "none", "output_stride": 16, "finest_stride": 2},
        (64, 64, 128, 256, 512),
        (2, 4, 8, 16, 16),
    ),
    "hrnet_w18_small_v2": ({"finest_stride": 2}, (64, 18, 36, 72, 144), (2, 4, 8, 16, 32)),
    "swinv2_cr_tiny_224": ({"neck": "deepest"}, (768,), (32,)),
    "convnext_atto.d2_in1k": ({"neck": "deepest", "neck_stride": 16}, (320,), (16,)),
    "swin_tiny_patch4_window7_224": ({"neck": "none"}, (96, 192, 384, 768), (4, 8, 16, 32)),
    "swinv2_cr_tiny_ns_224": ({"neck_channels": 8}, (8,) * 4, (4, 8, 16, 32)),
    "vit_tiny_patch16_224": ({"neck_channels": 32}, (32,) * 4, (4, 8, 16, 32)),
    "vit_small_patch14_dinov2": ({"neck_channels": 32}, (32,) * 4, (4, 8, 16, 32)),
    "vit_small_patch8_224": ({"neck_channels": 32}, (32,) * 4, (4, 8, 16, 32)),
}


@pytest.mark.parametrize("name", CASES)
def test_maps_of_any_image_size(name: str) -> None:
    options, channels, strides = CASES[name]
    backbone = create_backbone(name, **options).eval()
    assert backbone.channels == channels
    assert backbone.strides == strides
    for size in ((64, 96), (65, 43)):
        with torch.no_grad():
            maps = backbone(torch.randn(1, 3, *size))
        assert [each.shape[1] for each in maps] == list(channels)
        expected = [tuple(-(-side // stride) for side in size) for stride in strides]
        assert [tuple(each.shape[-2:]) for each in maps] == expected
        assert backbone.feature_sizes(size) == expected


def test_a_shifted_image_gives_shifted_maps_through_the_vit_pyramid() -> None:
    """A bright patch must appear at the place in every map where it is in the image."""
    backbone = create_backbone("vit_tiny_patch16_224", neck_channels=16).eval()
    blank = torch.zeros(1, 3, 96, 112)
    marked = blank.clone()
    marked[:, :, 64:80, 16:32] = 5.0
    with torch.no_grad():
        for before, after, stride in zip(
            backbone(blank), backbone(marked), backbone.strides, strict=True
        ):
            change = (after - before).abs().sum(dim=1)[0]
            row, column = divmod(int(change.argmax()), change.shape[1])
            assert abs((row + 0.5) * stride - 72) <= max(16, stride)
            assert abs((column + 0.5) * stride - 24) <= max(16, stride)


def test_image_statistics_are_those_of_the_weights() -> None:
    assert create_backbone("tf_efficientnet_lite0").image_mean == (0.5, 0.5, 0.5)
    assert create_backbone("hrnet_w18_small_v2.ms_in1k").image_std == (0.229, 0.224, 0.225)


def test_batch_norm_momentum_is_set_in_the_trunk_only() -> None:
    backbone = create_backbone("resnet18", neck="fuse", batch_norm_momentum=0.01)
    momenta = {
        name.split(".")[0]: module.momentum
        for name, module in backbone.named_modules()
        if isinstance(module, torch.nn.BatchNorm2d)
    }
    assert momenta == {"trunk": 0.01, "fusion": 0.1}


def test_a_backbone_of_one_size_refuses_others() -> None:
    backbone = create_backbone("mixer_s32_224", neck="vit_pyramid", neck_channels=8)
    assert len(backbone(torch.randn(1, 3, 224, 224))) == 4
    with pytest.raises(InputError, match=r"\(224, 224\) only, got \(64, 64\)"):
        backbone(torch.randn(1, 3, 64, 64))


def test_unknown_names() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown backbone 'resnet5'.*'resnet50'"):
        create_backbone("resnet5")
    with pytest.raises(UnknownNameError, match=r"weights tag 'resnet18.in1k'.*resnet18\.a1_in1k"):
        create_backbone("resnet18.in1k")
    with pytest.raises(UnknownNameError, match=r"Unknown neck 'fpm'.*'fpn'"):
        create_backbone("resnet18", neck="fpm")  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="'bilinear'"):
        create_backbone("hrnet_w18_small", hrnet_upsampling="bilinar")  # type: ignore[arg-type]


def test_options_that_timm_does_not_support() -> None:
    with pytest.raises(InputError, match=r"output_stride.*Choose another backbone"):
        create_backbone("convnext_atto", output_stride=7)
    with pytest.raises(InputError, match="cannot extract feature maps from 'mixer_s16_224'"):
        create_backbone("mixer_s16_224", output_stride=8)
    with pytest.raises(InputError, match='use neck="vit_pyramid"'):
        create_backbone("vit_tiny_patch16_224", neck="fpn")


class Patches(Backbone):
    channels, strides = (8,), (8,)

    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Conv2d(3, 8, kernel_size=8, stride=8)

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        return [self.embed(images)]


@pytest.mark.parametrize("backbone", ["test_resnet", Patches, Patches()])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"neck_channels": 0}, "neck_channels must be an integer from 1 to 65536, got 0"),
        ({"neck_channels": -8}, "neck_channels must be an integer from 1 to 65536, got -8"),
        ({"neck_channels": 10**9}, "neck_channels must be an integer from 1 to 65536"),
        ({"neck_channels": True}, "neck_channels must be an integer from 1 to 65536, got True"),
        ({"neck_channels": "16"}, "neck_channels must be an integer from 1 to 65536, got '16'"),
        ({"neck_stride": 0}, "neck_stride must be an integer"),
        ({"batch_norm_momentum": 0.0}, "batch_norm_momentum must be"),
        ({"batch_norm_momentum": 2.0}, "batch_norm_momentum must be"),
        ({"batch_norm_momentum": float("nan")}, "batch_norm_momentum must be"),
    ],
)
def test_values_out_of_range(backbone: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        create_backbone(backbone, **{"neck": "fpn", **options})
