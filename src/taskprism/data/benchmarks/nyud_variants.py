"""The archives in which NYUD-v2 is passed around: same folders, different files.

=========  =====================================  =============  =======================
variant    whose                                  labels         class 0 of semseg
=========  =====================================  =============  =======================
``mat``    ASTMT's ``NYUD_MT``                    mat, jpg, png  kept as background
``npy``    ``NYUD_MT`` of the survey and MTI-Net  npy, png       no label
``png``    ``NYUDv2`` of InvPT                    png, npy       no label
=========  =====================================  =============  =======================
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from taskprism.data.benchmarks import decoding, names
from taskprism.data.benchmarks.decoding import Axes
from taskprism.data.benchmarks.variant import Decoder, Label, Variant
from taskprism.data.protocol import Split

LISTS = {"train": "gt_sets/train.txt", "test": "gt_sets/val.txt"}  # val is what all papers test on
_EIGHT_BIT = {"scale": 2 / 255, "offset": -1.0}


def nyud_variants(table: Mapping[int, int | None], axes: Axes) -> tuple[Variant, ...]:
    """The three archives.

    Args:
        table: Stored class -> class, or None for "no label".
        axes: Where the stored channels of normals point.
    """
    classes = partial(decoding.classes, table=dict(table))
    normals = partial(decoding.directions, axes=axes)
    coded_normals = partial(normals, **_EIGHT_BIT)
    full_edge = partial(decoding.yes_no, full=255)
    return (
        _variant(
            "mat",
            "ASTMT's NYUD_MT.tgz",
            image="jpg",
            semseg=("mat", partial(classes, key="segmentation"), "key segmentation, 0..40"),
            depth=("mat", partial(decoding.lengths, key="depth"), "key depth, float32 meters"),
            normals=("jpg", coded_normals, "8-bit, n = 2 v / 255 - 1"),
            edge=("png", full_edge, "0 or 255"),
        ),
        _variant(
            "npy",
            "NYUD_MT.tgz of the multi-task survey, MTI-Net and ATRC; and what `data build` writes",
            image="jpg",
            semseg=("png", classes, "8-bit, 0..40"),
            depth=("npy", decoding.lengths, "meters"),
            normals=("npy", normals, "(H, W, 3) in [-1, 1], (0, 0, 0) for none"),
            edge=("npy", decoding.yes_no, "0 or 1"),
        ),
        _variant(
            "png",
            "NYUDv2.tar.gz of InvPT and TaskPrompter",
            image="png",
            semseg=("png", classes, "8-bit, 0..40"),
            depth=("npy", decoding.lengths, "meters"),
            normals=("png", coded_normals, "8-bit, n = 2 v / 255 - 1; about 127 for none"),
            edge=("png", full_edge, "0 or 255"),
        ),
    )


FOLDERS = {"semseg": "segmentation", "depth": "depth", "normals": "normals", "edge": "edge"}


def _variant(name: str, summary: str, image: str, **labels: tuple[str, Decoder, str]) -> Variant:
    lines = ["ROOT/", f"  images/{{name}}.{image:<11} RGB"]
    made: dict[str, Label] = {}
    for task, (suffix, decode, meaning) in labels.items():
        pattern = f"{FOLDERS[task]}/{{name}}.{suffix}"
        made[task] = Label((pattern,), decode)
        lines.append(f"  {pattern:<25} {meaning}")
    lines.append("  gt_sets/train.txt, val.txt names, one a line: 0001 ... 1449")
    splits: dict[Split, names.Names] = {
        "train": partial(names.listed, file=LISTS["train"]),
        "test": partial(names.listed, file=LISTS["test"]),
    }
    return Variant(
        name=name,
        summary=summary,
        tree="\n".join(lines),
        image=f"images/{{name}}.{image}",
        labels=made,
        splits=splits,
        needs=tuple(LISTS.values()),
    )
