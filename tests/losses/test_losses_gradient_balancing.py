"""Gradient balancings: their weights against definitions, their backward pass against autograd."""

from __future__ import annotations

import copy
import itertools
import sys

import numpy as np
import pytest
import torch

from reference.shared_trunk import SharedTrunk, make_batch
from taskprism import create_model
from taskprism.errors import InputError, UnknownNameError
from taskprism.losses import (
    BALANCERS,
    GradientBalancing,
    SharedFeatures,
    SharedParameters,
    create_balancer,
)
from taskprism.losses.gramian_solvers import (
    bargaining_weights,
    conflict_averse_weights,
    dual_cone_weights,
)

METHODS = [entry.name for entry in BALANCERS.entries() if issubclass(entry.part, GradientBalancing)]
TASKS = {"a": 1.0, "b": 1.0, "c": 1.0}


class PlainSum(GradientBalancing):
    """Adds the gradients up, so that it must equal ``total.backward()``."""

    name = "plain_sum"

    def task_weights(self, gramian, losses):
        return torch.ones(len(losses))


def random_rows(seed: int, tasks: int = 3, size: int = 5) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(tasks, size))
    return rows * np.array([1.0, 5.0, 0.2, 1.0])[:tasks, None]


def combine(name: str, rows: np.ndarray, **options) -> np.ndarray:
    """The combined gradient, from a backward pass over losses that have these gradients."""
    tasks = [chr(ord("a") + place) for place in range(len(rows))]
    x = torch.zeros(rows.shape[1], dtype=torch.float64, requires_grad=True)
    shared = SharedFeatures()
    features = shared.cut(1 * x)
    losses = {task: torch.from_numpy(row) @ features for task, row in zip(tasks, rows, strict=True)}
    create_balancer(name, dict.fromkeys(tasks, 1.0), **options).backward(losses, shared)
    return x.grad.numpy()


def simplex(steps: int) -> np.ndarray:
    """Points of a grid on the simplex of three weights."""
    points = itertools.product(range(steps + 1), repeat=2)
    return np.array([(i, j, steps - i - j) for i, j in points if i + j <= steps]) / steps


SEEDS = pytest.mark.parametrize("seed", range(6))


@SEEDS
def test_mgda_finds_the_shortest_convex_combination(seed):
    rows = random_rows(seed)
    shortest = np.linalg.norm(simplex(200) @ rows, axis=1).min()
    found = np.linalg.norm(combine("mgda", rows))
    assert found <= shortest + 1e-9
    assert found >= shortest - 0.05


@SEEDS
def test_pcgrad_projects_conflicts_away(seed):
    first, second = rows = random_rows(seed, tasks=2)
    expected = np.zeros(5)
    for one, other in ((first, second), (second, first)):
        dot = one @ other
        expected += one - (dot / (other @ other) * other if dot < 0 else 0)
    np.testing.assert_allclose(combine("pcgrad", rows), expected, atol=1e-12)


def test_pcgrad_draws_its_order_from_seed_and_step():
    rows = np.array([[1.0, 0.0], [-0.9, 0.5], [-0.7, -0.6]])
    found = {tuple(combine("pcgrad", rows, seed=seed).round(9)) for seed in range(8)}
    assert len(found) > 1
    torch.manual_seed(1)
    before = torch.get_rng_state()
    again = {tuple(combine("pcgrad", rows, seed=seed).round(9)) for seed in range(8)}
    assert again == found
    assert torch.equal(torch.get_rng_state(), before)


@SEEDS
@pytest.mark.parametrize("c", [0.2, 0.9])
def test_cagrad_improves_the_worst_task_most(seed, c):
    rows = random_rows(seed)
    mean = rows.mean(0)
    found = combine("cagrad", rows, c=c)
    radius = c * np.linalg.norm(mean)
    assert np.linalg.norm(found - mean) <= radius + 1e-6
    moves = np.random.default_rng(seed).normal(size=(20000, 5))
    others = mean + radius * moves / np.linalg.norm(moves, axis=1, keepdims=True)
    assert (rows @ found).min() >= (others @ rows.T).min(1).max() - 1e-6


def test_cagrad_with_radius_0_is_the_mean():
    rows = random_rows(0)
    np.testing.assert_allclose(combine("cagrad", rows, c=0.0), rows.mean(0))


@SEEDS
def test_imtl_g_has_equal_projections(seed):
    rows = random_rows(seed)
    found = combine("imtl_g", rows)
    projections = rows @ found / np.linalg.norm(rows, axis=1)
    np.testing.assert_allclose(projections, projections[0])


@SEEDS
def test_aligned_mtl_averages_rows_with_equal_singular_values(seed):
    rows = random_rows(seed)
    left, values, right = np.linalg.svd(rows, full_matrices=False)
    expected = (values.min() * left @ right).mean(0)
    np.testing.assert_allclose(combine("aligned_mtl", rows), expected, atol=1e-9)


