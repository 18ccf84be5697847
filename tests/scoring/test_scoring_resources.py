from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from taskprism.models import create_model
from taskprism.scoring.resources import PeakMemory, count_macs, count_parameters, profile


class Chain(nn.Module):
    """Three layers in sequence; each result is freed when the next one exists."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.last = nn.Conv2d(8, 2, 1, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        return self.last(self.norm(self.first(images)).relu_())


def test_counts_equal_manual_calculation() -> None:
    model = Chain()
    resources = profile(model, (6, 10), batch=2, repeats=2)
    assert resources.parameters == count_parameters(model) == 3 * 8 * 9 + 8 + 16 + 16
    pixels = 2 * 6 * 10
    assert resources.macs == pixels * (3 * 8 * 9 + 8 * 2)
    assert count_macs(model, (6, 10)) == resources.macs // 2
    assert resources.latency_s is not None
    assert resources.latency_s > 0
    weights = 4 * (3 * 8 * 9 + 8 + 16 + 16) + 4 * 16 + 8  # and running statistics, and a counter
    images, eight = 4 * pixels * 3, 4 * pixels * 8
    # A batch norm may return its statistics in addition to the result.
    assert resources.peak_memory_bytes == pytest.approx(weights + images + 2 * eight, abs=64)


@pytest.mark.parametrize("backbone", ["test_convnext", "vit_tiny_patch16_224"])
def test_operations_equal_those_of_pytorchs_counter(backbone: str) -> None:
    """Convolutions, and attention, for which the counter of PyTorch has separate formulas."""
    with torch.device("meta"):
        model = create_model("pad_net", {"semseg": 5, "depth": 1}, backbone=backbone).eval()
        images = torch.empty(1, 3, 224, 224)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(images)
    assert counter.get_total_flops() > 0
    assert count_macs(model, (224, 224)) == counter.get_total_flops() // 2


def test_profile_does_not_change_the_model() -> None:
    model = Chain().train()
    model.norm.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    profile(model, (4, 4), repeats=1)
    assert model.training
    assert not model.norm.training
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_latency_is_optional() -> None:
    assert profile(Chain(), (4, 4), repeats=0).latency_s is None


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_peak_memory_accounts_for_freed_tensors(device: str) -> None:
    with PeakMemory() as memory:
        x = torch.zeros(256, device=device)
        y = x + 1
        view = y.view(16, 16)  # shares the memory of y
        y.add_(1)
        assert memory.current == 2 * 1024
        del x
        assert memory.current == 1024
        z = view * 2
        assert memory.current == 2 * 1024
        del y, view, z
    assert memory.current == 0
    assert memory.peak == 2 * 1024
