from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from taskprism.errors import InputError, UnknownNameError
from taskprism.layers import (
    HighResolutionFusion,
    PanopticFusion,
    basic_block,
    bottleneck,
    create_aggregation,
    create_head,
    resize,
)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def pyramid(channels: tuple[int, ...], size: tuple[int, int] = (17, 13)) -> list[torch.Tensor]:
    maps = []
    height, width = size
    for each in channels:
        maps.append(torch.randn(2, each, height, width))
        height, width = -(-height // 2), -(-width // 2)
    return maps


def test_high_resolution_head_of_hrnet18_has_the_known_size() -> None:
    assert count(create_head((18, 36, 72, 144), 40)) == 84_550


def test_high_resolution_fusion_concatenates_from_fine_to_coarse() -> None:
    maps = pyramid((2, 3))
    fusion = HighResolutionFusion((2, 3)).eval()
    up = F.interpolate(maps[1], size=(17, 13), mode="bilinear", align_corners=False)
    torch.testing.assert_close(fusion(maps), fusion.mix(torch.cat([maps[0], up], dim=1)))
    assert fusion.out_channels == 5


def test_panoptic_fusion_doubles_step_by_step_through_the_sizes_of_finer_maps() -> None:
    maps = pyramid((64, 64, 64))
    fusion = PanopticFusion((64, 64, 64), width=32)
    levels = fusion.levels
    middle = resize(levels[1][0](maps[1]), (17, 13))
    coarse = resize(levels[2][1](resize(levels[2][0](maps[2]), (9, 7))), (17, 13))
    torch.testing.assert_close(fusion(maps), levels[0][0](maps[0]) + middle + coarse)
    assert [len(level) for level in levels] == [1, 1, 2]


def test_pyramids_are_summed_and_branches_concatenated() -> None:
    assert isinstance(create_aggregation((256, 256)), PanopticFusion)
    assert isinstance(create_aggregation((18, 36)), HighResolutionFusion)
    assert isinstance(create_aggregation((256,)), HighResolutionFusion)
    with pytest.raises(UnknownNameError, match="'panoptic'"):
        create_aggregation((1, 2), "panoptik")


def test_residual_blocks() -> None:
    x = torch.randn(2, 8, 5, 7)
    assert bottleneck(8, 16)(x).shape == (2, 16, 5, 7)
    assert basic_block(8, 6)(x).shape == (2, 6, 5, 7)
    assert basic_block(8, 8).downsample is None
    # 3x3 convolutions, two norms, and a projected shortcut with its norm
    assert count(basic_block(8, 6)) == 8 * 6 * 9 + 6 * 6 * 9 + 4 * 6 + 8 * 6 + 2 * 6
    assert count(bottleneck(8, 16)) == 8 * 4 + 4 * 4 * 9 + 4 * 16 + 16 + 32 + 8 * 16 + 32
    with pytest.raises(InputError, match="multiple of 4"):
        bottleneck(8, 10)


def test_one_map_needs_no_aggregation() -> None:
    maps = pyramid((5,))
    only = create_aggregation((5,), "none")
    assert only.out_channels == 5
    assert count(only) == 0
    assert only(maps) is maps[0]
    with pytest.raises(InputError, match=r'one map, but this one has 2.*neck="deepest"'):
        create_aggregation((5, 6), "none")


def test_the_bottleneck_head_reads_the_finest_map() -> None:
    maps = pyramid((8, 6))
    head = create_head((8, 6), 3, "bottleneck").eval()
    assert head(maps).shape == (2, 3, 17, 13)
    torch.testing.assert_close(head(maps), head(maps[:1]))
