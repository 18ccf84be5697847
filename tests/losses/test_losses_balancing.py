"""The contract of every registered balancing, plug-ins and one class of this file included."""

from __future__ import annotations

import math

import pytest
import torch

from taskprism.errors import InputError, TaskprismError, UnknownNameError
from taskprism.losses import (
    BALANCERS,
    Balancing,
    Criterion,
    FixedWeights,
    check_weights,
    create_balancer,
    list_balancers,
)
from taskprism.registry import options_of
from taskprism.tasks import create_task

OUTSIDE = f"{__name__}:LearnedWeights"
ALL = pytest.mark.parametrize("name", [*list_balancers(), OUTSIDE])
WEIGHTS = {"semseg": 2.0, "depth": 0.5, "edge": 0.0}


class LearnedWeights(Balancing):
    """Weighted sum with learned log variances; not registered, so only "module:Class" names it."""

    name = "learned_weights"

    def __init__(self, weights, start=0.0):
        super().__init__()
        if not isinstance(start, float) or not abs(start) <= 10:
            raise InputError(f"LearnedWeights: start must be a float from -10 to 10, got {start!r}")
        self.weights = weights
        self.log_variances = torch.nn.ParameterDict(
            {task: torch.nn.Parameter(torch.tensor(start)) for task in weights}
        )

    def forward(self, losses):
        terms = [
            self.weights[task] * loss * (-self.log_variances[task]).exp()
            for task, loss in losses.items()
        ]
        return torch.stack(terms).sum()


def make_losses(*tasks: str) -> dict[str, torch.Tensor]:
    return {
        task: torch.tensor(1.0 + i, requires_grad=True) for i, task in enumerate(tasks or WEIGHTS)
    }


@ALL
@pytest.mark.parametrize("tasks", [("semseg", "depth", "edge"), ("depth", "semseg"), ("depth",)])
def test_any_subset_of_the_tasks_gives_a_scalar_with_finite_gradients(name, tasks):
    balancing, losses = create_balancer(name, WEIGHTS), make_losses(*tasks)
    total = balancing(losses)
    assert total.shape == ()
    assert total.isfinite()
    total.backward()
    gradients = [loss.grad for loss in losses.values()]
    gradients += [p.grad for p in balancing.parameters() if p.grad is not None]
    assert all(gradient is not None and gradient.isfinite() for gradient in gradients)
    assert losses["depth"].grad != 0


@ALL
def test_a_loss_of_zero_stays_finite(name):
    losses = {task: torch.zeros((), requires_grad=True) for task in WEIGHTS}
    total = create_balancer(name, WEIGHTS)(losses)
    total.backward()
    assert total.isfinite()
    assert all(loss.grad is None or loss.grad.isfinite() for loss in losses.values())


@ALL
def test_the_order_of_the_losses_does_not_matter(name):
    balancing, losses = create_balancer(name, WEIGHTS), make_losses()
    moved = dict(reversed(losses.items()))
    torch.testing.assert_close(balancing(losses), balancing(moved))


@ALL
def test_its_state_gives_the_same_balancing_again(name):
    balancing, again = create_balancer(name, WEIGHTS), create_balancer(name, WEIGHTS)
    for parameter in balancing.parameters():
        torch.nn.init.normal_(parameter)
    again.load_state_dict(balancing.state_dict())
    assert torch.equal(balancing(make_losses()), again(make_losses()))


@ALL
def test_an_unknown_option_is_an_error_that_names_it(name):
    with pytest.raises(UnknownNameError, match="no_such_option"):
        create_balancer(name, WEIGHTS, no_such_option=1)


HOSTILE = [
    None, True, "x", "1", -1, math.nan, math.inf, -math.inf, 10**400, 1e300, [], [1.0], {},
    {"semseg": 1.0}, torch.tensor([1.0]), object(),
]  # fmt: skip


@ALL
@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: str(value)[:12])
def test_a_weight_is_a_finite_number_of_at_least_0(name, value):
    with pytest.raises(InputError, match=r"Loss weights: 'depth' must be a finite number from 0"):
        create_balancer(name, {"semseg": 1.0, "depth": value})


@ALL
@pytest.mark.parametrize("weights", [None, [], {}, "semseg", [1.0, 2.0], 1.0])
def test_weights_map_tasks_to_numbers(name, weights):
    with pytest.raises(InputError, match="Loss weights must map task names to numbers"):
        create_balancer(name, weights)


@ALL
def test_all_weights_of_0_are_an_error(name):
    with pytest.raises(InputError, match=r"all tasks \(semseg, depth\) are 0"):
        create_balancer(name, {"semseg": 0, "depth": 0.0})


@ALL
def test_no_option_value_ends_in_an_unnamed_error(name):
    for option in options_of(BALANCERS.find(name)):
        for value in HOSTILE:
            try:
                total = create_balancer(name, WEIGHTS, **{option: value})(make_losses())
            except TaskprismError:
                continue
            assert total.isfinite()


def test_an_instance_keeps_its_own_weights_and_takes_no_options():
    balancing = FixedWeights({"depth": 3.0})
    assert create_balancer(balancing, WEIGHTS) is balancing
    with pytest.raises(InputError, match=r"FixedWeights is an instance, so start cannot be set"):
        create_balancer(balancing, WEIGHTS, start=1.0)


def test_a_factory_must_return_a_balancing():
    def make(weights):
        return torch.nn.Identity()

    with pytest.raises(InputError, match="Expected a Balancing from the factory, got Identity"):
        create_balancer(make, WEIGHTS)


def test_unknown_names_are_errors():
    with pytest.raises(UnknownNameError, match="Did you mean 'fixed'"):
        create_balancer("fixd", WEIGHTS)


def test_fixed_weights_need_a_loss():
    with pytest.raises(InputError, match="at least one task"):
        FixedWeights(WEIGHTS)({})


def test_weights_become_floats_and_may_be_0_for_some_tasks():
    weights = check_weights({"semseg": 1, "depth": 0})
    assert weights == {"semseg": 1.0, "depth": 0.0}
    assert all(type(weight) is float for weight in weights.values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"initial": "max"}, "Unknown initial of Criterion 'max'"),
        ({"initial": None}, "Unknown initial of Criterion None"),
        ({"initial_weight": -1}, "initial_weight must be a finite number of at least 0, got -1"),
        ({"initial_weight": math.nan}, "initial_weight must be a finite number"),
        ({"initial_weight": True}, "initial_weight must be a finite number"),
        ({"weights": {"depth": math.inf}}, "'depth' must be a finite number"),
        ({"weights": {"depth": 0.0}}, "are 0"),
    ],
)
def test_the_criterion_names_a_wrong_option(options, message):
    with pytest.raises(TaskprismError, match=message):
        Criterion([create_task("depth")], **options)
