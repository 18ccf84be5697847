"""Loss balancings against values computed by hand, numerically or by a slow, obvious way."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.integrate import quad

from reference.shared_trunk import SharedTrunk, make_batch, take_step
from taskprism.errors import InputError
from taskprism.losses import SharedFeatures, create_balancer

PAIR = {"a": 1.0, "b": 1.0}


def tensors(**losses: float) -> dict[str, torch.Tensor]:
    return {
        task: torch.tensor(loss, dtype=torch.float64, requires_grad=True)
        for task, loss in losses.items()
    }


def gradients(balancing, **losses: float) -> list[float]:
    leaves = tensors(**losses)
    balancing(leaves).backward()
    return [leaf.grad.item() for leaf in leaves.values()]


# uncertainty


@pytest.mark.parametrize("weights", [PAIR, {"a": 3.0, "b": 0.5}])
def test_learned_variances_end_at_the_losses(weights):
    balancing = create_balancer("uncertainty", weights)
    optimizer = torch.optim.LBFGS(balancing.parameters(), line_search_fn="strong_wolfe")
    losses = {"a": torch.tensor(0.25), "b": torch.tensor(4.0)}

    def closure():
        optimizer.zero_grad()
        total = balancing(losses)
        total.backward()
        return total

    for _ in range(5):
        optimizer.step(closure)
    found = [each.exp().item() for each in balancing.log_variances]
    assert found == pytest.approx([0.25, 4.0], rel=1e-3)
    # The gradient of a task is then its weight / (2 variance).
    expected = [weights["a"] / 0.5, weights["b"] / 8]
    assert gradients(balancing, a=0.25, b=4.0) == pytest.approx(expected, rel=1e-3)


# dynamic weight averaging


def test_dwa_follows_three_epochs_computed_by_hand():
    balancing = create_balancer("dwa", PAIR)
    balancing.finish_epoch({"a": 2.0, "b": 4.0})
    assert gradients(balancing, a=1.0, b=1.0) == [1.0, 1.0]
    balancing.finish_epoch({"a": 1.0, "b": 4.0})
    # r = (0.5, 1): 2 e^0.25 / (e^0.25 + e^0.5) = 2 * 1.284025 / 2.932747
    assert gradients(balancing, a=1.0, b=1.0) == pytest.approx([0.875647, 1.124353], abs=1e-5)
    balancing.finish_epoch({"a": 0.8, "b": 1.0})
    # r = (0.8, 0.25): 2 e^0.4 / (e^0.4 + e^0.125) = 2 * 1.491825 / 2.624973
    assert gradients(balancing, a=1.0, b=1.0) == pytest.approx([1.136640, 0.863360], abs=1e-5)


def test_dwa_leaves_out_epochs_without_labels():
    full, partial = create_balancer("dwa", PAIR), create_balancer("dwa", PAIR)
    for a, b in [(2.0, 4.0), (1.0, 3.0)]:
        full.finish_epoch({"a": a, "b": b})
    partial.finish_epoch({"b": 4.0})
    partial.finish_epoch({"a": 2.0, "b": 3.0})
    partial.finish_epoch({"a": 1.0})
    assert torch.equal(full.task_weights(), partial.task_weights())


def test_dwa_with_a_high_temperature_is_fixed():
    balancing = create_balancer("dwa", {"a": 2.0, "b": 1.0}, temperature=1e6)
    balancing.finish_epoch({"a": 9.0, "b": 1.0})
    balancing.finish_epoch({"a": 1.0, "b": 1.0})
    assert gradients(balancing, a=1.0, b=1.0) == pytest.approx([2.0, 1.0], rel=1e-5)


# random weights


def test_random_weights_have_the_moments_of_a_softmax_of_normal_draws():
    balancing = create_balancer("random", PAIR, seed=7)
    draws = []
    for _ in range(4000):
        draws.append(balancing.task_weights())
        balancing.finish_step({})
    draws = torch.stack(draws)
    torch.testing.assert_close(draws.sum(1), torch.full((4000,), 2.0))

    def density(z):  # of z_a - z_b, a normal variable of variance 2
        return math.exp(-z * z / 4) / math.sqrt(4 * math.pi)

    second = quad(lambda z: (2 / (1 + math.exp(-z))) ** 2 * density(z), -30, 30)[0]
    assert draws.mean(0).tolist() == pytest.approx([1, 1], abs=0.04)
    assert (draws**2).mean(0).tolist() == pytest.approx([second] * 2, rel=0.05)
    assert abs(torch.corrcoef(torch.stack([draws[:-1, 0], draws[1:, 0]]))[0, 1]) < 0.05


def test_random_weights_depend_on_seed_and_step_only():
    first, second, other = (create_balancer("random", PAIR, seed=seed) for seed in (1, 1, 2))
    torch.manual_seed(0)
    weights = first.task_weights()
    torch.manual_seed(5)
    assert torch.equal(weights, second.task_weights())
    assert not torch.equal(weights, other.task_weights())
    assert torch.equal(weights, first.task_weights())  # accumulated batches share the weights
    first.finish_step({})
    assert not torch.equal(weights, first.task_weights())


# dynamic task prioritization


def test_dynamic_priority_computed_by_hand():
    balancing = create_balancer("dynamic_priority", PAIR, gamma=2.0, rate=0.5)
    balancing.finish_step(tensors(a=4.0, b=1.0))  # performance e^-1 = 0.367879 of both
    start = 0.632121**2  # (1 - 0.367879)^2 * 1
    assert gradients(balancing, a=4.0, b=1.0) == pytest.approx([start, start], abs=1e-5)
    balancing.finish_step(tensors(a=2.0))
    # k = e^-0.5 = 0.606531; average (0.606531 + 0.367879) / 2 = 0.487205; b is as before
    expected = -((1 - 0.487205) ** 2) * math.log(0.487205)
    assert gradients(balancing, a=4.0, b=1.0) == pytest.approx([expected, start], abs=1e-5)


def test_dynamic_priority_does_not_depend_on_the_unit_of_a_loss():
    one, other = (create_balancer("dynamic_priority", PAIR) for _ in range(2))
    for a, b in [(4.0, 1.0), (3.0, 2.0), (0.0, 50.0)]:
        one.finish_step(tensors(a=a, b=b))
        other.finish_step(tensors(a=1000 * a, b=b))
    torch.testing.assert_close(one.task_weights(), other.task_weights())
    assert one.task_weights().isfinite().all()


# geometric mean and sum of logarithms


@pytest.mark.parametrize("name", ["geometric", "log_sum"])
def test_gradient_is_that_of_finite_differences(name):
    weights, point, step = {"a": 1.0, "b": 3.0}, {"a": 0.7, "b": 2.5}, 1e-6
    formula = {
        "geometric": lambda a, b: (a * b * b * b) ** 0.25,
        "log_sum": lambda a, b: math.log(a * b * b * b),
    }[name]
    balancing = create_balancer(name, weights)
    assert balancing(tensors(**point)).item() == pytest.approx(formula(**point))
    expected = [
        (formula(**{**point, task: value + step}) - formula(**{**point, task: value - step}))
        / (2 * step)
        for task, value in point.items()
    ]
    assert gradients(balancing, **point) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", ["geometric", "log_sum"])
def test_a_negative_loss_is_an_error_that_names_the_task(name):
    with pytest.raises(InputError, match="loss of b is negative"):
        create_balancer(name, PAIR)(tensors(a=1.0, b=-0.5))


def test_the_geometric_mean_is_over_the_labeled_tasks():
    balancing = create_balancer("geometric", {"a": 1.0, "b": 1.0, "c": 1.0})
    assert balancing(tensors(a=2.0, c=8.0)).item() == pytest.approx(4.0)


# GradNorm


def toy_losses(x: torch.Tensor, shared: SharedFeatures, **slopes: float) -> dict[str, torch.Tensor]:
    """Linear losses, whose gradients at the shared value have the lengths ``slopes``."""
    features = shared.cut(1 * x)
    return {
        task: slope * features[place] + 10 for place, (task, slope) in enumerate(slopes.items())
    }


def follow(balancing, steps: int, x: torch.Tensor, **slopes: float) -> list[float]:
    for _ in range(steps):
        shared = SharedFeatures()
        balancing.backward(toy_losses(x, shared, **slopes), shared)
    return balancing.multipliers.tolist()


def test_gradnorm_makes_norms_equal_where_rates_are():
    x = torch.zeros(2, requires_grad=True)
    balancing = create_balancer("gradnorm", PAIR, rate=0.004)
    found = follow(balancing, 250, x, a=3.0, b=1.0)
    assert found == pytest.approx([0.5, 1.5], abs=0.01)  # 3 * 0.5 = 1 * 1.5; sum 2


def test_gradnorm_gives_the_slower_task_the_larger_gradient():
    balancing = create_balancer("gradnorm", PAIR, rate=0.004, alpha=1.0)
    follow(balancing, 1, torch.zeros(2, requires_grad=True), a=3.0, b=1.0)
    # Now the losses are 10 - 3 * 2.5 = 2.5 of 10 and 10 - 5 = 5 of 10: r = (2/3, 4/3).
    found = follow(balancing, 350, torch.tensor([-2.5, -5.0], requires_grad=True), a=3.0, b=1.0)
    norms = [3 * found[0], found[1]]
    assert norms[1] / norms[0] == pytest.approx(2.0, rel=0.04)
    assert sum(found) == pytest.approx(2)


def test_gradnorm_ignores_the_scale_of_a_loss():
    """A loss of a thousand times the size gets a thousandth of the weight."""
    found = []
    for scale in (1.0, 1000.0):
        balancing = create_balancer("gradnorm", PAIR, rate=0.002)
        x = torch.zeros(2, requires_grad=True)
        for _ in range(5):
            shared = SharedFeatures()
            losses = toy_losses(x, shared, a=3.0, b=1.0)
            balancing.backward({task: scale * loss for task, loss in losses.items()}, shared)
        found.append(balancing.multipliers)
    torch.testing.assert_close(*found)


def test_gradnorm_multiplies_fixed_weights_in():
    balancing = create_balancer("gradnorm", {"a": 5.0, "b": 1.0}, rate=0.004)
    x = torch.zeros(2, requires_grad=True)
    assert follow(balancing, 250, x, a=3.0, b=1.0) == pytest.approx([0.5, 1.5], abs=0.01)
    x.grad = None
    follow(balancing, 1, x, a=3.0, b=1.0)
    assert x.grad.tolist() == pytest.approx([5 * 3 * 0.5, 1.5], abs=0.1)


def test_gradnorm_weights_all_parameters_of_a_task():
    balancing, model = create_balancer("gradnorm", PAIR), SharedTrunk(("a", "b"))
    balancing.multipliers.copy_(torch.tensor([0.5, 1.5]))
    labels = {task: torch.ones(8, dtype=torch.bool) for task in PAIR}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    images, target = make_batch()
    take_step(balancing, model, optimizer, labels, (images, target))
    found = {name: each.grad.clone() for name, each in model.named_parameters()}
    outputs = model(images)
    total = 0.5 * ((outputs["a"] - target) ** 2).mean()
    total = total + 1.5 * ((outputs["b"] - 2 * target) ** 2).mean()
    optimizer.zero_grad()
    total.backward()
    torch.testing.assert_close(found, {k: v.grad for k, v in model.named_parameters()})
