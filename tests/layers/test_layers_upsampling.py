from __future__ import annotations

import torch

from taskprism.layers import upsampling_tail


def test_every_position_becomes_four() -> None:
    tail = upsampling_tail(3).double().eval()
    maps = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    doubling, norm, _, mix = tail
    with torch.no_grad():
        spread = torch.einsum("bchw,cdij->bdhiwj", maps, doubling.weight).reshape(2, 3, 8, 10)
        spread = spread + doubling.bias.view(3, 1, 1)
        scaled = spread / (1 + norm.eps) ** 0.5
        expected = torch.nn.functional.conv2d(scaled.relu(), mix.weight, mix.bias, padding=1)
        torch.testing.assert_close(tail(maps), expected)
