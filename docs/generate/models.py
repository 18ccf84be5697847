"""Write ``docs/models.md``: every model with its size on one backbone.

Run ``python -m docs.generate.models`` in the repository root.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from taskprism.backbones import Backbone, ModulatedBackbone
from taskprism.backbones.staged import StagedTransformer
from taskprism.backbones.token_maps import TokenMaps
from taskprism.models import MODELS, create_model, find_model
from taskprism.scoring.resources import Resources, profile

PAGE = Path(__file__).parents[1] / "models.md"
SIZE = (320, 448)
TASKS = {"semseg": 40, "depth": 1, "normals": 3, "edge": 1}
#: Backbone for each type that a model can declare; the first that fits.
BACKBONES: dict[type[Backbone], str] = {
    ModulatedBackbone: "se_resnet50",
    TokenMaps: "vit_base_patch16_224",
    StagedTransformer: "swin_tiny_patch4_window7_224",
    Backbone: "resnet50",
}

_INTRODUCTION = f"""\
# Models

<!-- Written by `python -m docs.generate.models`: edit the program, not this page. -->

Parameters and multiply-adds of every model for one image of {SIZE[0]} x {SIZE[1]} pixels and four
tasks: segmentation into 40 classes, depth, normals and edges. All options have their defaults. The
backbone is ResNet-50, except for models that need another type of backbone. Models that are marked
with † are built for one image size. The column "relative" is the number of multiply-adds divided by
that of `multi_task` on ResNet-50.

`taskprism profile MODEL --tasks semseg=40 depth=1` prints these numbers for any size, tasks and
backbone, and the time and memory on your machine. [Sizes of the models](parameters.md) compares the
papers' settings with published numbers, and [choose a method](choose_a_method.md) says what the
models do.

| model | backbone | parameters (M) | multiply-adds (G) | relative | |
|---|---|---:|---:|---:|---|
"""
_NOTES = """
- `single_task` and `astmt_single_task` are one network per task; their numbers are sums.
- `astmt` and `astmt_single_task` run once per task; the multiply-adds are those of all tasks.
- `cross_stitch`, `nddr_cnn` and `mtan` keep the features of the encoder at 1/8 of the image by
  default, as published (`output_stride`).

## Backbones

Any backbone of [timm](https://github.com/huggingface/pytorch-image-models) with feature maps works:
`taskprism list backbones convnext` shows names. The multi-scale models read four maps.
"""


@dataclass(frozen=True)
class Line:
    """One model with its resources."""

    model: str
    backbone: str
    resources: Resources


def measure(name: str) -> Line:
    """Build a model without values, and count."""
    model = find_model(name)
    options: dict[str, Any] = {} if model.any_input_size else {"size": SIZE}
    backbone = next((b for kind, b in BACKBONES.items() if issubclass(model.backbone_type, kind)))
    with torch.device("meta"):  # sizes need no values
        built = create_model(name, TASKS, backbone=backbone, **options)
    return Line(name, backbone, profile(built, SIZE, repeats=0))


def row(line: Line, base: Line) -> str:
    """One row of the table.

    Args:
        line: A model.
        base: `multi_task`.
    """
    model, found = find_model(line.model), line.resources
    mark = "" if model.any_input_size else " †"
    summary = (model.__doc__ or "").strip().splitlines()[0].rstrip(".")
    summary = re.sub(r":\w+:`~?[\w.]*?(\w+)`", r"`\1`", summary).replace("``", "`")
    return (
        f"| `{line.model}`{mark} | `{line.backbone}` | {found.parameters / 1e6:.2f} | "
        f"{found.macs / 1e9:.1f} | {found.macs / base.resources.macs:.2f} | {summary} |\n"
    )


def built_in() -> list[str]:
    """Names of the models of the package, without those of other ones that are installed."""
    return [entry.name for entry in MODELS.entries() if entry.builtin]


def page() -> str:
    """The whole page as Markdown."""
    lines = sorted(map(measure, built_in()), key=lambda line: line.resources.macs)
    (base,) = (line for line in lines if line.model == "multi_task")
    return _INTRODUCTION + "".join(row(line, base) for line in lines) + _NOTES


def main() -> None:
    """Write the page to the path on the command line, by default ``docs/models.md``."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else PAGE
    path.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
