"""Layouts of the repository that came with MTI-Net (Vandenhende et al., ECCV 2020)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from taskprism.interop.layout import Checkpoint, Layout, Source
from taskprism.interop.naming import Rule
from taskprism.interop.shared_layouts import (
    MTI_NET,
    PAD_NET,
    find_backbone,
    multi_task,
    trunk_options,
)
from taskprism.interop.shared_rules import BACKBONE, heads
from taskprism.interop.trunks import find_trunk, prefixes

_BACKBONES: Rule = ("backbone.{task}.{rest}", "backbones.{task}.model.{rest}")
_OUTPUT_STRIDE = {"output_stride": 8, "head": "deeplab"}


def _first_of_several(tensors: Mapping[str, Tensor]) -> str:
    found = prefixes(tensors, "backbone")
    return find_trunk(tensors, found[0] if found else "backbone.")


def _dilated(_: Checkpoint) -> dict[str, Any]:
    return dict(_OUTPUT_STRIDE)


SINGLE_TASK = Layout(
    "single_task",
    (
        ("backbone.{rest}", "backbones.{only}.model.{rest}"),
        *heads("decoder", "heads.{only}"),
    ),
    find_backbone,
    lambda checkpoint: trunk_options(checkpoint.tensors),
)

CROSS_STITCH = Layout(
    "cross_stitch",
    (
        _BACKBONES,
        (
            "cross_stitch.layer{n}.cross_stitch_unit.{task}.{source}.param",
            "units.layer{n}.shares.{task}.{source}.weight",
        ),
        *heads("heads.{task}"),
    ),
    _first_of_several,
    _dilated,
)

NDDR_CNN = Layout(
    "nddr_cnn",
    (
        _BACKBONES,
        ("nddr.conv.layer.{task}.{rest}", "units.stem.reduce.{task}.{rest}"),
        ("nddr.layer1_without_conv.layer.{task}.{rest}", "units.layer1.reduce.{task}.{rest}"),
        ("nddr.layer{n}.layer.{task}.{rest}", "units.layer{n}.reduce.{task}.{rest}"),
        *heads("heads.{task}"),
    ),
    _first_of_several,
    _dilated,
)

MTAN = Layout(
    "mtan",
    (
        BACKBONE,
        *(
            (f"attention_{n}.{{task}}.{{rest}}", f"attention.{n - 1}.{{task}}.{{rest}}")
            for n in (1, 2, 3, 4)
        ),
        *((f"refine_{n}.0.{{rest}}", f"refine.{n - 1}.{{rest}}") for n in (1, 2, 3)),
        *heads("heads.{task}"),
    ),
    find_backbone,
    _dilated,
)

MULTI_TASK_LEARNING_PYTORCH = Source(
    name="multi_task_learning_pytorch",
    repository="https://github.com/SimonVandenhende/Multi-Task-Learning-PyTorch",
    tasks={
        "semseg": "semseg",
        "human_parts": "human_parts",
        "saliency": "sal",
        "normals": "normals",
        "edge": "edge",
        "depth": "depth",
    },
    layouts=(
        SINGLE_TASK,
        multi_task("decoders"),
        PAD_NET,
        MTI_NET,
        CROSS_STITCH,
        NDDR_CNN,
        MTAN,
    ),
    image_mean=(0.485, 0.456, 0.406),
    image_std=(0.229, 0.224, 0.225),
)
