import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from reference.distillation_checks import LargestTensor, assert_same, gradients, make_features
from reference.distillation_xtam import xtam
from taskprism.distillation import XTAM
from taskprism.errors import InputError

SOURCES = ["semseg", "depth", "edge"]


def build(**options):
    module = XTAM(["semseg", "depth"], 4, SOURCES, **options).double()
    for name, parameter in module.named_parameters():
        if name.endswith("alpha"):
            torch.nn.init.normal_(parameter)  # 0 would hide the correlation
    return module


@pytest.mark.parametrize(
    ("downscale", "size"), [(1, (3, 4)), (2, (6, 4)), (2, (7, 5)), (4, (8, 9))]
)
def test_equals_the_equations(downscale, size):
    module = build(downscale=downscale)
    features = make_features(SOURCES, (2, 4, *size))
    assert_same(module, module(features), xtam(module, features), features)


def test_alpha_starts_at_0():
    for name, parameter in XTAM(["a", "b"], 4).named_parameters():
        if name.endswith("alpha"):
            assert parameter.shape == (1, 4, 1, 1)
            assert not parameter.any()


def test_parameter_counts():
    """Per source 18 C^2 + C, correlation 3 (C^2 + 2 C) + C, 1.5 C^2 + 2 C; and (N-1) C^2 + 2 C."""
    counts = {
        n: sum(p.numel() for p in XTAM(list("abcd")[:n], 128).parameters()) for n in (2, 3, 4)
    }
    assert counts == {2: 773_120, 3: 2_318_592, 4: 4_636_672}
    block = XTAM(["a"], 128, ["a", "b"])
    message = block.messages["a"]["b"]
    assert sum(p.numel() for p in message.extract.parameters()) == 147_584
    assert sum(p.numel() for p in message.own.parameters()) == 147_456
    assert sum(p.numel() for p in message.project.parameters()) == 24_832
    assert sum(p.numel() for p in block.merge.parameters()) == 16_640


def test_correlation_is_not_stored():
    module = build(downscale=1).float()
    features = make_features(SOURCES, (1, 4, 24, 24), dtype=torch.float32)
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION), LargestTensor() as seen:
        gradients(module(features), [*features.values(), *module.parameters()])
    assert seen.numel < 24**4 / 10


def test_grid_of_stride_8():
    assert [XTAM.options_at(stride)["downscale"] for stride in (2, 4, 8, 32)] == [4, 2, 1, 1]


def test_wrong_options_are_errors():
    with pytest.raises(InputError, match=r"downscale must be .* got 0"):
        build(downscale=0)
    with pytest.raises(InputError, match=r"channels must be .* got 1"):
        XTAM(["a"], 1)
