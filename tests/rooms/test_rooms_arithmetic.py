"""The arithmetic of the rooms compared with math and NumPy."""

import math

import numpy as np
import pytest

from taskprism.rooms.arithmetic import (
    Dice,
    cosine,
    fractal_noise,
    hash_unit,
    linear_from_srgb,
    sensor_noise,
    sine,
    srgb_table,
    value_noise,
)
from taskprism.rooms.camera import Frame


def test_sine_and_cosine_match_math():
    for angle in np.linspace(-20, 20, 1001):
        assert sine(angle) == pytest.approx(math.sin(angle), abs=4e-15)
        assert cosine(angle) == pytest.approx(math.cos(angle), abs=4e-15)


def test_srgb_matches_the_standard():
    x = np.linspace(0, 1, 4096)
    expected = np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055)
    assert np.allclose(srgb_table(), expected, atol=1e-6)
    for value in (0.0, 0.1, 0.5, 0.9, 1.0):
        exact = float(np.interp(value, expected, x))
        assert linear_from_srgb(value) == pytest.approx(exact, abs=0.005)


def test_dice_ranges_and_distributions():
    dice = Dice(1)
    draws = np.array([dice.uniform(2.0, 4.0) for _ in range(4000)])
    assert 2 <= draws.min() < 2.01
    assert 3.99 < draws.max() < 4
    assert draws.mean() == pytest.approx(3, abs=0.03)
    bells = np.array([dice.bell(0.5) for _ in range(4000)])
    assert bells.std() == pytest.approx(0.5, abs=0.02)
    assert {dice.integer(3, 5) for _ in range(100)} == {3, 4, 5}
    assert sorted(dice.shuffled(range(9))) == list(range(9))
    assert [Dice(7).raw() for _ in range(2)] == [Dice(7).raw()] * 2
    assert Dice(7).raw() != Dice(7, stream=1).raw()
    assert {dice.sign() for _ in range(20)} == {-1.0, 1.0}


def test_draws_come_from_pcg64():
    bits = np.random.PCG64(np.random.SeedSequence(7, spawn_key=(2,)))
    assert Dice(7, 2).raw() in bits.random_raw(512).tolist()


def test_hashes_are_uniform_and_uncorrelated():
    x, y = np.meshgrid(np.arange(-64, 64), np.arange(-64, 64))
    seed = np.full(x.size, 5, np.uint32)
    values = hash_unit(x.ravel(), y.ravel(), np.zeros(x.size), seed).reshape(x.shape)
    assert 0 <= values.min() < values.max() < 1
    counts = np.histogram(values, 10, (0, 1))[0] / values.size
    assert np.abs(counts - 0.1).max() < 0.01
    for other in (values[1:], values[:, 1:]):
        own = values[: other.shape[0], : other.shape[1]]
        assert abs(np.corrcoef(own.ravel(), other.ravel())[0, 1]) < 0.03


def test_value_noise_equals_the_hash_at_integers_and_is_smooth():
    x = np.linspace(-3, 3, 601, dtype=np.float32)
    zero, seed = np.zeros_like(x), np.full(x.size, 9, np.uint32)
    values = value_noise(x, zero, zero, seed)
    cells = np.arange(-3, 4).astype(np.float32)
    nothing = np.zeros_like(cells)
    expected = hash_unit(cells, nothing, nothing, seed[:7])
    assert np.allclose(values[::100], expected, atol=1e-5)
    assert np.abs(np.diff(values)).max() < 0.02
    both = fractal_noise(x, zero, zero, seed)
    assert 0 <= both.min() <= both.max() < 1


def test_sensor_noise_has_mean_0_and_deviation_1():
    noise = sensor_noise(50_000, 3)
    assert noise.mean() == pytest.approx(0, abs=0.02)
    assert noise.std() == pytest.approx(1, abs=0.02)
    assert abs(np.corrcoef(noise[1:], noise[:-1])[0, 1]) < 0.02
    assert not np.array_equal(noise, sensor_noise(50_000, 4))


@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_frames_turn_by_the_right_hand_rule(axis):
    turned = Frame().turned(axis, math.pi / 2)
    cycle = {"x": "yz", "y": "zx", "z": "xy"}[axis]
    first, second = (getattr(turned, name) for name in cycle)
    plain = {name: getattr(Frame(), name) for name in "xyz"}
    assert first == pytest.approx(plain[cycle[1]], abs=1e-12)
    assert np.allclose(second, -np.array(plain[cycle[0]]), atol=1e-12)
    basis = np.array([turned.x, turned.y, turned.z])
    assert np.linalg.det(basis) == pytest.approx(1)