@SEEDS
def test_nash_mtl_gives_every_task_the_same_product(seed):
    rows = random_rows(seed)
    gramian = rows @ rows.T
    weights = bargaining_weights(gramian)
    assert (weights > 0).all()
    np.testing.assert_allclose(
        weights * (gramian @ weights), np.linalg.norm(gramian), rtol=1e-7, atol=0
    )
    np.testing.assert_allclose(combine("nash_mtl", rows), weights @ rows)


@SEEDS
def test_upgrad_projects_onto_directions_without_conflict(seed):
    rows = random_rows(seed)
    gramian = rows @ rows.T
    for start in np.eye(3):
        found = dual_cone_weights(gramian, start)
        # Karush-Kuhn-Tucker conditions of min v^T G v with v >= u.
        assert (found >= start - 1e-9).all()
        assert (gramian @ found >= -1e-9 * np.trace(gramian)).all()
        slack = (found - start) * (gramian @ found)
        np.testing.assert_allclose(slack, 0, atol=1e-9 * np.trace(gramian))
    assert (rows @ combine("upgrad", rows) >= -1e-6).all()


@pytest.mark.parametrize(
    "rows",
    [
        [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]],
        [[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]],
        [[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]],
        [[0.0, 0.0], [0.0, 0.0], [0.0, 0.0]],
        [[1e-12, 0.0], [0.0, 1e-12], [1e-12, 0.0]],
        [[1e12, 0.0], [0.0, 1e-3], [-1e12, 1.0]],
    ],
    ids=["equal", "opposite", "one zero", "all zero", "tiny", "huge"],
)
@pytest.mark.parametrize("name", METHODS)
def test_degenerate_gradients_stay_finite(name, rows):
    assert np.isfinite(combine(name, np.array(rows))).all()


@pytest.mark.parametrize("name", METHODS)
def test_a_gradient_that_is_not_finite_reaches_the_weights_and_changes_no_state(name):
    balancing = create_balancer(name, {"a": 1.0, "b": 1.0})
    before = copy.deepcopy(balancing.state_dict())
    x = torch.ones(2, requires_grad=True)
    shared = SharedFeatures()
    features = shared.cut(1 * x)
    balancing.backward({"a": features[0] * torch.inf, "b": features.sum()}, shared)
    assert not x.grad.isfinite().all()
    torch.testing.assert_close(balancing.state_dict(), before, rtol=0, atol=0)


# The backward pass


def run_backward(balancing, model, images, outputs_to_losses, shared=None, factor=1.0):
    with balancing.watch(model, images) as watched:
        losses = outputs_to_losses(model(images))
    return balancing.backward(losses, shared or watched, factor=factor)


def square_losses(predictions):
    losses = {}
    for scale in (predictions, *getattr(predictions, "initial", ())):
        for task, output in scale.items():
            losses[task] = losses.get(task, 0) + (output**2).mean()
    return losses


def gradients_of(model):
    return {k: None if v.grad is None else v.grad.clone() for k, v in model.named_parameters()}


MODELS = {
    "multi_task": ("features", "parameters"),
    "mti_net": ("features", "parameters"),
    "cross_stitch": ("parameters",),
    "astmt": ("parameters",),
}


@pytest.mark.parametrize(
    ("name", "where"), [(name, each) for name, kinds in MODELS.items() for each in kinds]
)
def test_the_sum_of_gradients_is_the_gradient_of_the_sum(name, where):
    torch.manual_seed(0)
    backbone = "se_resnet14_quarter" if name == "astmt" else "test_resnet"
    options = {"neck_channels": 8} if name == "mti_net" else {}
    model = create_model(name, ["depth", "edge"], backbone=backbone, **options).eval().double()
    images = torch.rand(1, 3, 64, 64, dtype=torch.float64)
    weights = {"depth": 2.0, "edge": 0.5}
    losses = square_losses(model(images))
    (3 * sum(weights[task] * loss for task, loss in losses.items())).backward()
    expected = gradients_of(model)
    model.zero_grad()
    run_backward(PlainSum(weights, where), model, images, square_losses, factor=3.0)
    torch.testing.assert_close(gradients_of(model), expected, rtol=1e-9, atol=1e-12)
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("where", ["features", "parameters"])
def test_shared_weights_get_the_combination_and_heads_their_own_gradient(where):
    model, (images, target) = SharedTrunk(("a", "b")), make_batch()
    balancing = create_balancer("mgda", {"a": 1.0, "b": 1.0}, shared=where)

    def losses_of(shared=None):
        outputs = model(images, shared)
        return {"a": ((outputs["a"] - target) ** 2).mean(), "b": (outputs["b"] ** 2).mean()}

    each = []
    for task in ("a", "b"):
        model.zero_grad()
        losses_of()[task].backward()
        each.append(gradients_of(model))
    model.zero_grad()
    features = SharedFeatures()
    shared = features if where == "features" else SharedParameters(model.trunk.parameters())
    losses = losses_of(features if where == "features" else None)
    weights = balancing.backward(losses, shared)
    assert sum(weights.values()) == pytest.approx(1)
    found = gradients_of(model)
    for name in found:
        if name.startswith("trunk"):
            expected = weights["a"] * each[0][name] + weights["b"] * each[1][name]
        else:
            expected = each[".b." in name][name]
        torch.testing.assert_close(found[name], expected)
    # The next batch adds to it, and a factor does not change the weights.
    losses = losses_of(features if where == "features" else None)
    assert balancing.backward(losses, shared, factor=1024.0) == pytest.approx(weights)
    torch.testing.assert_close(gradients_of(model), {k: 1025 * v for k, v in found.items()})


