"""Layouts of the repository that came with MTI-Net (Vandenhende et al., ECCV 2020)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from taskprism.interop.shared_layouts import (
    BACKBONE,
    MTI_NET,
    PAD_NET,
    find_backbone,
    find_trunk,
    heads,
    multi_task,
    prefixes,
    trunk_options,
)
from taskprism.interop.source import Checkpoint, Layout, Rule, Source, register_source

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


@register_source
class MultiTaskLearningPyTorch(Source):
    """Repository of MTI-Net (Vandenhende et al., ECCV 2020)."""

    name = "multi_task_learning_pytorch"
    repository = "https://github.com/SimonVandenhende/Multi-Task-Learning-PyTorch"
    tasks: ClassVar[Mapping[str, str]] = {
        "semseg": "semseg",
        "human_parts": "human_parts",
        "saliency": "sal",
        "normals": "normals",
        "edge": "edge",
        "depth": "depth",
    }
    layouts = (
        SINGLE_TASK,
        multi_task("decoders"),
        PAD_NET,
        MTI_NET,
        CROSS_STITCH,
        NDDR_CNN,
        MTAN,
    )
    image_mean = (0.485, 0.456, 0.406)
    image_std = (0.229, 0.224, 0.225)
