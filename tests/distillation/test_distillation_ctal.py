import pytest
import torch

from reference.distillation_checks import (
    LargestTensor,
    assert_close,
    assert_same,
    gradients,
    make_features,
)
from reference.distillation_ctal import ctal_direct, ctal_loops
from taskprism.distillation import CTAL, create_distillation, ctal, shifted_products
from taskprism.distillation.ctal import direct_is_faster
from taskprism.errors import InputError, UnknownNameError

NAMES = ["semseg", "depth", "normals", "edge", "saliency"]


def build(count=2, size=(5, 7), channels=3, dtype=torch.float64, **options):
    return CTAL(NAMES[:count], channels, size, **options).to(dtype)


@pytest.mark.parametrize("method", ["linear", "direct"])
@pytest.mark.parametrize("kernel_size", [1, 3, 5, 7])
@pytest.mark.parametrize("shared_kernel", [True, False])
def test_equals_plain_loops(method, kernel_size, shared_kernel):
    module = build(2, (3, 4), 2, kernel_size=kernel_size, shared_kernel=shared_kernel)
    module.method, module.gamma = method, 0.7
    features = make_features(module.tasks, (1, 2, 3, 4), grad=False)
    with torch.no_grad():
        kernel, bias = module.kernel, module.kernel_bias
        kernels = [kernel, kernel] if shared_kernel else list(kernel)
        biases = [bias, bias] if shared_kernel else list(bias)
        values = [module.values[task](features[task])[0] for task in module.tasks]
        maps = [features[task][0] for task in module.tasks]
        expected = ctal_loops(maps, values, kernels, biases, module.gamma)
        ours = module(features)
    for task, value in zip(module.tasks, expected, strict=True):
        assert_close(ours[task][0], value, 1e-10, task)


