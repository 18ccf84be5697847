"""Tokens of plain transformers as maps, for every family of foundation backbones."""

from __future__ import annotations

import pytest
import timm
import torch

from taskprism.backbones import TokenMaps, create_backbone
from taskprism.errors import InputError

#: Backbone, patch, whether it has a class token.
FAMILIES = [
    ("vit_small_patch14_reg4_dinov2", 14, True),
    ("eva02_tiny_patch14_224", 14, True),
    ("vit_small_patch14_dinov2", 14, True),
    ("vit_small_patch16_dinov3", 16, True),
    ("vit_base_patch16_siglip_224", 16, False),
    ("vit_base_patch16_224.mae", 16, True),
    ("vit_base_patch16_384.augreg_in21k_ft_in1k", 16, True),
]


@pytest.mark.parametrize(
    ("name", "patch", "has_class"),
    [*FAMILIES[:2], *(pytest.param(*each, marks=pytest.mark.slow) for each in FAMILIES[2:])],
)
def test_every_family_gives_four_maps_of_images_of_any_size(
    name: str, patch: int, has_class: bool
) -> None:
    with torch.device("meta"):
        backbone = create_backbone(name, neck="none", taps="even")
        maps, classes = backbone.with_class_tokens(torch.empty(2, 3, 45, 70))
    assert backbone.strides == (patch,) * 4
    assert backbone.feature_sizes((45, 70)) == [tuple(each.shape[-2:]) for each in maps]
    assert all(each.shape[:2] == (2, backbone.channels[0]) for each in maps)
    assert [tuple(each.shape) for each in classes] == [(2, backbone.channels[0])] * 4 * has_class


def test_swin_gives_its_pyramid() -> None:
    with torch.device("meta"):
        backbone = create_backbone("swin_tiny_patch4_window7_224", neck="none", taps="even")
    assert backbone.strides == (4, 8, 16, 32)


def test_maps_are_the_tokens_of_the_blocks_in_the_grid_of_the_patches() -> None:
    """Against hooks on a network of timm, at the size of its position embeddings."""
    torch.manual_seed(0)
    network = timm.create_model("test_vit").eval()
    side = network.patch_embed.img_size[0]
    outputs = []
    for block in (1, 5):
        network.blocks[block].register_forward_hook(lambda m, i, o: outputs.append(o))
    images = torch.rand(2, 3, side, side)
    for norm in ("none", "last", "all"):
        backbone = TokenMaps("test_vit", taps=[1, 5], tap_norm=norm).eval()
        backbone.model.load_state_dict(network.state_dict(), strict=False)
        outputs.clear()
        with torch.no_grad():
            network(images)
            maps, classes = backbone.with_class_tokens(images)
            for level, tokens in enumerate(outputs):
                if norm == "all" or (norm == "last" and level == 1):
                    tokens = network.norm(tokens)
                torch.testing.assert_close(classes[level], tokens[:, 0])
                row, column = 3, 2
                token = tokens[:, 1 + row * (side // 16) + column]
                torch.testing.assert_close(maps[level][:, :, row, column], token)


def test_blocks_after_the_last_tap_are_left_out() -> None:
    assert len(TokenMaps("test_vit", taps=[0, 2]).model.blocks) == 3


def test_wrong_requests_are_named() -> None:
    with pytest.raises(InputError, match="not a plain transformer"):
        create_backbone("resnet18", taps=[1, 2])
    with pytest.raises(InputError, match="0 to 5"):
        create_backbone("test_vit", taps=[1, 6])
    with pytest.raises(InputError, match="increasing"):
        create_backbone("test_vit", taps=[2, 1])
    with pytest.raises(InputError, match="images of any size"):
        create_backbone("beit_base_patch16_224", taps="even")


def test_pretrained_positions_are_resized_to_the_grid(tmp_path) -> None:
    """A file for square images, loaded for others and without the class token."""
    torch.manual_seed(0)
    network = timm.create_model("test_vit")
    rows = network.patch_embed.grid_size[0]
    with torch.no_grad():  # positions that grow from left to right
        ramp = torch.linspace(0, 1, rows).repeat(rows)
        network.pos_embed[0, 1:] = ramp[:, None]
    torch.save(network.state_dict(), tmp_path / "file.pth")
    for class_token in (True, False):
        backbone = create_backbone(
            "test_vit",
            pretrained=str(tmp_path / "file.pth"),
            taps="even",
            neck="none",
            image_size=(64, 320),
            class_token=class_token,
        )
        positions = backbone.model.pos_embed.detach()[0, int(class_token) :, 0].view(4, 20)
        assert backbone.has_class_token == class_token
        assert positions.shape == (4, 20) and (positions.diff(dim=1) >= -1e-3).all()
        torch.testing.assert_close(positions.mean(), ramp.mean(), atol=0.02, rtol=0)
