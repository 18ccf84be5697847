"""FSV ("Free supervision from video games", Krähenbühl, CVPR 2018) as ASTMT uses it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal, get_args

import numpy as np

from taskprism.data.benchmarks import names
from taskprism.data.benchmarks.augmentation import ASTMT, NONE, PaperAugmentation
from taskprism.data.benchmarks.base import BenchmarkProtocol, Resolution
from taskprism.data.benchmarks.variant import Decoded, Label, Variant
from taskprism.data.files import read_array
from taskprism.data.protocol import Split, register_protocol
from taskprism.errors import DataError
from taskprism.options import Size
from taskprism.tasks import Albedo, InverseDepth, SemanticSegmentation, Task

CLASSES = ("background", "vehicle", "object")
TABLE = {0: 0, 1: 0, 2: 1, 3: 2, 4: 0, 5: 0, 6: 0, 7: 0}  # kind of object -> class
DisparityBytes = Literal["intended", "published"]
TestImages = Literal["strided", "all"]
_TEST_IMAGES = 5000


def _colors(path: Path) -> np.ndarray:
    raw = read_array(path)
    if raw.ndim != 3 or raw.shape[2] not in (3, 4) or raw.dtype != np.uint8:
        raise DataError(f"{path}: {raw.dtype} of shape {raw.shape}; expected 8-bit RGB.")
    return raw[..., :3]


def object_kinds(path: Path) -> Decoded:
    """Three classes, from the kind of object in the red channel; every pixel has a label.

    Raises:
        DataError: The file is broken, or a kind is above 7.
    """
    kinds = _colors(path)[..., 0]
    if kinds.max(initial=0) > max(TABLE):
        raise DataError(
            f"{path}: the kind of object {kinds.max()} in the red channel; 0 to {max(TABLE)} occur "
            "in this data set."
        )
    table = np.array([TABLE[kind] for kind in range(len(TABLE))])
    return table[kinds], np.ones(kinds.shape, dtype=bool)


def surface_colors(path: Path) -> Decoded:
    """Albedo in [0, 1]; every pixel has a label."""
    colors = _colors(path)
    return colors.astype(np.float32) / 255, np.ones(colors.shape[:2], dtype=bool)


def game_disparity(path: Path, *, read: DisparityBytes) -> Decoded:
    """Disparity, proportional to 1 / depth; 0 is not a label.

    Args:
        path: RGB picture of a 24-bit number, red being the lowest byte.
        read: ``"intended"``: (65536 B + 256 G + R) / 8192. ``"published"``: (256 G + R) / 8192,
            below 8, as computed by ASTMT's code, whose 16-bit arithmetic loses the blue byte.
    """
    red, green, blue = np.moveaxis(_colors(path).astype(np.int64), 2, 0)
    stored = 256 * green + red
    if read == "intended":
        stored += 65536 * blue
    return (stored / 8192).astype(np.float32), stored > 0


def frames(root: Path, *, split: str, stride: bool) -> list[str]:
    """Names in a split's list, in the split's folder; about 5000 of them with ``stride``."""
    listed = names.listed(root, file=f"gt_sets/gta_{split}.txt")
    step = max(len(listed) // _TEST_IMAGES, 1) if stride else 1
    return [f"gta_{split}/{name}" for name in listed[::step]]


@register_protocol
@dataclass(frozen=True, kw_only=True)
class FsvProtocol(BenchmarkProtocol):
    """Frames of a game with three classes, albedo and disparity.

    Attributes:
        disparity: How disparity files are read: as 24-bit numbers (``"intended"``), or without the
            highest byte, as in ASTMT's code (``"published"``).
        test_images: ``"strided"`` takes about 5000 evenly spaced frames, as ASTMT does, or
            ``"all"``.

    Example:
        >>> from taskprism.data import create_protocol
        >>> [task.name for task in create_protocol("fsv").tasks]
        ['semseg', 'albedo', 'disparity']
    """

    name: str = "fsv"
    input_size: Size = (512, 512)
    augmentation: str = "astmt"
    evaluation: Resolution = "original"
    license: str = field(
        default="Frames of a commercial video game, from Krähenbühl, CVPR 2018; for research; see "
        "the terms of its authors.",
        compare=False,
    )
    disparity: DisparityBytes = "published"
    test_images: TestImages = "strided"

    splits: ClassVar[tuple[Split, ...]] = ("train", "test")
    augmentations: ClassVar[Mapping[str, PaperAugmentation]] = {"astmt": ASTMT, "none": NONE}
    source: ClassVar[str] = (
        "The authors of Free Supervision from Video Games (CVPR 2018); lists of frames as in ASTMT."
    )
    used_by: ClassVar[tuple[str, ...]] = ("ASTMT",)
    conventions: ClassVar[tuple[str, ...]] = (
        "mean IoU over 3 classes, background included; no pixel is void",
        "albedo in [0, 1]: mean over images of each image's RMSE (rmse_image_mean)",
        "disparity=published keeps 16 of 24 bits, as ASTMT's code does, so that near "
        "objects wrap around at 8; disparity=intended does not",
        "disparity: mean over images of each image's RMSE (rmse_image_mean)",
        "tested on every n-th frame, about 5000",
        "ASTMT has published no training script for this set; loss weights are its defaults",
    )

    def __post_init__(self) -> None:
        self._check("disparity", self.disparity, get_args(DisparityBytes))
        self._check("test_images", self.test_images, get_args(TestImages))
        super().__post_init__()

    def options(self) -> dict[str, object]:
        """How disparity is read, and which frames are tested on."""
        return {"disparity": self.disparity, "test_images": self.test_images}

    def default_tasks(self) -> tuple[Task, ...]:
        """Semseg 1, albedo 10, disparity 1."""
        return (
            SemanticSegmentation(channels=3, class_names=CLASSES, absent_classes="zero"),
            Albedo(loss_weight=10.0, primary_metric="rmse_image_mean"),
            InverseDepth(name="disparity", loss_weight=1.0, primary_metric="rmse_image_mean"),
        )

    def value_ranges(self) -> dict[str, tuple[float, float]]:
        """16 or 24 bits, divided by 8192."""
        return {"disparity": (0.0, 8.0 if self.disparity == "published" else 2048.0)}

    def variants(self) -> tuple[Variant, ...]:
        """The layout that ASTMT reads."""
        return (
            Variant(
                name="gta",
                summary="as ASTMT reads it",
                tree=_TREE,
                image="{name}_final.webp",
                labels={
                    "semseg": Label(("{name}_object_id.png",), object_kinds),
                    "albedo": Label(("{name}_albedo.webp",), surface_colors),
                    "disparity": Label(
                        ("{name}_disparity.webp",), partial(game_disparity, read=self.disparity)
                    ),
                },
                splits={
                    "train": partial(frames, split="train", stride=False),
                    "test": partial(frames, split="test", stride=self.test_images == "strided"),
                },
                needs=("gt_sets/gta_train.txt", "gt_sets/gta_test.txt"),
                name_glob="*/*",
            ),
        )


_TREE = """\
ROOT/
  gta_{train,test}/ID_final.webp      RGB
  gta_{train,test}/ID_object_id.png   RGB; red is the kind of object, 0..7
  gta_{train,test}/ID_albedo.webp     RGB
  gta_{train,test}/ID_disparity.webp  RGB, lossless: 24-bit number, red its lowest byte
  gt_sets/gta_train.txt, gta_test.txt  IDs, one per line"""
