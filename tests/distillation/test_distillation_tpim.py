import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from reference.distillation_checks import (
    LargestTensor,
    assert_close,
    assert_same,
    gradients,
    make_features,
)
from reference.distillation_tpim import tpim
from taskprism.distillation import TPIM, SpatialAttention
from taskprism.distillation.tpim import IterativeFusion, attention
from taskprism.errors import InputError, UnknownNameError

SOURCES = ["semseg", "depth", "edge"]


def build(tasks=("semseg", "depth"), channels=4, **options):
    return TPIM(list(tasks), channels, SOURCES, **options).double()


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("fusion", ["none", "A", "B", "C"])
@pytest.mark.parametrize("store_affinity", [True, False])
def test_equals_the_equations(fusion, store_affinity):
    module = build(fusion=fusion, iterations=3, downscale=2, store_affinity=store_affinity)
    features = make_features(SOURCES, (2, 4, 5, 7))
    assert_same(module, module(features), tpim(module, features, 3), features)


@pytest.mark.parametrize("key_channels", [1, 4, 9])
def test_key_channels_wider_and_narrower_than_values(key_channels):
    module = build(key_channels=key_channels, iterations=2, downscale=1)
    features = make_features(SOURCES, (1, 4, 3, 4))
    assert_same(module, module(features), tpim(module, features, 2), features)


def stochastic(rows, seed=0):
    generator = torch.Generator().manual_seed(seed)
    scores = 3 * torch.randn(1, rows, rows, dtype=torch.float64, generator=generator)
    return scores.softmax(dim=2)


def fuse(fusion, alpha, iterations, co, values):
    block = IterativeFusion(fusion, iterations).double()
    if block.alpha is not None:
        torch.nn.init.constant_(block.alpha, alpha)
    return block(values, lambda v: co @ v)


def test_alpha_0_is_the_identity():
    co, values = stochastic(6), torch.randn(1, 6, 3, dtype=torch.float64)
    assert torch.equal(fuse("C", 0.0, 18, co, values), values)


def test_alpha_1_is_plain_iteration():
    co, values = stochastic(6), torch.randn(1, 6, 3, dtype=torch.float64)
    assert_close(fuse("C", 1.0, 5, co, values), fuse("A", 0.3, 5, co, values), 1e-12)


def test_constants_are_fixed_points_and_b_scales_them():
    co, values = stochastic(6), torch.full((1, 6, 3), 2.0, dtype=torch.float64)
    assert_close(fuse("A", 0.3, 18, co, values), values, 1e-12)
    assert_close(fuse("C", 0.3, 18, co, values), values, 1e-12)
    assert_close(fuse("B", 0.3, 18, co, values), 1.3**18 * values, 1e-12)
    assert abs(1.3**18 - 112.5) < 0.05


def test_c_is_a_matrix_power():
    co, values = stochastic(6), torch.randn(1, 6, 3, dtype=torch.float64)
    step = 0.3 * co + 0.7 * torch.eye(6, dtype=torch.float64)
    expected = torch.linalg.matrix_power(step, 18) @ values
    assert_close(fuse("C", 0.3, 18, co, values), expected, 1e-12)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.9, 1.0])
def test_spectral_radius_of_c_is_at_most_1(alpha):
    for seed in range(5):
        step = fuse("C", alpha, 1, stochastic(8, seed), torch.eye(8, dtype=torch.float64)[None])
        assert torch.linalg.eigvals(step).abs().max() <= 1 + 1e-12
        values = torch.randn(1, 8, 3, dtype=torch.float64)
        assert (
            fuse("C", alpha, 18, stochastic(8, seed), values).abs().max()
            <= values.abs().max() + 1e-12
        )


def test_clamped_alpha_cannot_grow():
    co, values = stochastic(8), torch.randn(1, 8, 3, dtype=torch.float64)
    block = IterativeFusion("C", 18, alpha_init=1.5, clamp_alpha=True).double()
    assert_close(block(values, lambda v: co @ v), fuse("A", 1.0, 18, co, values), 1e-12)


def test_alpha_starts_at_alpha_init():
    assert IterativeFusion(alpha_init=0.25).alpha.item() == 0.25
    assert IterativeFusion("A").alpha is None


def test_one_plain_iteration_is_plain_attention():
    co, values = stochastic(6), torch.randn(1, 6, 3, dtype=torch.float64)
    assert torch.equal(fuse("A", 0.3, 1, co, values), co @ values)
    assert torch.equal(fuse("none", 0.3, 18, co, values), co @ values)


def test_without_global_attention_it_is_spatial_attention():
    module = build(downscale=2)
    plain = SpatialAttention(module.tasks, 4, SOURCES).double()
    for task in module.tasks:
        for source, block in module.blocks[task].items():
            plain.messages[task][source].load_state_dict(block.own.state_dict())
            torch.nn.init.zeros_(block.value[1].weight)  # the norm before the ReLU
    features = make_features(SOURCES, (1, 4, 6, 5), grad=False)
    ours, theirs = module(features), plain(features)
    for task in theirs:
        assert_close(ours[task], theirs[task], 1e-12)


def test_affinity_is_not_stored():
    module = build(channels=2, iterations=3, downscale=1).float()
    features = make_features(SOURCES, (1, 2, 24, 24), dtype=torch.float32)
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION), LargestTensor() as seen:
        gradients(module(features), [*features.values(), *module.parameters()])
    assert seen.numel < 24**4 / 10
    for task in module.tasks:
        for block in module.blocks[task].values():
            block.store_affinity = True
    with LargestTensor() as stored:
        module(features)
    assert stored.numel == 24**4


def test_attention_rows_are_target_positions():
    query, key = torch.randn(1, 5, 2), torch.randn(1, 3, 2)
    one_hot = torch.eye(3)[None]
    for store in (True, False):
        matrix = attention(query, key, store)(one_hot)
        assert matrix.shape == (1, 5, 3)
        assert_close(matrix.sum(2), torch.ones(1, 5), 1e-5)


def test_parameter_counts():
    """Per pair 18 C^2 + 2 (C d + 2 d) + C^2 + 2 C + 1 with d = C / 2."""
    pair = TPIM(["a"], 18, ["a", "b"])
    assert count(pair) == 18 * 18**2 + 2 * (18 * 9 + 18) + 18**2 + 36 + 1
    widths = (18, 36, 72, 144)
    assert sum(count(TPIM(["a", "b"], c)) for c in widths) == 1_103_768
    assert sum(count(TPIM(["a", "b", "c"], c)) for c in widths) == 3_311_304
    assert count(TPIM(["a", "b"], 256)) == 2_623_490
    assert count(TPIM(["a", "b"], 18, fusion="A")) == count(TPIM(["a", "b"], 18)) - 2


def test_grid_of_stride_16():
    assert [TPIM.options_at(stride)["downscale"] for stride in (4, 8, 16, 32)] == [4, 2, 1, 1]


def test_downscale_beyond_the_map():
    module = build(downscale=16, iterations=2)
    features = make_features(SOURCES, (2, 4, 3, 5))
    assert_same(module, module(features), tpim(module, features, 2), features)


def test_wrong_options_are_errors():
    with pytest.raises(UnknownNameError, match="fusion of TPIM"):
        build(fusion="D")
    with pytest.raises(InputError, match=r"iterations must be .* got -1"):
        build(iterations=-1)
    with pytest.raises(InputError, match=r"downscale must be .* got 0"):
        build(downscale=0)
