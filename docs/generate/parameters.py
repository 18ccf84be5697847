"""Write ``docs/parameters.md``: sizes of the models next to the published ones.

Run ``python -m docs.generate.parameters`` in the repository root.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from docs.generate.parameter_rows import BLOCKS, Block, Row

from taskprism.models import create_model
from taskprism.scoring.resources import Resources, profile

PAGE = Path(__file__).parents[1] / "parameters.md"

_INTRODUCTION = """\
# Sizes of the models

<!-- Written by `python -m docs.generate.parameters`: edit the program, not this page. -->

This page compares the parameters and operations of taskprism's models with published numbers:
table 7 of the MTI-Net paper (Vandenhende et al., ECCV 2020), tables 2, 3 and 5 of CTAL (Sinodinos
and Armanfard), and counts of the code released with MTI-Net, ASTMT (Maninis et al., CVPR 2019),
ATRC (Bruggemann et al., ICCV 2021) and DenseMTL (Lopes et al., WACV 2023). Operations are
multiply-adds of convolutions and matrix products for one image. The papers' "FLOPS" are these for
MTI-Net, these for 8 images in table 5 of CTAL, and twice these in tables 2 and 3 of CTAL; they are
divided accordingly. Percentages are relative to the first row of the same block. `taskprism
profile` prints the same numbers for any model.
"""

_EXPLANATION = """\
## Where the numbers differ, and why

- **Single task and multi-task** agree with the paper within two percentage points. The paper
  rounds: two networks on HRNet-W18-small-v2 have 7.88 M parameters, printed as 8.0 M. "HRNet-18"
  is this small variant: two full HRNet-W18 have 19 M.
- **PAD-Net** has 4 points more parameters and 8 points more operations than printed. The paper
  says that it distills "with 4 C channels". The released code uses 256 channels on a backbone of
  270, and our PAD-Net has exactly its counts.
- **MTI-Net** is much smaller than printed: +9 % parameters instead of +57 %. Ours has exactly the
  counts of the released code, in which the non-linear function of the feature propagation reduces
  its channels to a quarter (the supplement: "aggressively reduce the number of channels"). Without
  this reduction (`fpm_reduction=1`), parameters are at +54 % and operations at -13 %, the value in
  the paper. Table 7 was probably made before the reduction was introduced.
- **MTI-Net without feature propagation** has no released code. Here the initial heads of every
  scale keep the width of that scale and nothing is concatenated.
- **ResNet-50 with a feature pyramid** has no released code either. A pyramid of 256 channels and
  the decoder of Panoptic FPN with 128 channels reproduce the printed single-task and multi-task
  sizes. The row of MTI-Net cannot be reproduced from what is published: with task features as wide
  as the pyramid, it would be larger than five networks, so the authors must have used fewer
  channels.
- **PAP-Net and CTAL** are published with explicit affinity matrices over all pairs of positions
  (`distillation_options={"method": "direct"}`), and agree. By default, taskprism computes the same
  result without these matrices, with less than half of the operations. The published operations of
  PAP-Net fit two diffusion steps, but its configuration says one. There is no code that shows what
  is resized at 1/6 and 1/8; if it is the input of CTAL, the operations agree within 3 %.
- **CTAL on SwinV2-S** has no code. The numbers agree if PAD-Net's front end uses only the deepest
  map, resized to 1/16, and the final heads are atrous pyramids. CTAL works at 1/32 and its tail
  doubles the resolution. Only CTAL is printed with 0.1 M more parameters. Ours are 0.01 M below
  torchvision's SwinV2-S, which has key biases that are always 0 and a last norm that is not used.
  In the paper's table 3 (PASCAL-Context), parameters and operations are swapped in the multi-task
  rows; here they are not. PAP-Net is printed there with 4.5 M more parameters than it can have.
- **TPIM** has no code, and the paper prints no sizes. **ATRC and DenseMTL** have exactly the
  parameters of their code. ATRC predicts saliency with two channels, as in the block above.
- **MTAN, cross-stitch and NDDR-CNN** have exactly the parameters of the MTI-Net repository, which
  uses a dilated ResNet with DeepLab's head.
- **ASTMT** has exactly the parameters of its code. The code counts one forward pass for
  segmentation, which has the largest head; a forward pass is needed for each task. "Decoder only"
  and "shared norms" share the pass through the encoder. The released code cannot share it: its
  encoder has batch norms per task in every variant, as in the first rows of SE-ResNets here
  (`encoder_norm_per_task=True`).
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
    """Write the page to the path on the command line, by default ``docs/parameters.md``."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else PAGE
    path.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