def test_bf16_autocast_gives_finite_gradients_near_those_of_full_precision():
    torch.manual_seed(0)
    model = create_model("multi_task", ["depth", "edge"], backbone="test_resnet").eval()
    images = torch.rand(2, 3, 64, 64)
    found = []
    for enabled in (False, True):
        balancing = create_balancer("imtl_g", {"depth": 1.0, "edge": 1.0})
        model.zero_grad()
        with (
            balancing.watch(model, images) as shared,
            torch.autocast("cpu", torch.bfloat16, enabled=enabled),
        ):
            losses = square_losses({k: v.float() for k, v in model(images).items()})
        balancing.backward(losses, shared)
        found.append(torch.cat([p.grad.flatten() for p in model.backbone.parameters()]))
    assert torch.cosine_similarity(*found, dim=0) > 0.95


def test_finding_shared_parameters_changes_nothing():
    model = create_model(
        "mti_net", ["depth", "edge"], backbone="test_resnet", neck_channels=8
    ).train()
    model.backbone.eval()
    before, modes = copy.deepcopy(model.state_dict()), [m.training for m in model.modules()]
    shared = SharedParameters.find(model, torch.rand(1, 3, 64, 64))
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert [module.training for module in model.modules()] == modes
    assert all(p.grad is None for p in model.parameters())
    found = {id(p) for p in shared.tensors()}
    backbone = {id(p) for p in model.backbone.parameters()}
    assert backbone < found  # the exchange between tasks is shared as well
    assert found < {id(p) for p in model.parameters()}


def test_a_task_that_is_not_trained_does_not_make_parameters_shared():
    model = SharedTrunk(("a", "b"))
    images, _ = make_batch()
    assert SharedParameters.find(model, images).tensors() == list(model.trunk.parameters())
    with pytest.raises(InputError, match=r"No parameter of this model is shared .*'fixed'"):
        SharedParameters.find(model, images, tasks=["a"])


def test_models_that_share_nothing_are_named_errors():
    images = torch.rand(1, 3, 64, 64)
    weights = {"depth": 1.0, "edge": 1.0}
    single = create_model("single_task", ["depth", "edge"], backbone="test_resnet").eval()
    with pytest.raises(InputError, match="No parameter of this model is shared"):
        run_backward(PlainSum(weights, "parameters"), single, images, square_losses)
    with pytest.raises(InputError, match="no shared tensor in common"):
        run_backward(PlainSum(weights), single, images, square_losses)
    stitched = create_model("cross_stitch", ["depth", "edge"], backbone="test_resnet").eval()
    with pytest.raises(InputError, match=r"No shared features .* shared: parameters"):
        run_backward(PlainSum(weights), stitched, images, square_losses)


def test_wrong_arguments_of_backward_are_named_errors():
    x = torch.ones(2, requires_grad=True)
    balancing = PlainSum({"a": 1.0, "b": 1.0})
    with pytest.raises(InputError, match="expected shared features, got shared parameters"):
        balancing.backward({"a": x.sum()}, SharedParameters([x]))
    shared = SharedFeatures()
    features = shared.cut(1 * x)
    with pytest.raises(UnknownNameError, match="'z'"):
        balancing.backward({"z": features.sum()}, shared)
    with pytest.raises(InputError, match="at least one task"):
        balancing.backward({}, shared)


@pytest.mark.parametrize("name", ["pcgrad", "imtl_g", "aligned_mtl"])
def test_without_torchjd_the_error_says_what_to_install(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchjd.aggregation", None)
    with pytest.raises(InputError, match=r"pip install 'taskprism\[balancing\]'"):
        create_balancer(name, TASKS)


@pytest.mark.parametrize("name", ["mgda", "cagrad", "nash_mtl", "upgrad", "gradnorm"])
def test_some_methods_need_no_further_package(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchjd", None)
    monkeypatch.setitem(sys.modules, "torchjd.aggregation", None)
    assert create_balancer(name, TASKS).name == name


def test_cagrad_does_not_move_where_no_direction_improves_all_tasks():
    opposite = np.array([[1.0, -1.0], [-1.0, 1.0]])
    np.testing.assert_array_equal(conflict_averse_weights(opposite, 0.5), [0, 0])
