"""Sizes of the published systems, to the last parameter."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from taskprism.analysis.resources import count_macs, count_parameters
from taskprism.models import MultiTaskModel, create_model

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

#: model, tasks, auxiliary tasks, input size, known multiply-adds in 10^9; the docs page has more
OPERATIONS = [
    ("multi_task", NYUD, {}, (480, 640), 12.772),
    ("pad_net", NYUD, NE, (480, 640), 168.898),
    ("mti_net", NYUD, {}, (480, 640), 17.142),
    ("mti_net", NYUD_13, {}, (288, 384), 7.950),
    ("pad_net", CITYSCAPES, {}, (128, 256), 7.471),
]


def build(*arguments: Any, **options: Any) -> MultiTaskModel:
    with torch.device("meta"):  # sizes need no values
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


@pytest.mark.parametrize(("name", "tasks", "auxiliary", "size", "billions"), OPERATIONS)
def test_operations(
    name: str, tasks: dict, auxiliary: dict, size: tuple[int, int], billions: float
) -> None:
    macs = count_macs(build(name, tasks, auxiliary), size)
    assert macs / 1e9 == pytest.approx(billions, rel=1e-3)
