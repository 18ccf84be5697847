import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import pytest
from pydantic import Field

from taskprism.backbones import create_backbone
from taskprism.data import create_protocol
from taskprism.errors import InputError, TaskprismError, UnknownNameError
from taskprism.models import create_model
from taskprism.options import Channels, Seed, Size, read_options


def blur(
    count: int = 1,
    strength: float = 1.0,
    limit: int | None = None,
    scales: tuple[float, ...] = (),
    names: Sequence[str] = (),
    weights: Mapping[str, float] | None = None,
    border: Literal["zero", "reflect"] = "zero",
    size: Size = (1, 1),
    channels: Channels = 1,
    seed: Seed = 0,
    radius: Annotated[int, Field(ge=1)] = 1,
    function: Callable[..., int] | None = None,
    free=None,
) -> None:
    pass


@pytest.mark.parametrize(
    ("option", "value", "read"),
    [
        ("count", 2, 2),
        ("strength", 3, 3.0),
        ("limit", None, None),
        ("scales", [1, 0.5], (1.0, 0.5)),
        ("names", ["a"], ["a"]),
        ("weights", {"a": 1}, {"a": 1.0}),
        ("border", "reflect", "reflect"),
        ("size", [32, 48], (32, 48)),
        ("function", len, len),
        ("free", {"any": "thing"}, {"any": "thing"}),
    ],
)
def test_values_get_the_annotated_type(option, value, read):
    got = read_options("blur", {option: value}, blur)
    assert got == {option: read}
    assert type(got[option]) is type(read)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("count", True, "an integer, got True"),
        ("count", 1.5, "an integer, got 1.5"),
        ("count", 2**63, "at most 9223372036854775807|to 9223372036854775807"),
        ("count", None, "an integer, got None"),
        ("strength", float("inf"), "a finite number, got inf"),
        ("strength", float("nan"), "a finite number, got nan"),
        ("strength", True, "a finite number, got True"),
        ("limit", "many", "an integer, got 'many'"),
        ("scales[1]", [1, "x"], "a finite number, got 'x'"),
        ("names", "abc", "a list, got 'abc'"),
        ("weights.a", {"a": "x"}, "a finite number, got 'x'"),
        ("weights", [1], "a mapping of keys to values"),
        ("size", "32x48", "a list, got '32x48'"),
        ("size", [32], r"a list of 2 values, got \[32\]"),
        ("size", None, "a list, got None"),
        ("size[0]", [1e6, 1e6], "an integer from 1 to 65536, got 1000000.0"),
        ("size[1]", [4, 0], "an integer from 1 to 65536, got 0"),
        ("channels", 0, "an integer from 1 to 65536, got 0"),
        ("channels", 10**9, "an integer from 1 to 65536"),
        ("seed", -1, "an integer from 0 to"),
        ("radius", 0, "an integer of at least 1"),
        ("scales", "x" * 1000, r"got 'x{50,100}\.\.\."),
    ],
)
def test_wrong_values_are_named_with_what_is_allowed(option, value, message):
    name = option.partition("[")[0].partition(".")[0]
    with pytest.raises(InputError, match=rf"blur: {re.escape(option)} must be .*({message})"):
        read_options("blur", {name: value}, blur)


def test_an_unknown_choice_gets_a_suggestion():
    with pytest.raises(UnknownNameError, match=r"border of blur 'reflct'\. Did you mean 'reflect'"):
        read_options("blur", {"border": "reflct"}, blur)


def test_dataclass_fields_and_constructors_are_read():
    @dataclass
    class Area:
        side: int = 1
        kind: ClassVar[int] = 2

    class Disc:
        def __init__(self, radius: int = 1) -> None: ...

    for owner, option in ((Area, "side"), (Disc, "radius")):
        assert read_options("x", {option: 3}, owner) == {option: 3}
        with pytest.raises(InputError, match=option):
            read_options("x", {option: "wide"}, owner)
    assert read_options("x", {"kind": "any"}, Area) == {"kind": "any"}


@pytest.mark.parametrize(
    "make",
    [
        lambda: create_protocol("rooms", input_size="32x48"),
        lambda: create_protocol("rooms", input_size=[32]),
        lambda: create_protocol("rooms", input_size=None),
        lambda: create_protocol("rooms", input_size=[1e6, 1e6]),
        lambda: create_protocol("rooms", train_length=1.5),
        lambda: create_protocol("rooms", test_length=None),
        lambda: create_protocol("rooms", test_length=0),
        lambda: create_protocol("rooms", seed=2**63),
        lambda: create_protocol("rooms", seed=True),
        lambda: create_model("multi_task", ["depth"], backbone="test_resnet", neck_channels=0),
        lambda: create_model("multi_task", ["depth"], backbone="test_resnet", neck_channels=10**9),
        lambda: create_model("mti_net", ["depth"], backbone="test_resnet", neck_channels="64x"),
        lambda: create_backbone("test_resnet", finest_stride=0),
        lambda: create_backbone("test_resnet", batch_norm_momentum=float("nan")),
    ],
)
def test_parts_refuse_wrong_options_when_they_are_created(make):
    with pytest.raises(TaskprismError, match=r"[\w\[\]]+ must be "):
        make()
