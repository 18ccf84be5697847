"""Rows of ``docs/parameters.md``: models, and their sizes in the papers or the released code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Row:
    """One model and its published size.

    Attributes:
        label: Text of the first column.
        model: Name for ``create_model``.
        auxiliary: Auxiliary tasks.
        options: Options for ``create_model``.
        paper: Published parameters and operations, as printed or as counted from released code.
    """

    label: str
    model: str
    auxiliary: Mapping[str, int] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    paper: tuple[str, str] = ("–", "–")


@dataclass(frozen=True)
class Block:
    """Rows that share tasks, input size and backbone; the others are relative to the first.

    Attributes:
        title: Heading.
        tasks: Main tasks.
        size: ``(H, W)`` of the input.
        backbone: Name for ``create_model``.
        rows: The models.
        source: Where the published numbers come from: ``"paper"``, or ``"code"`` where they were
            counted by running the authors' released code.
    """

    title: str
    tasks: Mapping[str, int]
    size: tuple[int, int]
    backbone: str
    rows: tuple[Row, ...]
    source: str = "paper"


NYUD = {"semseg": 40, "depth": 1}
NYUD_13 = {"semseg": 13, "depth": 1, "normals": 3}
NYUD_4 = {**NYUD, "normals": 3, "edge": 1}
PASCAL_3 = {"semseg": 21, "human_parts": 7, "saliency": 1}
PASCAL_5 = {**PASCAL_3, "edge": 1, "normals": 3}
PASCAL_5_SOFTMAX = {**PASCAL_5, "saliency": 2}

_N = {"normals": 3}
_NE = {"normals": 3, "edge": 1}
_DIRECT = {"distillation_options": {"method": "direct"}}
_SIZE = {"size": (288, 384)}
_CTAL = {**_SIZE, **_DIRECT}
_RESNET_101 = {"neck": "none", "output_stride": 16, "finest_stride": 2}
_AT_32 = {"neck": "deepest", "head": "deeplab"}
_AT_16 = {**_AT_32, "neck_stride": 16}
_ONE_MAP_32, _ONE_MAP_16 = ({**each, "fusion": "none"} for each in (_AT_32, _AT_16))


def _genotype(name: str) -> dict[str, Any]:
    return {"distillation_options": {"genotype": name}}


DISTILLATION_BLOCKS = (
    Block(
        "NYUD-v2: semantic segmentation (40 classes) and depth, HRNet-W18-small-v2, 480 x 640",
        NYUD,
        (480, 640),
        "hrnet_w18_small_v2",
        (
            Row("single task, 2 networks", "single_task", paper=("8.0 M", "22.0 G")),
            Row("multi-task", "multi_task", paper=("-50 %", "-45 %")),
            Row("PAD-Net", "pad_net", paper=("-15 %", "+204 %")),
            Row("PAD-Net, normals auxiliary", "pad_net", _N),
            Row("PAD-Net, normals and edges auxiliary", "pad_net", _NE),
            Row("MTI-Net", "mti_net", paper=("+57 %", "-13 %")),
            Row("MTI-Net, normals auxiliary", "mti_net", _N),
            Row("MTI-Net, normals and edges auxiliary", "mti_net", _NE),
            Row("MTI-Net, `propagation=False`", "mti_net", {}, {"propagation": False}),
            Row(
                "MTI-Net, `propagation=False`, normals and edges auxiliary",
                "mti_net",
                _NE,
                {"propagation": False},
            ),
            Row("MTI-Net, `fpm_reduction=1`", "mti_net", {}, {"fpm_reduction": 1}),
            Row("TPIM", "tpim"),
            Row("TPIM, `single_scale=True`", "tpim", {}, {"single_scale": True}),
            Row("ATRC", "atrc", {}, _genotype("nyud_w18")),
            Row('MTI-Net, `distillation="xtam"`', "mti_net", {}, {"distillation": "xtam"}),
        ),
    ),
    Block(
        "PASCAL-Context: segmentation (21 classes), human parts, saliency, HRNet-W18-small-v2, "
        "512 x 512",
        PASCAL_3,
        (512, 512),
        "hrnet_w18_small_v2",
        (
            Row("single task, 3 networks", "single_task"),
            Row("multi-task", "multi_task"),
            Row("PAD-Net", "pad_net"),
            Row("MTI-Net", "mti_net"),
            Row("TPIM", "tpim"),
            Row("ATRC", "atrc", {}, _genotype("pascal_w18")),
        ),
    ),
    Block(
        "PASCAL-Context: the same with edges and normals, 5 tasks",
        PASCAL_5,
        (512, 512),
        "hrnet_w18_small_v2",
        (
            Row("single task, 5 networks", "single_task"),
            Row("multi-task", "multi_task"),
            Row("PAD-Net", "pad_net"),
            Row("MTI-Net", "mti_net"),
        ),
    ),
    Block(
        "PASCAL-Context: 5 tasks, ResNet-50 with feature pyramid, 512 x 512",
        PASCAL_5,
        (512, 512),
        "resnet50",
        (
            Row("single task, 5 networks", "single_task", paper=("140 M", "219 G")),
            Row("multi-task", "multi_task", paper=("-75.0 %", "-66 %")),
            Row("MTI-Net", "mti_net", paper=("-35.0 %", "-19.9 %")),
            Row("MTI-Net, `neck_channels=128`", "mti_net", {}, {"neck_channels": 128}),
        ),
    ),
    Block(
        "NYUD-v2: segmentation (13 classes), depth, normals, HRNet-W18-small-v2, 288 x 384",
        NYUD_13,
        (288, 384),
        "hrnet_w18_small_v2",
        (
            Row("single task, 3 networks", "single_task"),
            Row("multi-task", "multi_task", paper=("-65.4 %", "5.3 G")),
            Row("PAD-Net", "pad_net", paper=("+2.3 %", "60.5 G")),
            Row("PAP-Net", "pap_net"),
            Row("PAP-Net, written out", "pap_net", {}, _DIRECT, ("-59.6 %", "65.1 G")),
            Row("MTI-Net", "mti_net", paper=("+7.0 %", "8.1 G")),
            Row("CTAL", "ctal", {}, _SIZE),
            Row("CTAL, written out", "ctal", {}, _CTAL, ("-48.7 %", "67.1 G")),
            Row(
                "CTAL at 1/6, written out",
                "ctal",
                {},
                {**_CTAL, "attention_stride": 6},
                ("-49.6 %", "24.3 G"),
            ),
            Row(
                "CTAL at 1/8, written out",
                "ctal",
                {},
                {**_CTAL, "attention_stride": 8},
                ("-50.0 %", "15.5 G"),
            ),
            Row("CTAL multi-scale", "ctal_multiscale", {}, _SIZE),
            Row(
                "CTAL multi-scale, written out",
                "ctal_multiscale",
                {},
                _CTAL,
                ("-5.6 %", "65.6 G"),
            ),
            Row(
                "CTAL multi-scale at 1/6, written out",
                "ctal_multiscale",
                {},
                {**_CTAL, "attention_stride": 6},
                ("-6.5 %", "23.8 G"),
            ),
            Row(
                "CTAL multi-scale at 1/8, written out",
                "ctal_multiscale",
                {},
                {**_CTAL, "attention_stride": 8},
                ("-6.8 %", "14.6 G"),
            ),
            Row("concatenation in CTAL's place", "concat"),
        ),
    ),
    Block(
        "The same on SwinV2-S",
        NYUD_13,
        (288, 384),
        "swinv2_small_window8_256",
        (
            Row("single task, 3 networks", "single_task", {}, _AT_16, ("166.8 M", "74.1 G")),
            Row("multi-task", "multi_task", {}, _AT_16, ("68.8 M", "30.3 G")),
            Row("PAD-Net", "pad_net", {}, _ONE_MAP_16, ("65.6 M", "28.7 G")),
            Row("PAP-Net", "pap_net", {}, _ONE_MAP_16, ("55.8 M", "24.6 G")),
            Row("CTAL", "ctal", {}, {**_ONE_MAP_32, **_SIZE}, ("57.0 M", "25.0 G")),
        ),
    ),
    Block(
        "PASCAL-Context: 5 tasks, SwinV2-S, 512 x 512",
        PASCAL_5_SOFTMAX,
        (512, 512),
        "swinv2_small_window8_256",
        (
            Row("single task, 5 networks", "single_task", {}, _AT_32, ("278.0 M", "238.8 G")),
            Row("multi-task", "multi_task", {}, _AT_32, ("82.1 M", "54.4 G")),
            Row("PAD-Net", "pad_net", {}, _ONE_MAP_32, ("88.5 M", "56.2 G")),
            Row("PAP-Net", "pap_net", {}, _ONE_MAP_32, ("64.9 M", "50.3 G")),
            Row("CTAL", "ctal", {}, {**_ONE_MAP_32, "size": (512, 512)}, ("62.2 M", "57.1 G")),
        ),
    ),
    Block(
        "NYUD-v2: segmentation (40 classes), depth, normals, edges, HRNet-W18-small-v2, 425 x 560",
        NYUD_4,
        (425, 560),
        "hrnet_w18_small_v2",
        (
            Row("single task, 4 networks", "single_task"),
            Row(
                "ATRC, published genotype",
                "atrc",
                {},
                _genotype("nyud_w18"),
                ("5.0610 M", "25.05 G"),
            ),
            Row("ATRC, global context", "atrc", {}, _genotype("global"), ("4.7342 M", "21.18 G")),
            Row("ATRC, target labels", "atrc", {}, {}, ("5.0610 M", "25.17 G")),
        ),
        source="code",
    ),
    Block(
        "PASCAL-Context: 5 tasks, HRNet-W18-small-v2, 512 x 512",
        PASCAL_5_SOFTMAX,
        (512, 512),
        "hrnet_w18_small_v2",
        (
            Row("single task, 5 networks", "single_task"),
            Row(
                "ATRC, published genotype",
                "atrc",
                {},
                _genotype("pascal_w18"),
                ("5.3831 M", "31.65 G"),
            ),
            Row("ATRC, global context", "atrc", {}, _genotype("global"), ("5.0078 M", "27.86 G")),
            Row("ATRC, target labels", "atrc", {}, {}, ("5.3945 M", "31.77 G")),
        ),
        source="code",
    ),
    Block(
        "NYUD-v2: segmentation (40 classes) and depth, ResNet-101, 448 x 576",
        NYUD,
        (448, 576),
        "resnet101",
        (
            Row("DenseMTL", "dense_mtl", {}, _RESNET_101, ("87.4041 M", "234.2 G")),
            Row(
                "DenseMTL, PAD-Net's block",
                "dense_mtl",
                {},
                {**_RESNET_101, "distillation": "spatial_attention"},
                ("87.2208 M", "–"),
            ),
        ),
        source="code",
    ),
)

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

BLOCKS = DISTILLATION_BLOCKS + ENCODER_BLOCKS
