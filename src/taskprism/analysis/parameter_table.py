"""The docs page that sets our models' sizes beside those of the MTI-Net paper.

``python -m taskprism.analysis.parameter_table docs/parameters.md`` writes it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch

from taskprism.analysis.resources import Resources, profile
from taskprism.models import create_model

NYUD = {"semseg": 40, "depth": 1}
PASCAL_3 = {"semseg": 21, "human_parts": 7, "saliency": 1}
PASCAL_5 = {**PASCAL_3, "edge": 1, "normals": 3}


@dataclass(frozen=True)
class Row:
    """A model and what the paper says of it.

    Attributes:
        label: First column.
        model: Name for ``create_model``.
        auxiliary: Auxiliary tasks.
        options: Options for ``create_model``.
        paper: The paper's parameters and operations, as it prints them.
    """

    label: str
    model: str
    auxiliary: Mapping[str, int] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    paper: tuple[str, str] = ("–", "–")


@dataclass(frozen=True)
class Block:
    """Rows that share tasks, input size and backbone; the first is what others are compared to."""

    title: str
    tasks: Mapping[str, int]
    size: tuple[int, int]
    backbone: str
    rows: tuple[Row, ...]


_N = {"normals": 3}
_NE = {"normals": 3, "edge": 1}

BLOCKS = (
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
)

_INTRODUCTION = """\
# Sizes of the models

<!-- Written by `python -m taskprism.analysis.parameter_table docs/parameters.md`. -->

Parameters and operations of the models here, beside table 7 of the MTI-Net paper (Vandenhende et
al., ECCV 2020). Operations are multiply-adds of convolutions and matrix products for one image,
which is what the paper's "FLOPS" are. Percentages are relative to the single-task networks of the
same block. `taskprism profile` prints the same numbers for any model.
"""

_EXPLANATION = """\
## Where the numbers differ, and why

- **Single task and multi-task** agree with the paper within two points. The paper rounds: two
  networks on HRNet-W18-small-v2 have 7.88 M parameters, printed as 8.0 M. "HRNet-18" is this small
  variant: two of the full HRNet-W18 would have 19 M.
- **PAD-Net** is 4 points larger and 8 points costlier than printed. The paper says that it distils
  "with 4 C channels"; the authors' released code, whose counts our PAD-Net has exactly, uses 256
  channels on a trunk of 270.
- **MTI-Net** is far smaller than printed: +9 % parameters instead of +57 %. Ours has exactly the
  counts of the released code, in which the non-linear function of the feature propagation narrows
  its channels to a quarter (the supplement: "aggressively reduce the number of channels"). Without
  this narrowing (`fpm_reduction=1`) parameters are at +54 % and operations at -13 %, the paper's
  own figure. The likely reading is that table 7 was made before the narrowing was introduced.
- **Without feature propagation** there is no released code. Here every scale's initial heads keep
  that scale's own width and nothing is concatenated.
- **ResNet-50 with a feature pyramid** has no released code either. A pyramid of 256 channels and
  the decoder of Panoptic FPN with 128 channels reproduce the printed single-task and multi-task
  sizes. MTI-Net's own row cannot be reproduced from what is published: with task features as wide
  as the pyramid it would be larger than five networks, so narrower ones must have been used.
"""


@cache
def _measured(
    model: str,
    tasks: tuple[tuple[str, int], ...],
    auxiliary: tuple[tuple[str, int], ...],
    backbone: str,
    options: tuple[tuple[str, Any], ...],
    size: tuple[int, int],
) -> Resources:
    with torch.device("meta"):  # sizes need no values
        built = create_model(model, dict(tasks), dict(auxiliary), backbone, **dict(options))
    return profile(built, size, repeats=0)


def measure(row: Row, block: Block) -> Resources:
    """Parameters and operations of a row's model."""
    return _measured(
        row.model,
        tuple(block.tasks.items()),
        tuple(row.auxiliary.items()),
        block.backbone,
        tuple(row.options.items()),
        block.size,
    )


def page() -> str:
    """The whole page as Markdown."""
    return "\n".join([_INTRODUCTION, *(_table(block) for block in BLOCKS), _EXPLANATION])


def _table(block: Block) -> str:
    lines = [
        f"## {block.title}",
        "",
        "| model | parameters | | multiply-adds | | paper: parameters | paper: FLOPS |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    base = measure(block.rows[0], block)
    for row in block.rows:
        own = measure(row, block)
        cells = [
            row.label,
            f"{own.parameters / 1e6:.4f} M",
            _relative(own.parameters, base.parameters),
            f"{own.macs / 1e9:.3f} G",
            _relative(own.macs, base.macs),
            *row.paper,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _relative(value: int, base: int) -> str:
    return "" if value == base else f"{100 * (value / base - 1):+.1f} %"


def main() -> None:
    """Write the page to the path given on the command line."""
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
