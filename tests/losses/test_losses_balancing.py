"""The contract of every registered balancing, plug-ins and one class of this file included."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from reference.shared_trunk import Processes, SharedTrunk, make_batch, take_step
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


LABELED = torch.ones(8, dtype=torch.bool)


def create_loop(name, weights=WEIGHTS):
    balancing, model = create_balancer(name, weights), SharedTrunk()
    parameters = [*model.parameters(), *balancing.parameters()]
    return balancing, model, torch.optim.Adam(parameters, lr=0.05)


def state_of(balancing, model, optimizer):
    state = {"balancing": balancing.state_dict(), "model": model.state_dict()}
    return copy.deepcopy({**state, "optimizer": optimizer.state_dict()})


def train(balancing, model, optimizer, steps):
    """Steps with changing sets of labeled tasks, in epochs of two steps."""
    subsets = [("semseg", "depth", "edge"), ("depth",), ("semseg", "edge"), ("semseg", "depth")]
    for step in steps:
        labels = dict.fromkeys(subsets[step % len(subsets)], LABELED)
        take_step(balancing, model, optimizer, labels, make_batch(seed=step))
        if step % 2:
            balancing.finish_epoch({task: 1.0 / (step + i) for i, task in enumerate(labels, 1)})


@ALL
def test_training_resumes_from_its_state_to_the_same_bits(name):
    first = create_loop(name)
    train(*first, range(5))
    saved = state_of(*first)
    train(*first, range(5, 11))
    again = create_loop(name)
    for part, key in zip(again, ("balancing", "model", "optimizer"), strict=True):
        part.load_state_dict(saved[key])
    train(*again, range(5, 11))
    expected, found = state_of(*first), state_of(*again)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert not all(
        torch.equal(before, after)
        for before, after in zip(saved["model"].values(), expected["model"].values(), strict=True)
    )


@ALL
def test_the_state_of_a_missing_task_does_not_move(name):
    balancing, model, optimizer = create_loop(name)
    train(balancing, model, optimizer, range(4))

    def state_of_depth():
        state = {**balancing.state_dict(), **dict(model.heads["depth"].named_parameters())}
        own = {k: v for k, v in state.items() if k in ("weight", "bias") or k.endswith("depth")}
        vectors = {k: v[1] for k, v in state.items() if v.ndim and k not in own and len(v) == 2}
        indexed = {k: v for k, v in state.items() if k.endswith(".1")}
        return copy.deepcopy({**own, **vectors, **indexed})

    before = state_of_depth()
    for step in range(4, 8):
        take_step(balancing, model, optimizer, {"semseg": LABELED}, make_batch(seed=step))
        balancing.finish_epoch({"semseg": 1.0 / step})
    torch.testing.assert_close(state_of_depth(), before, rtol=0, atol=0)


PARTIAL = {
    "all labels": {"semseg": [1] * 8, "depth": [1] * 8, "edge": [1] * 8},
    "partial labels": {"semseg": [1, 0, 1, 1, 0, 0, 0, 1], "depth": [0, 0, 0, 1, 1, 1, 1, 0]},
    "one process without labels": {"semseg": [1, 1, 0, 1] + [0] * 4, "depth": [0, 1, 1, 1] * 2},
}


@ALL
@pytest.mark.parametrize("labels", PARTIAL.values(), ids=PARTIAL)
def test_two_processes_train_as_one(name, labels):
    labels = {task: torch.tensor(each, dtype=torch.bool) for task, each in labels.items()}
    one = create_loop(name)
    for step in range(4):
        take_step(*one, labels, make_batch(seed=step))
    loops = [create_loop(name), create_loop(name)]

    def work(rank, reduce):
        part = slice(4 * rank, 4 * rank + 4)
        own = {task: each[part] for task, each in labels.items()}
        for step in range(4):
            batch = tuple(each[part] for each in make_batch(seed=step))
            take_step(*loops[rank], own, batch, reduce)

    Processes(2).run(work)
    states = [state_of(*loop) for loop in (one, *loops)]
    for key in ("balancing", "model"):
        torch.testing.assert_close(states[1][key], states[0][key], rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(states[1][key], states[2][key], rtol=0, atol=0)


@ALL
def test_every_registered_balancing_learns_in_an_own_loop(name):
    balancing, model, optimizer = create_loop(name, {"semseg": 1.0, "depth": 1.0, "edge": 1.0})
    images, target = make_batch()

    def error():
        with torch.no_grad():
            outputs = model(images)
        return sum(
            ((outputs[task] - (i + 1) * target) ** 2).mean().item()
            for i, task in enumerate(model.heads)
        )

    before = error()
    for _ in range(60):
        take_step(
            balancing, model, optimizer, dict.fromkeys(model.heads, LABELED), (images, target)
        )
    assert error() < before / 2


@ALL
def test_a_task_with_the_weight_0_is_not_learned(name):
    if name == OUTSIDE:
        pytest.skip("multiplies by the weight as well, but its variance would still move")
    balancing, model, optimizer = create_loop(name)
    before = copy.deepcopy(model.heads["edge"].state_dict())
    labels = dict.fromkeys(model.heads, LABELED)
    for step in range(3):
        take_step(balancing, model, optimizer, labels, make_batch(seed=step))
    torch.testing.assert_close(dict(model.heads["edge"].state_dict()), dict(before), rtol=0, atol=0)


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
