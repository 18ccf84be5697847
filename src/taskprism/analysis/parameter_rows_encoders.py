"""Rows of the docs page of sizes for systems that share, or attend to tasks, in the encoder."""

from __future__ import annotations

from typing import Any

from taskprism.analysis.parameter_block import Block, Row
from taskprism.analysis.parameter_rows import NYUD, PASCAL_5

_DEEPLAB = {"neck": "none", "head": "deeplab", "output_stride": 8}


def _astmt(
    encoder: bool, decoder: bool, adapters: bool | None = False, **options: Any
) -> dict[str, Any]:
    return {
        "squeeze_encoder": encoder,
        "squeeze_decoder": decoder,
        "adapters": adapters,
        **options,
    }


_BASELINE = _astmt(False, False, encoder_norm_per_task=True)
_SE = _astmt(True, True)
_SE_RA = _astmt(True, True, adapters=True)


def _astmt_rows(*full: tuple[str, str], se: tuple[str, str]) -> tuple[Row, ...]:
    return (
        Row("multi-task", "astmt", {}, _BASELINE, full[0]),
        Row("ASTMT, SE", "astmt", {}, _SE, se),
        Row("ASTMT, SE and adapters", "astmt", {}, _SE_RA, full[1]),
    )


ENCODER_BLOCKS = (
    Block(
        "NYUD-v2: semantic segmentation (40 classes) and depth, dilated ResNet-50, 480 x 640",
        NYUD,
        (480, 640),
        "resnet50",
        (
            Row("single task, 2 networks", "single_task", {}, _DEEPLAB, ("79.278 M", "383.4 G")),
            Row("multi-task", "multi_task", {}, _DEEPLAB, ("55.769 M", "266.6 G")),
            Row("MTAN", "mtan", paper=("72.053 M", "394.3 G")),
            Row("cross-stitch", "cross_stitch", paper=("79.293 M", "383.4 G")),
            Row("NDDR-CNN", "nddr_cnn", paper=("101.592 M", "494.4 G")),
        ),
        source="code",
    ),
    Block(
        "PASCAL-Context: 5 tasks, dilated ResNet-18, 512 x 512",
        PASCAL_5,
        (512, 512),
        "resnet18",
        (
            Row("single task, 5 networks", "single_task", {}, _DEEPLAB, ("79.502 M", "334.6 G")),
            Row("multi-task", "multi_task", {}, _DEEPLAB, ("34.796 M", "142.1 G")),
            Row("MTAN", "mtan", paper=("36.613 M", "159.1 G")),
            Row("cross-stitch", "cross_stitch", paper=("79.526 M", "334.6 G")),
            Row("NDDR-CNN", "nddr_cnn", paper=("88.319 M", "373.2 G")),
        ),
        source="code",
    ),
    Block(
        "PASCAL-Context: 5 tasks, SE-ResNet-26, 512 x 512",
        PASCAL_5,
        (512, 512),
        "se_resnet26",
        (
            Row("multi-task", "astmt", {}, _BASELINE, ("19.3783 M", "5 x 24.25 G")),
            Row(
                "multi-task, shared norms",
                "astmt",
                {},
                _astmt(False, False),
                ("19.2554 M", "19.07 + 5.17 G"),
            ),
            Row(
                "ASTMT, decoder only",
                "astmt",
                {},
                _astmt(False, True),
                ("19.2833 M", "19.07 + 5 x 5.17 G"),
            ),
            Row("ASTMT, adapters", "astmt", {}, _astmt(False, False, True), ("25.6439 M", "–")),
            Row("ASTMT, SE", "astmt", {}, _SE, ("25.0094 M", "5 x 24.25 G")),
            Row("ASTMT, SE and adapters", "astmt", {}, _SE_RA, ("31.2750 M", "5 x 25.94 G")),
            Row(
                "ASTMT, SE, UberNet's decoders",
                "astmt",
                {},
                {**_SE, "decoder": "uber_net"},
                ("21.1503 M", "–"),
            ),
        ),
        source="code",
    ),
    Block(
        "The same on SE-ResNet-50",
        PASCAL_5,
        (512, 512),
        "se_resnet50",
        _astmt_rows(
            ("30.1595 M", "5 x 36.80 G"),
            ("49.3826 M", "5 x 39.23 G"),
            se=("40.3113 M", "5 x 36.80 G"),
        ),
        source="code",
    ),
    Block(
        "The same on SE-ResNet-101",
        PASCAL_5,
        (512, 512),
        "se_resnet101",
        _astmt_rows(
            ("51.6072 M", "5 x 56.19 G"),
            ("85.3878 M", "5 x 59.77 G"),
            se=("70.7459 M", "5 x 56.19 G"),
        ),
        source="code",
    ),
    Block(
        "The same on MobileNetV2",
        PASCAL_5,
        (512, 512),
        "mobilenet_v2",
        (
            Row("multi-task", "astmt", {}, _astmt(False, False), ("1.9719 M", "2.38 + 0.24 G")),
            Row(
                "ASTMT, decoder only",
                "astmt",
                {},
                _astmt(False, True),
                ("2.0511 M", "2.38 + 5 x 0.24 G"),
            ),
            Row("ASTMT, SE", "astmt", {}, _SE, ("2.6399 M", "5 x 2.62 G")),
        ),
        source="code",
    ),
    Block(
        "NYUD-v2: edges, segmentation (41 classes), normals, depth, SE-ResNet-50, 512 x 512",
        {"edge": 1, "semseg": 41, "normals": 3, "depth": 1},
        (512, 512),
        "se_resnet50",
        (
            Row("ASTMT, SE", "astmt", {}, _SE, ("37.7223 M", "4 x 36.80 G")),
            Row("ASTMT, SE and adapters", "astmt", {}, _SE_RA, ("44.9794 M", "4 x 39.23 G")),
        ),
        source="code",
    ),
)
