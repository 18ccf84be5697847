"""Sizes of ASTMT in every published configuration, to the last parameter."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from taskprism.models import ASTMT, create_model
from taskprism.scoring.resources import count_macs, count_parameters

PASCAL = {"edge": 1, "semseg": 21, "human_parts": 7, "normals": 3, "saliency": 1}
NYUD = {"edge": 1, "semseg": 41, "normals": 3, "depth": 1}
SEMSEG = {"semseg": 21}
BARE: dict[str, Any] = {"squeeze_encoder": False, "squeeze_decoder": False, "adapters": False}
RELEASED: dict[str, Any] = {"encoder_norm_per_task": True}

#: tasks, options, parameters on SE-ResNet-26, -50 and -101
SE_RESNET = [
    (SEMSEG, {**BARE, "squeeze_decoder": True}, (19_259_396, 29_951_444, 51_190_292)),
    (SEMSEG, BARE, (19_254_669, 29_946_717, 51_185_565)),
    (SEMSEG, {**BARE, "decoder_channels": 256}, (32_191_125, 42_883_173, 64_122_021)),
    (PASCAL, BARE, (19_255_449, 29_947_497, 51_186_345)),
    (PASCAL, {**BARE, **RELEASED}, (19_378_329, 30_159_465, 51_607_209)),
    (PASCAL, {**BARE, "squeeze_decoder": True}, (19_283_276, 29_975_324, 51_214_172)),
    (PASCAL, {**BARE, **RELEASED, "squeeze_decoder": True}, (19_406_156, 30_187_292, 51_635_036)),
    (PASCAL, {**BARE, "adapters": True}, (25_643_929, 39_230_825, 66_249_129)),
    (PASCAL, {"adapters": False}, (25_009_356, 40_311_260, 70_745_884)),
    (PASCAL, {}, (31_274_956, 49_382_620, 85_387_804)),
    (PASCAL, {"adapters": False, "decoder": "uber_net"}, (21_150_255, 36_452_159, 66_886_783)),
    (NYUD, {"adapters": False}, (23_572_906, 37_722_346, 65_858_026)),
    (NYUD, {}, (28_585_386, 44_979_434, 77_571_562)),
]

MOBILENET = [
    (PASCAL, {"squeeze_encoder": False, "squeeze_decoder": False}, 1_971_945),
    (PASCAL, {"squeeze_encoder": False}, 2_051_052),
    (PASCAL, {}, 2_639_948),
    (SEMSEG, {}, 1_986_148),
]

#: backbone, options, multiply-adds of encoder and decoder in 10^9 for one task at 512 x 512
OPERATIONS = [
    ("se_resnet26", {"adapters": False}, 19.073, 5.173),
    ("se_resnet26", {}, 20.012, 5.928),
    ("se_resnet50", {"adapters": False}, 31.623, 5.173),
    ("se_resnet50", {}, 33.301, 5.928),
    ("se_resnet101", {"adapters": False}, 51.020, 5.173),
    ("se_resnet101", {}, 53.839, 5.928),
    (
        "se_resnet26",
        {"adapters": False, "squeeze_decoder": False, "decoder_channels": 256},
        19.073,
        36.797,
    ),
    ("mobilenet_v2", {}, 2.3804, 0.2413),
]


def build(tasks: dict[str, int], backbone: str, **options: Any) -> ASTMT:
    with torch.device("meta"):  # values are not needed
        model = create_model("astmt", tasks, backbone=backbone, **options)
    assert isinstance(model, ASTMT)
    return model


@pytest.mark.parametrize(("tasks", "options", "parameters"), SE_RESNET)
def test_parameters_on_se_resnet(tasks: dict, options: dict, parameters: tuple) -> None:
    for depth, expected in zip((26, 50, 101), parameters, strict=True):
        assert count_parameters(build(tasks, f"se_resnet{depth}", **options)) == expected


@pytest.mark.parametrize(("tasks", "options", "parameters"), MOBILENET)
def test_parameters_on_mobilenet(tasks: dict, options: dict, parameters: int) -> None:
    assert count_parameters(build(tasks, "mobilenet_v2", **options)) == parameters


@pytest.mark.parametrize(
    ("backbone", "shared"),
    [("se_resnet26", 17_820_736), ("se_resnet50", 27_360_320), ("se_resnet101", 46_300_224)],
)
@pytest.mark.parametrize("adapters", [True, False])
def test_parameters_that_all_tasks_share(backbone: str, shared: int, adapters: bool) -> None:
    model = build(PASCAL, backbone, adapters=adapters)
    own = sum(parameter.numel() for parameter in model.own_parameters())
    assert count_parameters(model) - own == shared


@pytest.mark.parametrize(
    ("backbone", "squeezed", "with_adapters"),
    [
        ("se_resnet26", 1.4315, 2.1278),
        ("se_resnet50", 2.5840, 3.8415),
        ("se_resnet101", 4.8829, 7.2545),
    ],
)
def test_parameters_that_each_task_adds(
    backbone: str, squeezed: float, with_adapters: float
) -> None:
    """Millions in the encoder, as published; what a decoder adds is the same on all of them."""
    for adapters, encoder, decoder in ((False, squeezed, 0.0058), (True, with_adapters, 0.5626)):
        one, two = (
            build({"edge": 1, **more}, backbone, adapters=adapters) for more in ({}, {"depth": 1})
        )
        for part, expected in (("encoder", encoder), ("decoder", decoder)):
            sizes = [count_parameters(getattr(model, part)) for model in (one, two)]
            assert round((sizes[1] - sizes[0]) / 1e6, 4) == expected


def test_a_task_costs_an_eighth_of_the_network() -> None:
    """The paper prints 12.3 % more parameters per task, which implies a decoder width of 64."""
    full = count_parameters(build(PASCAL, "se_resnet26"))
    plain = count_parameters(build(PASCAL, "se_resnet26", **BARE, **RELEASED))
    assert (full - plain) / len(PASCAL) / plain == pytest.approx(0.123, abs=5e-4)


class EncoderOnly(nn.Module):
    def __init__(self, model: ASTMT, tasks: int) -> None:
        super().__init__()
        self.encoder = model.encoder
        self.tasks = [task.name for task in model.tasks][:tasks]

    def forward(self, images: Tensor) -> list[list[Tensor]]:
        return [self.encoder(images, task) for task in self.tasks]


@pytest.mark.parametrize(("backbone", "options", "encoder", "decoder"), OPERATIONS)
def test_operations_of_one_task(
    backbone: str, options: dict, encoder: float, decoder: float
) -> None:
    model = build(SEMSEG, backbone, **options)
    encoding = count_macs(EncoderOnly(model, 1), (512, 512))
    assert encoding / 1e9 == pytest.approx(encoder, rel=1e-3)
    decoding = count_macs(model, (512, 512)) - encoding
    assert decoding / 1e9 == pytest.approx(decoder, rel=1e-3)


@pytest.mark.parametrize(("options", "passes"), [({}, 4), ({"squeeze_encoder": False}, 1)])
def test_operations_of_all_tasks(options: dict, passes: int) -> None:
    """The encoder runs once per task, or once for all of them."""
    model = build(NYUD, "se_resnet26", adapters=False, **options)
    encoding = count_macs(EncoderOnly(model, passes), (64, 64))
    heads = sum(NYUD.values()) * 64 * 16 * 16
    own = build({"edge": 1}, "se_resnet26", adapters=False)
    features = count_macs(own, (64, 64)) - count_macs(EncoderOnly(own, 1), (64, 64)) - 64 * 16 * 16
    assert count_macs(model, (64, 64)) == encoding + 4 * features + heads