@pytest.mark.parametrize("method", ["linear", "direct"])
@pytest.mark.parametrize("kernel_size", [1, 3, 5, 7])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("shared_kernel", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_equals_the_released_arrangement(method, kernel_size, count, shared_kernel, bias):
    size = (5, 7) if count % 2 else (8, 6)
    module = build(
        count, size, kernel_size=kernel_size, shared_kernel=shared_kernel, bias=bias, method=method
    )
    module.gamma = 0.6  # the small default would hide errors of the diffused part
    features = make_features(module.tasks, (2, 3, *size))
    assert_same(module, module(features), ctal_direct(module, features), features)


@pytest.mark.parametrize("method", ["linear", "direct"])
@pytest.mark.parametrize("kernel_size", [1, 3, 5, 7])
def test_single_precision(method, kernel_size):
    module = build(3, (8, 7), 8, kernel_size=kernel_size, method=method)
    features = make_features(module.tasks, (1, 8, 8, 7))
    exact = ctal_direct(module, features)
    wanted = gradients(exact, [*features.values(), *module.parameters()])
    module.float()
    single = {task: x.detach().float().requires_grad_() for task, x in features.items()}
    ours = module(single)
    for task, value in exact.items():
        assert_close(ours[task].double(), value, 1e-4, task)
    found = gradients(ours, [*single.values(), *module.parameters()])
    for mine, other in zip(found, wanted, strict=True):
        assert_close(mine.double(), other, 1e-4)


def test_reduced_precision_uses_no_transforms(monkeypatch):
    module = build(2, method="linear")
    features = make_features(module.tasks, (1, 3, 5, 7))
    monkeypatch.setattr(shifted_products, "_use_tiles", lambda *_: False)
    assert_same(module, module(features), ctal_direct(module, features), features, 1e-12)
    monkeypatch.undo()
    assert shifted_products._use_tiles(torch.zeros(1), 3)
    assert not shifted_products._use_tiles(torch.zeros(1, dtype=torch.bfloat16), 3)
    torch.set_float32_matmul_precision("high")
    try:
        assert not shifted_products._use_tiles(torch.zeros(1), 3)
        assert shifted_products._use_tiles(torch.zeros(1, dtype=torch.float64), 3)
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("method", ["linear", "direct"])
@pytest.mark.parametrize("shared_kernel", [True, False])
def test_results_do_not_depend_on_block_sizes(monkeypatch, method, shared_kernel):
    module = build(3, (9, 7), method=method, shared_kernel=shared_kernel)
    features = make_features(module.tasks, (2, 3, 9, 7))
    monkeypatch.setattr(ctal, "_ROWS_BLOCK", 63 * 3 * 5)
    monkeypatch.setattr(ctal, "_BLOCK_ON_CPU", 9 * 11)
    monkeypatch.setattr(shifted_products, "_STRIP_ON_CPU", 1)
    assert_same(module, module(features), ctal_direct(module, features), features)


def test_auxiliary_sources():
    module = CTAL(["depth"], 3, (4, 5), sources=["semseg", "depth", "edge"], method="linear")
    module.double()
    features = make_features(module.sources, (2, 3, 4, 5))
    assert module.kernel.shape == (20, 3, 3, 3)
    assert list(module.values) == ["depth"]
    assert_same(module, module(features), ctal_direct(module, features), features)


def test_linear_form_never_stores_a_position_by_position_matrix():
    """The largest tensor grows with the number of positions, in both passes."""
    largest = []
    for side in (24, 48):
        module = build(2, (side, side), 4, method="linear")
        features = make_features(module.tasks, (1, 4, side, side))
        with LargestTensor() as seen:
            gradients(module(features), [*features.values(), *module.parameters()])
        largest.append(seen.numel)
        assert seen.numel < side**4 / 4
    assert largest[1] <= 4.5 * largest[0]


def test_direct_form_works_in_blocks(monkeypatch):
    monkeypatch.setattr(ctal, "_ROWS_BLOCK", 2**14)
    module = build(2, (24, 24), 4, method="direct")
    features = make_features(module.tasks, (1, 4, 24, 24))
    with LargestTensor() as seen:
        gradients(module(features), [*features.values(), *module.parameters()])
    assert seen.numel <= 2**15


def test_gamma_0_is_the_identity():
    module = build(2, gamma=0.0)
    features = make_features(module.tasks, (2, 3, 5, 7), grad=False)
    for task, value in module(features).items():
        assert torch.equal(value, features[task])


def test_permuting_tasks_permutes_outputs():
    module = build(3, (4, 6), method="linear", shared_kernel=False)
    order = [2, 0, 1]
    other = CTAL([NAMES[i] for i in order], 3, (4, 6), shared_kernel=False).double()
    state = module.state_dict()
    state["kernel"] = state["kernel"][order][:, :, order]
    state["kernel_bias"] = state["kernel_bias"][order]
    other.load_state_dict(state)
    features = make_features(module.tasks, (1, 3, 4, 6), grad=False)
    ours, theirs = module(features), other(features)
    assert list(theirs) == other.tasks
    for task in ours:
        assert_close(theirs[task], ours[task], 1e-10)


def test_parameter_counts():
    """Counts of the released module at 72x96 with three tasks: HW (9 N + 1), and 3 (9 C^2 + C)."""
    module = CTAL(["semseg", "depth", "normals"], 128, (72, 96))
    fused = sum(p.numel() for p in (module.kernel, module.kernel_bias))
    assert fused == 72 * 96 * (9 * 3 + 1) == 193_536
    assert sum(p.numel() for p in module.values.parameters()) == 442_752
    assert sum(p.numel() for p in module.parameters()) == 636_288
    per_task = CTAL(["semseg", "depth", "normals"], 4, (6, 8), shared_kernel=False)
    assert per_task.kernel.numel() == 3 * 48 * 27


def test_kernel_is_initialized_like_a_convolution():
    module = CTAL(["a", "b"], 2, (30, 30))
    limit = 18**-0.5
    assert 0.98 * limit < module.kernel.abs().max() <= limit
    assert 0.98 * limit < module.kernel_bias.abs().max() <= limit


def test_another_size_is_an_error_that_names_both_sizes():
    module = build(2, (5, 7))
    with pytest.raises(InputError, match=r"5x7.*4x7.*size=\(4, 7\).*resample"):
        module(make_features(module.tasks, (1, 3, 4, 7)))


def test_another_size_resamples_the_kernel():
    module = build(2, (4, 6), other_size="resample", method="linear")
    torch.nn.init.constant_(module.kernel, 0.5)
    torch.nn.init.constant_(module.kernel_bias, 0.25)
    kernel, bias = module._kernel_at((8, 6))
    assert kernel.shape == (1, 48, 2, 3, 3)
    assert bias.shape == (1, 48)
    assert_close(kernel, torch.full_like(kernel, 0.25), 1e-12)  # twice the positions
    assert_close(bias, torch.full_like(bias, 0.125), 1e-12)
    features = make_features(module.tasks, (1, 3, 8, 6))
    gradients(module(features), list(module.parameters()))
    same = module._kernel_at((4, 6))[0]
    assert torch.equal(same[0], module.kernel)


def test_resampling_keeps_magnitude():
    """Maps repeated to four times the positions give the repeated result."""
    module = build(2, (6, 6), kernel_size=1, other_size="resample", gamma=1.0)
    torch.nn.init.constant_(module.kernel, 0.3)
    for conv in module.values.values():  # a 1x1 value, as borders of repeated maps differ
        conv.weight.data[:, :, [0, 0, 0, 1, 1, 2, 2, 2], [0, 1, 2, 0, 2, 0, 1, 2]] = 0
    torch.nn.init.constant_(module.kernel_bias, 0.1)
    features = make_features(module.tasks, (1, 3, 6, 6), grad=False)
    small = module(features)
    large = module(
        {t: x.repeat_interleave(2, 2).repeat_interleave(2, 3) for t, x in features.items()}
    )
    for task in small:
        repeated = small[task].repeat_interleave(2, 2).repeat_interleave(2, 3)
        assert_close(large[task], repeated, 1e-10, task)


def test_auto_selects_the_form_by_size():
    """Small maps use the direct form, large ones the linear form; gradients shift the limit."""
    for training in (True, False):
        with torch.set_grad_enabled(training):
            assert direct_is_faster(18 * 24, 128, 3, 3, 3, 1)
            assert not direct_is_faster(72 * 96, 128, 3, 3, 3, 1)
            assert not direct_is_faster(144 * 192, 256, 5, 5, 7, 5)
    assert not direct_is_faster(24 * 32, 32, 3, 3, 7, 1)
    with torch.no_grad():
        assert direct_is_faster(24 * 32, 32, 3, 3, 7, 1)
    module = CTAL(NAMES[:3], 128, (18, 24))
    assert module._use_direct(module.kernel[None])
    module.method = "linear"
    assert not module._use_direct(module.kernel[None])


@pytest.mark.parametrize("method", ["linear", "direct"])
def test_autocast(method):
    module = build(2, (6, 5), 8, dtype=torch.float32, method=method)
    features = make_features(module.tasks, (1, 8, 6, 5), dtype=torch.float32)
    exact = module(features)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = module(features)
    for task in exact:
        assert rough[task].isfinite().all()
        assert_close(rough[task].float(), exact[task], 2e-2, task)
    gradients(rough, list(features.values()))


@pytest.mark.parametrize("method", ["linear", "direct"])
def test_export_with_any_batch(method):
    module = build(2, (9, 6), method=method, dtype=torch.float32).eval()
    features = make_features(module.tasks, (2, 3, 9, 6), dtype=torch.float32, grad=False)
    batch = torch.export.Dim("batch", min=2, max=16)
    shapes = ({task: {0: batch} for task in features},)
    program = torch.export.export(module, (features,), dynamic_shapes=shapes).module()
    other = make_features(module.tasks, (5, 3, 9, 6), dtype=torch.float32, seed=1, grad=False)
    for task, value in module(other).items():
        assert_close(program(other)[task], value, 1e-5)


def test_frozen_parameters():
    module = build(2, method="linear")
    module.kernel.requires_grad_(False)
    features = make_features(module.tasks, (1, 3, 5, 7))
    sum(x.sum() for x in module(features).values()).backward()
    assert module.kernel.grad is None
    assert all(x.grad is not None for x in features.values())


def test_wrong_options_are_errors():
    with pytest.raises(InputError, match="odd"):
        build(kernel_size=2)
    with pytest.raises(UnknownNameError, match="linear"):
        build(method="liner")
    with pytest.raises(UnknownNameError, match="resample"):
        build(other_size="crop")
    with pytest.raises(InputError, match="size"):
        create_distillation("ctal", ["a"], 4)


@pytest.mark.parametrize("size", [(65536, 65536), (65536, 2000)])
def test_kernels_that_no_memory_holds_are_errors(size):
    with pytest.raises(InputError, match=r"weights, more than 1073741824\. Give smaller feature"):
        CTAL(["a", "b"], 4, size)
