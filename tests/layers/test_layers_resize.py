from __future__ import annotations

import torch

from taskprism.layers import resize, upsampling_tail


def test_resize_returns_a_map_of_the_right_size_unchanged() -> None:
    x = torch.randn(1, 1, 4, 4)
    assert resize(x, (4, 4)) is x
    # Corners are not aligned: the new pixels are at a quarter and three quarters.
    row = resize(torch.tensor([[[[0.0, 1.0]]]]), (1, 4))
    torch.testing.assert_close(row, torch.tensor([[[[0.0, 0.25, 0.75, 1.0]]]]))


def test_resize_averages_over_the_covered_pixels_if_antialiased() -> None:
    x = torch.zeros(1, 1, 1, 8)
    x[..., 3] = 1
    small = resize(x, (1, 2), antialias=True)
    assert small[0, 0, 0, 0] > small[0, 0, 0, 1] > 0
    assert resize(x, (1, 2)).sum() == 0
    ones = resize(torch.ones(1, 1, 7, 9), (3, 4), antialias=True)
    torch.testing.assert_close(ones, torch.ones(1, 1, 3, 4))


def test_upsampling_tail_equals_its_parts() -> None:
    tail = upsampling_tail(3).double().eval()
    maps = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    doubling, norm, _, mix = tail
    with torch.no_grad():
        spread = torch.einsum("bchw,cdij->bdhiwj", maps, doubling.weight).reshape(2, 3, 8, 10)
        spread = spread + doubling.bias.view(3, 1, 1)
        scaled = spread / (1 + norm.eps) ** 0.5
        expected = torch.nn.functional.conv2d(scaled.relu(), mix.weight, mix.bias, padding=1)
        torch.testing.assert_close(tail(maps), expected)
