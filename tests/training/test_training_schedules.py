import math

import pytest

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
    import torch

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
