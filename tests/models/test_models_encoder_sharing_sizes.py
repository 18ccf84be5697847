"""Sizes of systems on a dilated ResNet with DeepLab heads, to the last parameter."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from taskprism.models import create_model
from taskprism.scoring.resources import count_macs, count_parameters

NYUD = {"semseg": 40, "depth": 1}
PASCAL = {"semseg": 21, "human_parts": 7, "saliency": 1, "edge": 1, "normals": 3}
DEEPLAB: dict[str, Any] = {"neck": "none", "head": "deeplab", "output_stride": 8}

#: model, options, parameters, multiply-adds in 10^9
ON_NYUD = [  # ResNet-50, 480 x 640
    ("single_task", DEEPLAB, 79_277_481, 383.4),
    ("multi_task", DEEPLAB, 55_769_449, 266.6),
    ("mtan", {}, 72_052_713, 394.3),
    ("cross_stitch", {}, 79_292_841, 383.4),
    ("nddr_cnn", {}, 101_591_721, 494.4),
]
ON_PASCAL = [  # ResNet-18, 512 x 512
    ("single_task", DEEPLAB, 79_501_921, 334.6),
    ("multi_task", DEEPLAB, 34_795_873, 142.1),
    ("mtan", {}, 36_613_425, 159.1),
    ("cross_stitch", {}, 79_525_921, 334.6),
    ("nddr_cnn", {}, 88_318_561, 373.2),
]
CASES = [
    *(("resnet50", NYUD, (480, 640), *row) for row in ON_NYUD),
    *(("resnet18", PASCAL, (512, 512), *row) for row in ON_PASCAL),
]


@pytest.mark.parametrize(
    ("backbone", "tasks", "size", "name", "options", "parameters", "billions"), CASES
)
def test_sizes(
    backbone: str,
    tasks: dict[str, int],
    size: tuple[int, int],
    name: str,
    options: dict[str, Any],
    parameters: int,
    billions: float,
) -> None:
    with torch.device("meta"):  # values are not needed
        model = create_model(name, tasks, backbone=backbone, **options)
    assert count_parameters(model) == parameters
    assert count_macs(model, size) / 1e9 == pytest.approx(billions, rel=1e-3)
