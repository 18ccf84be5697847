"""The docs page that sets our models' sizes beside the published ones.

``python -m taskprism.analysis.parameter_table docs/parameters.md`` writes it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from taskprism.analysis.parameter_block import Block, Row
from taskprism.analysis.parameter_rows import DISTILLATION_BLOCKS
from taskprism.analysis.parameter_rows_encoders import ENCODER_BLOCKS
from taskprism.models import create_model
from taskprism.scoring.resources import Resources, profile

BLOCKS = DISTILLATION_BLOCKS + ENCODER_BLOCKS

_INTRODUCTION = """\
# Sizes of the models

<!-- Written by `python -m taskprism.analysis.parameter_table docs/parameters.md`. -->

Parameters and operations of the models here, beside what is published: table 7 of the MTI-Net paper
(Vandenhende et al., ECCV 2020), tables 2, 3 and 5 of CTAL (Sinodinos and Armanfard), and counts of
the code that was released with MTI-Net, ASTMT (Maninis et al., CVPR 2019), ATRC (Bruggemann et al.,
ICCV 2021) and DenseMTL (Lopes et al., WACV 2023). Operations are multiply-adds of convolutions and
matrix products for one image; "FLOPS" in print are these for MTI-Net, these for 8 images in table 5
of CTAL and twice these in its tables 2 and 3, and are divided accordingly. Percentages are relative
to the first row of the same block. `taskprism profile` prints the same numbers for any model.
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
- **PAP-Net and CTAL** are published with affinity matrices of all pairs of positions written out
  (`distillation_options={"method": "direct"}`), and agree. By default the same numbers are computed
  without them, in less than half of the operations. The published ones of PAP-Net fit two diffusion
  steps, its configuration says one. At 1/6 and 1/8 no code says what is resized: with the input of
  CTAL they agree within 3 %.
- **CTAL's figures on SwinV2-S** have no code. With PAD-Net's front end on the deepest map alone,
  resized to 1/16, and atrous pyramids as final heads they agree; CTAL works at 1/32 and its tail
  doubles that. Only CTAL's own parameters are printed 0.1 M higher. Ours are 0.01 M below
  torchvision's SwinV2-S, whose keys have biases that are always 0, and whose last norm is not used.
  In the paper's table 3, on PASCAL-Context, parameters and operations are swapped in the multi-task
  rows, and here they are not; PAP-Net is printed 4.5 M larger there than it can be.
- **TPIM** has no code and prints no sizes. **ATRC and DenseMTL** have exactly the parameters of
  their code; ATRC's saliency has two channels, and so has the block above.
- **MTAN, cross-stitch and NDDR-CNN** have exactly the parameters of MTI-Net's repository, which has
  them on a dilated ResNet with DeepLab's head.
- **ASTMT** has exactly the parameters of its code. That counts a pass for segmentation, whose head
  is the largest, and there are as many passes as tasks. "Decoder only" and "shared norms" share the
  encoder's pass. The released code cannot: its encoder has batch norms per task in every variant,
  as have the first rows of SE-ResNets here (`encoder_norm_per_task=True`).
"""


def measure(row: Row, block: Block) -> Resources:
    """Parameters and operations of a row's model."""
    with torch.device("meta"):  # sizes need no values
        built = create_model(
            row.model, block.tasks, row.auxiliary, backbone=block.backbone, **row.options
        )
    return profile(built, block.size, repeats=0)


def page() -> str:
    """The whole page as Markdown."""
    return "\n".join([_INTRODUCTION, *(table(block) for block in BLOCKS), _EXPLANATION])


def table(block: Block) -> str:
    """A heading and the rows of a block as Markdown."""
    lines = [
        f"## {block.title}",
        "",
        "| model | parameters | | multiply-adds | | "
        f"{block.source}: parameters | {block.source}: FLOPS |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    measured = [measure(row, block) for row in block.rows]
    base = measured[0]
    for row, own in zip(block.rows, measured, strict=True):
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
