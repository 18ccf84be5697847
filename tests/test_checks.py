"""Checks of option values: what passes, what is refused, and what the message says."""

import numpy as np
import pytest

from taskprism.checks import (
    check_channels,
    check_choice,
    check_flag,
    check_integer,
    check_number,
    check_size,
)
from taskprism.errors import InputError, UnknownNameError

NOT_INTEGERS = [True, False, None, "3", 2.0, 1.5, float("nan"), [3], np.bool_(True)]
NOT_NUMBERS = [True, None, "0.5", float("nan"), float("inf"), -float("inf"), [0.5], 1j]


def test_integers_pass_and_become_int():
    for value in (3, np.int64(3), np.uint8(3)):
        assert check_integer("Model", "depth", value, 1, 5) == 3
        assert type(check_integer("Model", "depth", value)) is int
    assert check_integer("Model", "depth", -(2**70)) == -(2**70)


@pytest.mark.parametrize("value", NOT_INTEGERS, ids=repr)
def test_other_types_are_not_integers(value):
    with pytest.raises(InputError, match=r"Model: depth must be an integer of at least 1, got"):
        check_integer("Model", "depth", value, low=1)


@pytest.mark.parametrize("value", [0, -1, 6, 2**63])
def test_integers_outside_the_range_are_refused(value):
    with pytest.raises(InputError, match=rf"an integer from 1 to 5, got {value}\."):
        check_integer("Model", "depth", value, 1, 5)


def test_numbers_pass_and_become_float():
    for value in (0.5, np.float32(0.5), 1, 0):
        assert check_number("Model", "gamma", value, 0, 1) == float(value)
        assert type(check_number("Model", "gamma", value)) is float


@pytest.mark.parametrize("value", NOT_NUMBERS, ids=repr)
def test_other_values_are_not_numbers(value):
    with pytest.raises(InputError, match=r"Model: gamma must be a finite number from 0 to 1, got"):
        check_number("Model", "gamma", value, 0, 1)


def test_numbers_outside_the_range_are_refused():
    with pytest.raises(InputError, match=r"a finite number from 0 to 1, got 1\.5"):
        check_number("Model", "gamma", 1.5, 0, 1)
    with pytest.raises(InputError, match=r"greater than 0, got 0"):
        check_number("Model", "temperature", 0, above=0)
    with pytest.raises(InputError, match=r"greater than 0 and at most 2, got 3"):
        check_number("Model", "temperature", 3, high=2, above=0)
    with pytest.raises(InputError, match=r"of at most 2, got 3"):
        check_number("Model", "temperature", 3, high=2)


def test_huge_integers_are_not_finite_numbers():
    with pytest.raises(InputError, match="finite number"):
        check_number("Model", "gamma", 10**400)


def test_flags_are_true_or_false():
    assert check_flag("Model", "bias", False) is False
    for value in (0, 1, "true", None):
        with pytest.raises(InputError, match="Model: bias must be true or false"):
            check_flag("Model", "bias", value)


def test_choices():
    assert check_choice("Model", "method", "auto", ("auto", "direct")) == "auto"
    with pytest.raises(UnknownNameError, match=r"Unknown method of Model 'aut'.*Did you mean"):
        check_choice("Model", "method", "aut", ("auto", "direct"))
    for value in (None, 3, ["auto"], {"auto": 1}):
        with pytest.raises(UnknownNameError, match="Known: auto, direct"):
            check_choice("Model", "method", value, ("auto", "direct"))


def test_channels_are_bounded():
    assert check_channels("Model", "channels", 64) == 64
    for value in (0, -8, 10**9, 1.0):
        with pytest.raises(InputError, match="an integer from 1 to 65536"):
            check_channels("Model", "channels", value)


@pytest.mark.parametrize("value", ["32x48", [32], None, 32, [1e6, 1e6], [10**6, 10**6], [0, 4]])
def test_sizes_are_two_positive_integers(value):
    with pytest.raises(InputError, match="Model: size"):
        check_size("Model", "size", value)


def test_sizes_become_tuples():
    assert check_size("Model", "size", [32, 48]) == (32, 48)


def test_long_values_are_shortened():
    with pytest.raises(InputError) as error:
        check_integer("Model", "depth", "x" * 1000)
    assert len(str(error.value)) < 200
    with pytest.raises(InputError, match="got a value of type int"):
        check_integer("Model", "depth", 10**5000, high=5)
