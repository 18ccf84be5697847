"""Salient objects: MSRA10K (Cheng et al., TPAMI 2015) to train, PASCAL-S to test."""

from __future__ import annotations

import hashlib
from abc import ABC
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np

from taskprism.data.benchmarks import decoding, names
from taskprism.data.benchmarks.augmentation import ASTMT, NONE, PaperAugmentation
from taskprism.data.benchmarks.base import BenchmarkProtocol, Resolution
from taskprism.data.benchmarks.variant import BenchmarkDataset, Decoded, Label, Variant
from taskprism.data.protocol import Split, Transform, register_protocol
from taskprism.errors import DataError, InputError
from taskprism.options import Size
from taskprism.tasks import Saliency, Task


def gray(path: Path) -> Decoded:
    """Share of salience in [0, 1] of an 8-bit picture; every pixel has a label."""
    raw = decoding.plane(path)
    return raw.astype(np.float32) / 255, np.ones(raw.shape, dtype=bool)


@dataclass(frozen=True, kw_only=True)
class _SalientObjects(BenchmarkProtocol, ABC):
    """Base of the two protocols.

    Attributes:
        threshold: Gray value in [0, 1) above which a pixel is salient; None keeps the gray values
            as soft labels, as ASTMT does for training on MSRA10K.
    """

    input_size: Size = (512, 512)
    augmentation: str = "astmt"
    evaluation: Resolution = "original"
    license: str = field(
        default="No license is stated; for research, the authors ask to be cited.", compare=False
    )
    threshold: float | None = None

    augmentations: ClassVar[Mapping[str, PaperAugmentation]] = {"astmt": ASTMT, "none": NONE}
    used_by: ClassVar[tuple[str, ...]] = ("ASTMT (Table 2)",)
    conventions: ClassVar[tuple[str, ...]] = (
        "maxF with beta^2 = 1, precision and recall averaged over images, best of 15 thresholds "
        "(ASTMT's code)",
        "ASTMT's evaluation cuts the labels of PASCAL-S at 0.2, its first threshold",
    )

    def __post_init__(self) -> None:
        if self.threshold is not None and not 0 <= self.threshold < 1:
            raise InputError(
                f"{self.name}: threshold is {self.threshold}. Give a number in [0, 1), or None."
            )
        super().__post_init__()

    def options(self) -> dict[str, object]:
        """The threshold."""
        return {"threshold": self.threshold}

    def default_tasks(self) -> tuple[Task, ...]:
        """Saliency, scored by ASTMT's maxF; the loss uses soft labels as such."""
        return (
            Saliency(
                loss_weight=5.0,
                max_f="astmt",
                primary_metric="max_f",
                soft=self.threshold is None,
            ),
        )

    def _masks(self, pattern: str) -> dict[str, Label]:
        if self.threshold is None:
            return {"saliency": Label((pattern,), gray)}
        return {"saliency": Label((pattern,), partial(decoding.brighter, than=self.threshold))}


@register_protocol
@dataclass(frozen=True, kw_only=True)
class PascalSProtocol(_SalientObjects):
    """850 images to test on (Li et al., CVPR 2014).

    Example:
        >>> from taskprism.data import create_protocol
        >>> create_protocol("pascal_s").splits
        ('test',)
    """

    name: str = "pascal_s"
    threshold: float | None = 0.2

    splits: ClassVar[tuple[Split, ...]] = ("test",)
    counts: ClassVar[Mapping[Split, int]] = {"test": 850}
    source: ClassVar[str] = "The Secrets of Salient Object Segmentation, CVPR 2014."

    def variants(self) -> tuple[Variant, ...]:
        """The layout that ASTMT reads."""
        return (
            Variant(
                name="astmt",
                summary="as ASTMT reads it",
                tree=_PASCAL_S_TREE,
                image="images/{name}.jpg",
                labels=self._masks("masks/{name}.png"),
                splits={"test": partial(names.listed, file="gt_sets/all.txt")},
                needs=("gt_sets/all.txt",),
            ),
        )


@register_protocol
@dataclass(frozen=True, kw_only=True)
class Msra10kProtocol(_SalientObjects):
    """10000 images to train on; tests are on PASCAL-S, as pascal_s reads it.

    Attributes:
        test_root: Folder of PASCAL-S.

    Example:
        >>> from taskprism.data import create_protocol
        >>> create_protocol("msra10k").task("saliency").soft
        True
    """

    name: str = "msra10k"
    test_root: str | None = None

    splits: ClassVar[tuple[Split, ...]] = ("train", "test")
    counts: ClassVar[Mapping[Split, int]] = {"train": 10000, "test": 850}
    source: ClassVar[str] = "MSRA10K_Imgs_GT.zip of mmcheng.net/msra10k; PASCAL-S for tests."

    def variants(self) -> tuple[Variant, ...]:
        """The layout that ASTMT reads."""
        return (
            Variant(
                name="astmt",
                summary="as ASTMT reads it",
                tree=_MSRA_TREE,
                image="Imgs/{name}.jpg",
                labels=self._masks("gt/{name}.png"),
                splits={"train": partial(names.listed, file="gt_sets/trainval.txt")},
                needs=("gt_sets/trainval.txt",),
            ),
        )

    def listed_dataset(self, split: Split, transform: Transform | None = None) -> BenchmarkDataset:
        """MSRA10K for training, PASCAL-S for tests.

        Raises:
            InputError: The protocol has no such split.
            DataError: A layout is unknown, or ``split`` is ``"test"`` without ``test_root``.
        """
        self.check_split(split)
        if split == "test":
            return self._tests().listed_dataset(split, transform)
        return super().listed_dataset(split, transform)

    def fingerprint(self) -> str:
        """Hash of both data sets; without ``test_root`` of the training images only."""
        data = self.dataset("train")
        digest = hashlib.sha256(f"{self.name} {self.options()} {len(data)}".encode())
        for path in data.files():
            digest.update(f"\n{path.relative_to(data.root)} {path.stat().st_size}".encode())
        if self.test_root is not None:
            digest.update(self._tests().fingerprint().encode())
        return digest.hexdigest()

    def _tests(self) -> PascalSProtocol:
        if self.test_root is None:
            raise DataError(
                f"{self.name} has training images only; tests are on PASCAL-S. Set its "
                "folder with the option test_root."
            )
        return PascalSProtocol(root=self.test_root, tasks=self.tasks)


_PASCAL_S_TREE = """\
ROOT/
  images/{name}.jpg  RGB
  masks/{name}.png   8-bit gray, 255 where all annotators agree
  gt_sets/all.txt    names, one per line"""

_MSRA_TREE = """\
ROOT/
  Imgs/{name}.jpg       RGB
  gt/{name}.png         8-bit gray, 0 to 255
  gt_sets/trainval.txt  names, one per line
and PASCAL-S in the folder that the option test_root names"""
