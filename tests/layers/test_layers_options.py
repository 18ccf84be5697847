"""Channels, widths and names of layers: wrong ones are errors that name the layer."""

from __future__ import annotations

import inspect
import math

import pytest

from taskprism import layers, losses
from taskprism.errors import InputError, TaskprismError, UnknownNameError
from taskprism.layers import (
    BottleneckHead,
    DeepLabHead,
    FeaturePropagation,
    HighResolutionFusion,
    InitialHead,
    Modulation,
    PanopticFusion,
    basic_block,
    bottleneck,
    create_aggregation,
    create_head,
    list_heads,
    upsampling_tail,
)

NOT_CHANNELS = [0, -8, 2.0, 10**9, 2**63, math.nan, "8", True, None, [8]]


@pytest.mark.parametrize("value", NOT_CHANNELS, ids=repr)
@pytest.mark.parametrize(
    "make",
    [
        lambda value: basic_block(value, 8),
        lambda value: basic_block(8, value),
        lambda value: bottleneck(value, 8),
        lambda value: bottleneck(8, value),
        upsampling_tail,
        lambda value: HighResolutionFusion([8, value]),
        lambda value: PanopticFusion([8, value]),
        lambda value: PanopticFusion([8, 8], width=value),
        lambda value: FeaturePropagation(["a"], value),
        lambda value: InitialHead(basic_block, 8, value, 1),
        lambda value: InitialHead(basic_block, 8, 8, value),
    ],
)
def test_channels_are_positive_integers(make, value):
    with pytest.raises(InputError, match=r"must be an integer from \d+ to 65536, got"):
        make(value)


@pytest.mark.parametrize("name", list_heads())
@pytest.mark.parametrize("value", NOT_CHANNELS, ids=repr)
def test_every_head_checks_its_channels(name, value):
    with pytest.raises(InputError, match="out_channels must be an integer"):
        create_head([32, 32], value, name)
    with pytest.raises(InputError, match=r"channels\[1\] must be an integer"):
        create_head([32, value], 3, name)


@pytest.mark.parametrize("channels", [[], None, "8", 8, {8}])
def test_channels_of_several_maps_are_a_list(channels):
    for make in (create_aggregation, lambda channels: create_head(channels, 3)):
        with pytest.raises(InputError, match="channels must be a list of the channels of each map"):
            make(channels)


@pytest.mark.parametrize("kind", ["Panoptic", None, 3, [], "no_such_module:Head", "os:path"])
def test_unknown_aggregations_and_heads_are_errors(kind):
    with pytest.raises(UnknownNameError, match="aggregation"):
        create_aggregation([8], kind)
    with pytest.raises(TaskprismError):
        create_head([8], 3, kind)


def test_heads_that_need_multiples_say_so():
    with pytest.raises(InputError, match="multiple of 4"):
        BottleneckHead([6], 3)
    with pytest.raises(InputError, match="multiple of 32"):
        PanopticFusion([8, 8], width=40)


@pytest.mark.parametrize("rates", [(1, 2), (0, 1, 2), (1.5, 2, 3), "123"])
def test_deeplab_takes_three_positive_rates(rates):
    with pytest.raises(InputError, match="DeepLabHead: rates must be"):
        DeepLabHead([8], 3, rates)


@pytest.mark.parametrize("value", [1, 0, "yes", None])
def test_switches_of_modulation_are_true_or_false(value):
    with pytest.raises(InputError, match="Modulation: norm must be true or false"):
        Modulation(("a",), squeeze=False, adapters=False, norm=value)


@pytest.mark.parametrize("package", [layers, losses])
def test_every_public_class_and_function_has_an_example(package):
    abstract = {"Aggregation"}
    names = [name for name in package.__all__ if name not in abstract]
    parts = [getattr(package, name) for name in names]
    documented = [part for part in parts if inspect.isclass(part) or inspect.isfunction(part)]
    assert len(documented) > 5
    lacking = [part.__name__ for part in documented if "Example:" not in (part.__doc__ or "")]
    assert lacking == []
