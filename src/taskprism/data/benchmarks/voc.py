"""Segmentation of PASCAL VOC 2012 and of SBD (Hariharan et al., ICCV 2011)."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal, get_args

import numpy as np

from taskprism.data.benchmarks import names
from taskprism.data.benchmarks.augmentation import ASTMT, ATRC, NONE, PaperAugmentation
from taskprism.data.benchmarks.base import BenchmarkProtocol, Resolution
from taskprism.data.benchmarks.variant import Decoded, FirstOf, Label, Variant
from taskprism.data.files import read_array
from taskprism.data.protocol import Split, register_protocol
from taskprism.errors import DataError
from taskprism.options import Size
from taskprism.tasks import SemanticSegmentation, Task

Void = Literal["ignore", "background"]
TrainSet = Literal["train", "trainaug"]

#: Everingham et al., IJCV 2010, in the order of the stored indices; 255 is void.
TWENTY_ONE = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair",
    "cow", "dining table", "dog", "horse", "motorbike", "person", "potted plant", "sheep", "sofa",
    "train", "tv monitor",
)  # fmt: skip

VOC = "VOCdevkit/VOC2012"
SBD = "benchmark_RELEASE/dataset"
VOC_LISTS = f"{VOC}/ImageSets/Segmentation"
VOID = 255


def voc_classes(path: Path, *, void: Void) -> Decoded:
    """21 classes from a palette PNG of VOC, or from a ``.mat`` of SBD.

    Raises:
        DataError: The file is broken or has another label.
    """
    raw = _segmentation(path) if path.suffix == ".mat" else read_array(path)
    if raw.ndim != 2:
        raise DataError(f"{path}: an array of shape {raw.shape}; class maps need one channel.")
    wrong = np.unique(raw[(raw >= len(TWENTY_ONE)) & (raw != VOID)])
    if wrong.size:
        raise DataError(
            f"{path}: the labels {', '.join(map(str, wrong[:10].tolist()))} do not occur in this "
            f"data set (0 to 20 and {VOID} do)."
        )
    is_void = raw == VOID
    valid = np.ones_like(is_void) if void == "background" else ~is_void
    return np.where(is_void, 0, raw).astype(np.int64), valid


def _segmentation(path: Path) -> np.ndarray:
    """Field ``Segmentation`` of the structure in a file of SBD."""
    truth = read_array(path, "GTcls")
    fields = truth.dtype.names or ()
    if "Segmentation" not in fields or truth.size != 1:
        raise DataError(
            f"{path}: GTcls has no field Segmentation, so this is not a class map of SBD."
        )
    return np.asarray(truth["Segmentation"].ravel()[0])


def trainaug(root: Path) -> list[str]:
    """Images of VOC's train, then those of SBD that are neither there nor in VOC's val."""
    train = names.listed(root, file=f"{VOC_LISTS}/train.txt")
    held_out = set(names.listed(root, file=f"{VOC_LISTS}/val.txt"))
    more = [
        name
        for split in ("train", "val")
        for name in names.listed(root, file=f"{SBD}/{split}.txt")
        if name not in held_out
    ]
    return list(dict.fromkeys(train + more))


@dataclass(frozen=True, kw_only=True)
class _Voc(BenchmarkProtocol, ABC):
    """Base of the two protocols.

    Attributes:
        void: Pixels with the value 255 have no label (``"ignore"``), or are ``"background"``, an
            option of ASTMT's code.
    """

    input_size: Size = (512, 512)
    augmentation: str = "astmt"
    evaluation: Resolution = "original"
    license: str = field(
        default="PASCAL VOC and SBD: images under Flickr's terms of use; annotations for research, "
        "their authors ask to be cited.",
        compare=False,
    )
    void: Void = "ignore"

    splits: ClassVar[tuple[Split, ...]] = ("train", "test")
    augmentations: ClassVar[Mapping[str, PaperAugmentation]] = {
        "astmt": ASTMT,
        "atrc": ATRC,
        "none": NONE,
    }
    conventions: ClassVar[tuple[str, ...]] = (
        "val is the test set; the labels of VOC's own test images are not public",
        "mean IoU over 21 classes, background included, from one confusion matrix",
        "void=background labels void pixels 0",
    )

    def __post_init__(self) -> None:
        self._check("void", self.void, get_args(Void))
        super().__post_init__()

    def options(self) -> dict[str, object]:
        """Meaning of void."""
        return {"void": self.void}

    def default_tasks(self) -> tuple[Task, ...]:
        """Semantic segmentation."""
        return (SemanticSegmentation(channels=21, class_names=TWENTY_ONE, absent_classes="zero"),)


@register_protocol
@dataclass(frozen=True, kw_only=True)
class Voc12Protocol(_Voc):
    """VOC 2012, by default with the additional training images of SBD.

    Attributes:
        train_set: ``"train"``: the 1464 images of VOC; ``"trainaug"``: with SBD's, 10582. Labels
            of VOC take precedence over SBD's.

    Example:
        >>> from taskprism.data import create_protocol
        >>> create_protocol("voc12", train_set="train").counts["train"]
        1464
    """

    name: str = "voc12"
    train_set: TrainSet = "trainaug"

    counts: ClassVar[Mapping[Split, int]] = {"train": 10582, "test": 1449}
    source: ClassVar[str] = (
        "VOCtrainval_11-May-2012.tar (host.robots.ox.ac.uk/pascal/VOC/voc2012) and, for trainaug, "
        "benchmark.tgz of SBD, unpacked into one folder."
    )
    used_by: ClassVar[tuple[str, ...]] = ("ASTMT (Table 2)", "DeepLab")

    def __post_init__(self) -> None:
        self._check("train_set", self.train_set, get_args(TrainSet))
        if self.train_set == "train":
            object.__setattr__(self, "counts", {**self.counts, "train": 1464})
        super().__post_init__()

    def options(self) -> dict[str, object]:
        """Meaning of void, and training images."""
        return {**super().options(), "train_set": self.train_set}

    def variants(self) -> tuple[Variant, ...]:
        """The official layout."""
        labels = (f"{VOC}/SegmentationClass/{{name}}.png", f"{SBD}/cls/{{name}}.mat")
        lists = [f"{VOC_LISTS}/{split}.txt" for split in ("train", "val")]
        training = partial(names.listed, file=lists[0])
        if self.train_set == "trainaug":
            lists += [f"{SBD}/{split}.txt" for split in ("train", "val")]
            training = trainaug
        return (
            Variant(
                name="official",
                summary="VOCdevkit; for train_set=trainaug also SBD's benchmark_RELEASE",
                tree=_VOC_TREE,
                image=f"{VOC}/JPEGImages/{{name}}.jpg",
                labels={"semseg": FirstOf(labels, partial(voc_classes, void=self.void))},
                splits={"train": training, "test": partial(names.listed, file=lists[1])},
                needs=tuple(lists),
            ),
        )


@register_protocol
@dataclass(frozen=True, kw_only=True)
class SbdProtocol(_Voc):
    """SBD with its official split.

    Example:
        >>> from taskprism.data import create_protocol
        >>> create_protocol("sbd").counts["train"]
        8498
    """

    name: str = "sbd"

    counts: ClassVar[Mapping[Split, int]] = {"train": 8498, "test": 2857}
    source: ClassVar[str] = "benchmark.tgz of Semantic Contours from Inverse Detectors, ICCV 2011."
    used_by: ClassVar[tuple[str, ...]] = ("ASTMT (in trainaug)",)

    def variants(self) -> tuple[Variant, ...]:
        """The official layout."""
        return (
            Variant(
                name="official",
                summary="SBD's benchmark_RELEASE",
                tree=_SBD_TREE,
                image="dataset/img/{name}.jpg",
                labels={
                    "semseg": Label(
                        ("dataset/cls/{name}.mat",), partial(voc_classes, void=self.void)
                    )
                },
                splits={
                    "train": partial(names.listed, file="dataset/train.txt"),
                    "test": partial(names.listed, file="dataset/val.txt"),
                },
                needs=("dataset/train.txt", "dataset/val.txt"),
            ),
        )


_VOC_TREE = f"""\
ROOT/
  {VOC}/JPEGImages/{{name}}.jpg         RGB, SBD's images too
  {VOC}/SegmentationClass/{{name}}.png  palette, 0..20, 255 for void
  {VOC_LISTS}/train.txt, val.txt
  {SBD}/cls/{{name}}.mat          GTcls.Segmentation, 0..20   (trainaug only)
  {SBD}/train.txt, val.txt                                  (trainaug only)"""

_SBD_TREE = """\
ROOT/
  dataset/img/{name}.jpg       RGB
  dataset/cls/{name}.mat       GTcls.Segmentation, 0..20
  dataset/train.txt, val.txt   names, one per line"""
