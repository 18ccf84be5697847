"""BSDS500 (Arbelaez et al., TPAMI 2011): boundaries drawn by several annotators."""

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
from taskprism.data.benchmarks.scored_edges import every_annotator, scored_edge, without_none
from taskprism.data.benchmarks.variant import Decoded, Label, Variant
from taskprism.data.protocol import Split, register_protocol
from taskprism.errors import DataError, InputError
from taskprism.metrics.boundaries.files import read_annotations
from taskprism.options import Size
from taskprism.tasks import Edge, Task

TrainSet = Literal["train", "trainval"]


def votes(path: Path, *, n_votes: int | None) -> Decoded:
    """1 where at least ``n_votes`` annotators have drawn a boundary; every pixel has a label.

    Args:
        path: ``.mat`` with the cell ``groundTruth``.
        n_votes: 1 is the union; None divides the number of votes by the largest of the image.

    Raises:
        DataError: The file is broken or its annotators differ in size.
    """
    drawn = read_annotations(path, labels=False)
    if not drawn or len({one.shape for one in drawn}) > 1:
        raise DataError(f"{path}: there are no annotators, or their maps differ in size.")
    total = np.sum([one != 0 for one in drawn], axis=0)
    values = total / max(int(total.max()), 1) if n_votes is None else total >= n_votes
    return values.astype(np.float32), np.ones(total.shape, dtype=bool)


def several(root: Path, *, folders: tuple[str, ...]) -> list[str]:
    """Names of the images of one or more of the official splits."""
    return [
        name
        for folder in folders
        for name in names.found(root, base="data/images", folder=folder, ending=".jpg")
    ]


@register_protocol
@dataclass(frozen=True, kw_only=True)
class Bsds500Protocol(BenchmarkProtocol):
    """Boundaries in 500 photographs of 321x481 or 481x321.

    Attributes:
        n_votes: Number of annotators for which a pixel becomes a boundary: 1 for the union (ASTMT),
            None for soft labels (votes divided by the largest number of the image).
        train_set: The 200 images of ``"train"``, or with those of val (``"trainval"``, HED).
        edge_odsf: Also score edges of val and test by odsF against every annotator, and make it the
            primary metric. Takes 0.5 s of CPU time per image.

    Example:
        >>> from taskprism.data import create_protocol
        >>> create_protocol("bsds500", n_votes=None).task("edge").soft
        True
    """

    name: str = "bsds500"
    input_size: Size = (512, 512)
    augmentation: str = "astmt"
    evaluation: Resolution = "original"
    license: str = field(
        default="BSDS500: for non-commercial research and education (its authors' terms).",
        compare=False,
    )
    n_votes: int | None = 1
    train_set: TrainSet = "train"
    edge_odsf: bool = False

    splits: ClassVar[tuple[Split, ...]] = ("train", "val", "test")
    counts: ClassVar[Mapping[Split, int]] = {"train": 200, "val": 100, "test": 200}
    augmentations: ClassVar[Mapping[str, PaperAugmentation]] = {"astmt": ASTMT, "none": NONE}
    source: ClassVar[str] = "BSR_bsds500.tgz of the Berkeley Computer Vision Group."
    used_by: ClassVar[tuple[str, ...]] = ("ASTMT (Table 2)", "HED")
    conventions: ClassVar[tuple[str, ...]] = (
        "odsF against every annotator, tolerance 0.0075 of the diagonal, suppression of "
        "non-maxima: edge_odsf=true; for maps of other detectors "
        "`taskprism edges PREDICTIONS data/groundTruth/test --preset bsds`",
        "the loss on test images uses the same votes as training",
    )

    def __post_init__(self) -> None:
        self._check("train_set", self.train_set, get_args(TrainSet))
        if self.n_votes is not None and self.n_votes < 1:
            raise InputError(f"{self.name}: n_votes is {self.n_votes}. Give at least 1, or None.")
        if self.train_set == "trainval":
            object.__setattr__(self, "counts", {**self.counts, "train": 300})
        super().__post_init__()

    def options(self) -> dict[str, object]:
        """Votes, training images, and whether edges are scored by odsF."""
        always = {"n_votes": self.n_votes, "train_set": self.train_set}
        return always | without_none([("edge_odsf", self.edge_odsf)])

    def default_tasks(self) -> tuple[Task, ...]:
        """Edge 50 with positives at 0.95."""
        edge = Edge(loss_weight=50.0, positive_weight=0.95, soft=self.n_votes is None)
        return (scored_edge(edge, "default") if self.edge_odsf else edge,)

    def variants(self) -> tuple[Variant, ...]:
        """The official layout."""
        training = ("train", "val") if self.train_set == "trainval" else ("train",)
        return (
            Variant(
                name="official",
                summary="BSR/BSDS500",
                tree=_TREE,
                image="data/images/{name}.jpg",
                labels={
                    "edge": Label(
                        ("data/groundTruth/{name}.mat",),
                        partial(votes, n_votes=self.n_votes),
                        annotations=every_annotator if self.edge_odsf else None,
                    )
                },
                splits={
                    "train": partial(several, folders=training),
                    "val": partial(several, folders=("val",)),
                    "test": partial(several, folders=("test",)),
                },
                needs=("data/images/train", "data/images/val", "data/images/test"),
                name_glob="*/*",
            ),
        )


_TREE = """\
ROOT/
  data/images/{train,val,test}/NUMBER.jpg       RGB, 321x481 or 481x321
  data/groundTruth/{train,val,test}/NUMBER.mat  cell groundTruth{1..n}, one per annotator, with
                                                Boundaries (0 or 1) and Segmentation (1..K)"""
