"""Sizes of the published systems, to the last parameter."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from taskprism.models import MultiTaskModel, create_model
from taskprism.scoring.resources import count_macs, count_parameters

NYUD = {"semseg": 40, "depth": 1}
NYUD_13 = {"semseg": 13, "depth": 1, "normals": 3}
CITYSCAPES = {"semseg": 19, "depth": 1}
PASCAL_3 = {"semseg": 21, "human_parts": 7, "saliency": 1}
PASCAL_5 = {**PASCAL_3, "edge": 1, "normals": 3}
N = {"normals": 3}
NE = {"normals": 3, "edge": 1}

#: model, tasks, auxiliary tasks, options, parameters
HRNET_18 = [
    ("single_task", {"semseg": 40}, {}, {}, 3_945_270),
    ("single_task", {"depth": 1}, {}, {}, 3_934_701),
    ("single_task", NYUD, {}, {}, 7_879_971),
    ("multi_task", NYUD, {}, {}, 4_019_251),
    ("pad_net", NYUD, {}, {}, 7_019_056),
    ("pad_net", NYUD, N, {}, 9_590_451),
    ("pad_net", NYUD, NE, {}, 12_161_332),
    ("mti_net", NYUD, {}, {}, 8_578_179),
    ("mti_net", NYUD, N, {}, 11_587_653),
    ("mti_net", NYUD, NE, {}, 14_838_121),
    ("mti_net", NYUD, {}, {"propagation": False}, 7_009_125),
    ("mti_net", NYUD, NE, {"propagation": False}, 10_980_301),
    ("mti_net", NYUD, {}, {"fpm_reduction": 1}, 12_125_835),
    ("single_task", {"semseg": 21}, {}, {}, 3_940_121),
    ("single_task", {"human_parts": 7}, {}, {}, 3_936_327),
    ("single_task", {"saliency": 1}, {}, {}, 3_934_701),
    ("single_task", {"normals": 3}, {}, {}, 3_935_243),
    ("single_task", PASCAL_3, {}, {}, 11_811_149),
    ("multi_task", PASCAL_3, {}, {}, 4_089_709),
    ("pad_net", PASCAL_3, {}, {}, 12_083_608),
    ("mti_net", PASCAL_3, {}, {}, 12_645_441),
    ("single_task", PASCAL_5, {}, {}, 19_681_093),
    ("multi_task", PASCAL_5, {}, {}, 4_238_213),
    ("pad_net", PASCAL_5, {}, {}, 29_304_992),
    ("mti_net", PASCAL_5, {}, {}, 24_494_171),
    ("single_task", NYUD_13, {}, {}, 11_807_897),
    ("multi_task", NYUD_13, {}, {}, 4_086_457),
    ("pad_net", NYUD_13, {}, {}, 12_077_440),
    ("mti_net", NYUD_13, {}, {}, 12_638_901),
    ("single_task", CITYSCAPES, {}, {}, 7_874_280),
    ("multi_task", CITYSCAPES, {}, {}, 4_013_560),
    ("pad_net", CITYSCAPES, {}, {}, 7_008_262),
    ("mti_net", CITYSCAPES, {}, {}, 8_566_734),
]

DEEPLAB: dict[str, Any] = {"neck": "none", "head": "deeplab", "output_stride": 8}

#: model, tasks, auxiliary tasks, backbone, options, millions of parameters
OTHER_BACKBONES = [
    ("single_task", NYUD, {}, "hrnet_w48", {}, 131.72),
    ("mti_net", NYUD, {}, "hrnet_w48", {}, 98.73),
    ("mti_net", NYUD, NE, "hrnet_w48", {}, 143.21),
    ("multi_task", NYUD, {}, "resnet50", DEEPLAB, 55.769),
    ("multi_task", PASCAL_5, {}, "resnet18", DEEPLAB, 34.796),
    ("single_task", PASCAL_5, {}, "resnet50", {}, 142.4),
    ("single_task", PASCAL_5, {}, "resnet18", {}, 77.0),
    ("multi_task", PASCAL_5, {}, "resnet18", {}, 21.9),
]

NYUD_SIZE, PASCAL_SIZE, NYUD_13_SIZE, CITYSCAPES_SIZE = (
    (480, 640),
    (512, 512),
    (288, 384),
    (128, 256),
)
NO_FPM: dict[str, Any] = {"propagation": False}
HRNET_48: dict[str, Any] = {"backbone": "hrnet_w48"}
RESNET_50: dict[str, Any] = {"backbone": "resnet50"}
RESNET_18: dict[str, Any] = {"backbone": "resnet18"}

#: model, tasks, auxiliary tasks, options, input size, known multiply-adds in 10^9
OPERATIONS = [
    ("multi_task", NYUD, {}, {}, NYUD_SIZE, 12.772),
    ("pad_net", NYUD, NE, {}, NYUD_SIZE, 168.898),
    ("mti_net", NYUD, {}, {}, NYUD_SIZE, 17.142),
    ("mti_net", NYUD_13, {}, {}, NYUD_13_SIZE, 7.950),
    ("pad_net", CITYSCAPES, {}, {}, CITYSCAPES_SIZE, 7.471),
]
MORE_OPERATIONS = [
    ("single_task", {"semseg": 40}, {}, {}, NYUD_SIZE, 11.367),
    ("single_task", {"depth": 1}, {}, {}, NYUD_SIZE, 11.165),
    ("single_task", NYUD, {}, {}, NYUD_SIZE, 22.53),
    ("pad_net", NYUD, {}, {}, NYUD_SIZE, 70.245),
    ("pad_net", NYUD, N, {}, NYUD_SIZE, 119.577),
    ("mti_net", NYUD, N, {}, NYUD_SIZE, 19.928),
    ("mti_net", NYUD, NE, {}, NYUD_SIZE, 22.879),
    ("mti_net", NYUD, {}, NO_FPM, NYUD_SIZE, 15.486),
    ("mti_net", NYUD, NE, NO_FPM, NYUD_SIZE, 19.072),
    ("mti_net", NYUD, {}, {"fpm_reduction": 1}, NYUD_SIZE, 19.573),
    ("single_task", NYUD, {}, HRNET_48, NYUD_SIZE, 219.04),
    ("mti_net", NYUD, {}, HRNET_48, NYUD_SIZE, 150.72),
    ("mti_net", NYUD, NE, HRNET_48, NYUD_SIZE, 191.50),
    ("single_task", {"semseg": 21}, {}, {}, PASCAL_SIZE, 9.616),
    ("single_task", {"human_parts": 7}, {}, {}, PASCAL_SIZE, 9.554),
    ("single_task", {"edge": 1}, {}, {}, PASCAL_SIZE, 9.527),
    ("single_task", {"normals": 3}, {}, {}, PASCAL_SIZE, 9.536),
    ("multi_task", PASCAL_3, {}, {}, PASCAL_SIZE, 12.040),
    ("pad_net", PASCAL_3, {}, {}, PASCAL_SIZE, 142.862),
    ("mti_net", PASCAL_3, {}, {}, PASCAL_SIZE, 18.903),
    ("single_task", PASCAL_5, {}, {}, PASCAL_SIZE, 47.76),
    ("multi_task", PASCAL_5, {}, {}, PASCAL_SIZE, 14.447),
    ("pad_net", PASCAL_5, {}, {}, PASCAL_SIZE, 424.900),
    ("mti_net", PASCAL_5, {}, {}, PASCAL_SIZE, 30.310),
    ("single_task", PASCAL_5, {}, RESNET_50, PASCAL_SIZE, 220.0),
    ("multi_task", PASCAL_5, {}, RESNET_50, PASCAL_SIZE, 75.15),
    ("single_task", PASCAL_5, {}, RESNET_18, PASCAL_SIZE, 153.0),
    ("multi_task", PASCAL_5, {}, RESNET_18, PASCAL_SIZE, 61.8),
    ("single_task", NYUD_13, {}, {}, NYUD_13_SIZE, 12.084),
    ("multi_task", NYUD_13, {}, {}, NYUD_13_SIZE, 5.057),
    ("pad_net", NYUD_13, {}, {}, NYUD_13_SIZE, 60.227),
    ("single_task", CITYSCAPES, {}, {}, CITYSCAPES_SIZE, 2.392),
    ("multi_task", CITYSCAPES, {}, {}, CITYSCAPES_SIZE, 1.351),
    ("mti_net", CITYSCAPES, {}, {}, CITYSCAPES_SIZE, 1.815),
]
EVERY_OPERATION = OPERATIONS + [
    pytest.param(*row, marks=pytest.mark.nightly) for row in MORE_OPERATIONS
]


def build(*arguments: Any, **options: Any) -> MultiTaskModel:
    with torch.device("meta"):  # values are not needed
        return create_model(*arguments, **options)


@pytest.mark.parametrize(("name", "tasks", "auxiliary", "options", "parameters"), HRNET_18)
def test_parameters_on_hrnet_w18_small_v2(
    name: str, tasks: dict[str, int], auxiliary: dict, options: dict, parameters: int
) -> None:
    assert count_parameters(build(name, tasks, auxiliary, **options)) == parameters


@pytest.mark.parametrize(
    ("name", "tasks", "auxiliary", "backbone", "options", "millions"), OTHER_BACKBONES
)
def test_parameters_on_other_backbones(
    name: str, tasks: dict, auxiliary: dict, backbone: str, options: dict, millions: float
) -> None:
    model = build(name, tasks, auxiliary, backbone=backbone, **options)
    assert count_parameters(model) / 1e6 == pytest.approx(millions, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "tasks", "auxiliary", "options", "size", "billions"), EVERY_OPERATION
)
def test_operations(
    name: str, tasks: dict, auxiliary: dict, options: dict, size: tuple[int, int], billions: float
) -> None:
    macs = count_macs(build(name, tasks, auxiliary, **options), size)
    assert macs / 1e9 == pytest.approx(billions, rel=1e-3)
