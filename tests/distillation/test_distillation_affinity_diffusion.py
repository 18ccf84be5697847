import pytest
import torch

from reference.distillation_affinity_diffusion import affinity_diffusion
from reference.distillation_checks import (
    LargestTensor,
    assert_close,
    assert_same,
    gradients,
    make_features,
)
from taskprism.distillation import AffinityDiffusion
from taskprism.errors import InputError, UnknownNameError

SOURCES = ["semseg", "depth", "edge"]


def build(**options):
    module = AffinityDiffusion(["semseg", "depth"], 4, SOURCES, **options).double()
    torch.nn.init.normal_(module.mixing)
    return module


@pytest.mark.parametrize("method", ["linear", "direct"])
@pytest.mark.parametrize("normalize", ["positions", "channels"])
@pytest.mark.parametrize("iterations", [1, 2, 3])
def test_equals_explicit_matrices(method, normalize, iterations):
    module = build(method=method, normalize=normalize, iterations=iterations, beta=0.3)
    features = make_features(SOURCES, (2, 4, 5, 3))
    assert_same(module, module(features), affinity_diffusion(module, features), features)


def test_single_precision():
    module = build()
    # Positive features, as after a ReLU, keep the sums of affinities away from 0.
    features = {name: x.abs() for name, x in make_features(SOURCES, (1, 4, 8, 7)).items()}
    exact = affinity_diffusion(module, features)
    single = module.float()({name: x.float() for name, x in features.items()})
    for task, value in exact.items():
        assert_close(single[task].double(), value, 1e-4)


def test_beta_0_is_the_identity():
    module = build(beta=0.0)
    features = make_features(SOURCES, (1, 4, 5, 3), grad=False)
    for task, value in module(features).items():
        assert torch.equal(value, features[task])


def test_rows_sum_to_1_with_the_papers_normalization():
    """Therefore constant features do not change, whatever the mixture."""
    module = build(normalize="channels", beta=0.9, iterations=3)
    features = {
        name: x.abs() for name, x in make_features(SOURCES, (1, 4, 5, 3), grad=False).items()
    }
    features["depth"] = torch.ones_like(features["depth"])
    assert_close(module(features)["depth"], features["depth"], 1e-10)


def test_mixing_weights_are_the_only_parameters_and_start_equal():
    module = AffinityDiffusion(["a", "b"], 128, ["a", "b", "c"])
    assert torch.equal(module.mixing, torch.full((2, 3), 1 / 3))
    assert sum(p.numel() for p in module.parameters()) == 6


def test_permuting_tasks_permutes_outputs():
    module = build()
    other = AffinityDiffusion(["depth", "semseg"], 4, ["edge", "semseg", "depth"]).double()
    other.mixing.data = module.mixing.data[[1, 0]][:, [2, 0, 1]]
    features = make_features(SOURCES, (1, 4, 5, 3), grad=False)
    ours, theirs = module(features), other(features)
    assert list(theirs) == ["depth", "semseg"]
    for task in ours:
        assert_close(theirs[task], ours[task], 1e-10)


def test_linear_method_never_stores_a_position_by_position_matrix():
    module = build(method="auto")
    features = make_features(SOURCES, (1, 4, 16, 16))
    with LargestTensor() as seen:
        gradients(module(features), [*features.values(), module.mixing])
    assert seen.numel <= 16**2 * 4 * 3


def test_auto_selects_the_method_with_fewer_operations():
    module = AffinityDiffusion(["a", "b", "c"], 128)
    assert module._use_direct(18 * 24)
    assert not module._use_direct(72 * 96)


def test_vanishing_sums_stay_finite():
    """Features that cancel over all positions have affinities that sum to 0."""
    module = AffinityDiffusion(["a"], 1, beta=0.5)
    features = {"a": torch.tensor([1.0, -1.0]).view(1, 1, 1, 2).requires_grad_()}
    out = module(features)["a"]
    out.sum().backward()
    assert out.isfinite().all()
    assert features["a"].grad.isfinite().all()


def test_half_precision_features_stay_half_precision():
    module = build().float()
    features = make_features(SOURCES, (1, 4, 5, 3), dtype=torch.float32, grad=False)
    half = {name: x.abs().bfloat16() for name, x in features.items()}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = module(half)
    exact = module({name: x.float() for name, x in half.items()})
    for task in out:
        assert out[task].dtype == torch.bfloat16
        assert_close(out[task].float(), exact[task], 1e-2)


def test_wrong_options_are_errors():
    with pytest.raises(InputError, match=r"iterations must be .* got 0"):
        build(iterations=0)
    with pytest.raises(UnknownNameError, match="positions"):
        build(normalize="rows")
    with pytest.raises(UnknownNameError, match="linear"):
        build(method="fast")
