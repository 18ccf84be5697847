import math

import pytest
import torch

from taskprism.errors import RecipeError
from taskprism.recipes.files import validate
from taskprism.recipes.schema import ScheduleSettings
from taskprism.training.optimizers import learning_rate_factor


def factors(epochs, steps=1, **settings):
    schedule = ScheduleSettings(**settings)
    return [
        learning_rate_factor(schedule, epochs, epoch, step, steps)
        for epoch in range(epochs)
        for step in range(steps)
    ]


def test_constant():
    assert factors(5, name="constant") == [1] * 5


def test_poly_is_that_of_the_papers():
    expected = [(1 - epoch / 100) ** 0.9 for epoch in range(100)]
    assert factors(100, name="poly") == pytest.approx(expected, abs=1e-15)


def test_cosine_starts_at_one_and_is_half_amid():
    values = factors(200, name="cosine")
    assert values[0] == 1
    assert values[100] == pytest.approx(0.5)
    assert values == sorted(values, reverse=True)
    assert values[150] == pytest.approx(math.sin(math.pi / 8) ** 2)


def test_restarts_have_cycles_of_25_and_50():
    values = factors(75, name="cosine_restarts", period=25, period_factor=2)
    assert [epoch for epoch, value in enumerate(values) if value == 1] == [0, 25]
    first = [(1 + math.cos(math.pi * t / 25)) / 2 for t in range(25)]
    second = [(1 + math.cos(math.pi * t / 50)) / 2 for t in range(50)]
    assert values == pytest.approx(first + second)


def test_restarts_agree_with_torch():
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    theirs = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=4, T_mult=3)
    expected = []
    for _ in range(20):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step()
    assert factors(20, name="cosine_restarts", period=4, period_factor=3) == pytest.approx(expected)


def test_warmup_is_linear_over_steps_and_then_gone():
    values = factors(4, steps=5, name="constant", warmup_epochs=2)
    assert values == pytest.approx([(i + 1) / 10 for i in range(10)] + [1.0] * 10)


def test_warmup_multiplies_the_shape():
    with_warmup = factors(10, steps=3, name="poly", warmup_epochs=1.5)
    without = factors(10, steps=3, name="poly")
    ramp = [min(1, (i + 1) / 4.5) for i in range(30)]
    assert with_warmup == pytest.approx([a * b for a, b in zip(without, ramp, strict=True)])


def rates_of(create, steps):
    """Rates of a scheduler of torch whose optimizer has the rate 1."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = create(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize("epochs", [1, 4])
@pytest.mark.parametrize("peak", [0.1, 0.3, 0.85])
def test_one_cycle_agrees_with_torch(epochs, peak):
    theirs = rates_of(
        lambda optimizer: torch.optim.lr_scheduler.OneCycleLR(
            optimizer, 1.0, total_steps=10 * epochs + 1, pct_start=peak, cycle_momentum=False
        ),
        10 * epochs,
    )
    ours = factors(10 * epochs + 1, name="one_cycle", peak=peak)
    assert ours[:-1] == pytest.approx(theirs, abs=1e-12)
    by_epoch = factors(epochs, steps=10, name="one_cycle", peak=peak)
    assert by_epoch == factors(10 * epochs, name="one_cycle", peak=peak)


def test_multi_step_agrees_with_torch():
    theirs = rates_of(
        lambda optimizer: torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 5, 5], gamma=0.2), 8
    )
    schedule = {"name": "multi_step", "milestones": [5, 3, 5], "drop_factor": 0.2}
    assert factors(8, **schedule) == pytest.approx(theirs)
    halves = factors(4, steps=2, per="step", name="multi_step", milestones=[1.5], drop_factor=0.5)
    assert halves == [1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.5]


def test_shapes_per_step_agree_with_torch():
    cosine = rates_of(
        lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=12), 12
    )
    poly = rates_of(
        lambda optimizer: torch.optim.lr_scheduler.PolynomialLR(optimizer, 12, power=0.9), 12
    )
    assert factors(4, steps=3, name="cosine", per="step") == pytest.approx(cosine)
    assert factors(4, steps=3, name="poly", per="step") == pytest.approx(poly)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "multi_step"}, "needs milestones"),
        ({"name": "poly", "milestones": [3]}, "belong to multi_step"),
        ({"name": "one_cycle", "warmup_epochs": 1}, "already starts with an increase"),
        ({"name": "multi_step", "milestones": [0]}, "greater than 0"),
    ],
)
def test_settings_that_do_not_fit_the_shape_are_refused(settings, message):
    with pytest.raises(RecipeError, match=message):
        validate({"schedule": settings}, source="test")
