"""NYUD-v2 (Silberman et al., ECCV 2012) as multi-task papers use it: 795 + 654 indoor scenes.

Three archives with the same folders and different files are in use:

=========  =====================================  =============  =======================
variant    from                                   labels         class 0 of semseg
=========  =====================================  =============  =======================
``mat``    ASTMT's ``NYUD_MT``                    mat, jpg, png  kept as background
``npy``    ``NYUD_MT`` of the survey and MTI-Net  npy, png       no label
``png``    ``NYUDv2`` of InvPT                    png, npy       no label
=========  =====================================  =============  =======================
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

from taskprism.data.benchmarks import decoding, names
from taskprism.data.benchmarks.augmentation import (
    ASTMT,
    ATRC,
    CTAL,
    MTAN,
    MTI_NET,
    NONE,
    PaperAugmentation,
)
from taskprism.data.benchmarks.base import BenchmarkProtocol, Resolution
from taskprism.data.benchmarks.decoding import Axes
from taskprism.data.benchmarks.scored_edges import nyud_scored, scored_edge, without_none
from taskprism.data.benchmarks.variant import Decoder, Label, Variant
from taskprism.data.protocol import Split, register_protocol
from taskprism.options import Size
from taskprism.tasks import Depth, Edge, Normals, SemanticSegmentation, Task
from taskprism.tasks.losses import Cosine, L1Gradient

#: Gupta et al., CVPR 2013, in the order of their indices 1 to 40.
FORTY = (
    "wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window", "bookshelf",
    "picture", "counter", "blinds", "desk", "shelves", "curtain", "dresser", "pillow", "mirror",
    "floor mat", "clothes", "ceiling", "books", "refrigerator", "television", "paper", "towel",
    "shower curtain", "box", "whiteboard", "person", "night stand", "toilet", "sink", "lamp",
    "bathtub", "bag", "other structure", "other furniture", "other prop",
)  # fmt: skip

#: Couprie et al., ICLR 2013, in SceneNet's order, which MTAN's files follow from 0.
THIRTEEN = (
    "bed", "books", "ceiling", "chair", "floor", "furniture", "objects", "picture", "sofa",
    "table", "television", "wall", "window",
)  # fmt: skip


LISTS = {"train": "gt_sets/train.txt", "test": "gt_sets/val.txt"}  # val is what all papers test on
_EIGHT_BIT = {"scale": 2 / 255, "offset": -1.0}


def nyud_variants(table: Mapping[int, int | None], axes: Axes) -> tuple[Variant, ...]:
    """The three archives.

    Args:
        table: Stored class -> class, or None for "no label".
        axes: Directions of the stored channels of normals.
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
    lines.append("  gt_sets/train.txt, val.txt names, one per line: 0001 ... 1449")
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


LICENSE = (
    "NYU Depth Dataset V2 (Silberman, Hoiem, Kohli and Fergus, ECCV 2012): no license is stated; "
    "its authors ask to be cited."
)
AXES: Axes = ("right", "up", "toward")


@dataclass(frozen=True, kw_only=True)
class _Nyud(BenchmarkProtocol, ABC):
    """Base of the three protocols.

    Attributes:
        normals_axes: Directions of the three stored channels of normals. ``taskprism data check``
            checks that floors face up.
    """

    license: str = field(default=LICENSE, compare=False)
    normals_axes: Axes = AXES

    splits: ClassVar[tuple[Split, ...]] = ("train", "test")
    counts: ClassVar[Mapping[Split, int]] = {"train": 795, "test": 654}

    def options(self) -> dict[str, object]:
        """The axes."""
        return {"normals_axes": self.normals_axes}

    def value_ranges(self) -> dict[str, tuple[float, float]]:
        """The range of the Kinect, 0.7 to 10 m, with a margin."""
        return {"depth": (0.5, 10.5)}


@dataclass(frozen=True, kw_only=True)
class _NyudWithEdges(_Nyud, ABC):
    """Base of the two protocols with edges.

    Attributes:
        edge_odsf: Also score test edges by odsF, and make it the primary metric. Takes 0.3 s of CPU
            time per image.
    """

    edge_odsf: bool = False

    def options(self) -> dict[str, object]:
        """The axes, and whether edges are scored by odsF."""
        return super().options() | without_none([("edge_odsf", self.edge_odsf)])

    def _edge(self, positive_weight: float) -> Edge:
        edge = Edge(loss_weight=50.0, positive_weight=positive_weight)
        return scored_edge(edge, "nyud") if self.edge_odsf else edge

    def _archives(self, table: Mapping[int, int | None]) -> tuple[Variant, ...]:
        variants = nyud_variants(table, self.normals_axes)
        return tuple(map(nyud_scored, variants)) if self.edge_odsf else variants


@register_protocol
@dataclass(frozen=True, kw_only=True)
class Nyud40Protocol(_NyudWithEdges):
    """40 classes at 480x640, no label where the class is 0.

    Example:
        >>> from taskprism.data import create_protocol
        >>> create_protocol("nyud40").input_size
        (480, 640)
    """

    name: str = "nyud40"
    input_size: Size = (480, 640)
    augmentation: str = "mti_net"
    evaluation: Resolution = "original"

    augmentations: ClassVar[Mapping[str, PaperAugmentation]] = {
        "mti_net": MTI_NET,
        "atrc": ATRC,
        "none": NONE,
    }
    source: ClassVar[str] = (
        "The archives that the repositories of MTI-Net (the multi-task survey), ATRC and InvPT "
        "link to; or make it from the official nyu_depth_v2_labeled.mat "
        "(https://cs.nyu.edu/~fergus/datasets/nyu_depth_v2.html) with `taskprism data build nyud`."
    )
    used_by: ClassVar[tuple[str, ...]] = (
        "MTI-Net",
        "PAD-Net (in MTI-Net)",
        "ATRC",
        "TPIM",
        "InvPT",
    )
    conventions: ClassVar[tuple[str, ...]] = (
        "mean IoU over 40 classes from one confusion matrix; an absent class counts as 0",
        "depth RMSE pooled over pixels, in meters",
        "normals: mean angle over all pixels",
        "labels of 425x560, images stretched to 480x640, predictions scored at 425x560 (MTI-Net); "
        "ATRC and InvPT pad instead: augmentation=atrc, input_size=[448, 576]",
        "edges: odsF with edge_odsf=true, tolerance 0.011 of the diagonal, against edge maps that "
        "SEISM takes for label maps",
    )

    def default_tasks(self) -> tuple[Task, ...]:
        """Semseg 1, depth 1, normals 10, edge 50, as MTI-Net."""
        return (
            SemanticSegmentation(channels=40, class_names=FORTY, absent_classes="zero"),
            Depth(),
            Normals(loss_weight=10.0),
            self._edge(positive_weight=0.95),
        )

    def variants(self) -> tuple[Variant, ...]:
        """The three archives; class 0 carries no label."""
        table = {0: None} | {stored: stored - 1 for stored in range(1, 41)}
        return self._archives(table)


@register_protocol
@dataclass(frozen=True, kw_only=True)
class Nyud41Protocol(_NyudWithEdges):
    """41 classes: pixels without one of the 40 classes are the class "background".

    Example:
        >>> from taskprism.data import create_protocol
        >>> create_protocol("nyud41").task("depth").primary_metric
        'rmse_image_mean'
    """

    name: str = "nyud41"
    input_size: Size = (512, 512)
    augmentation: str = "astmt"
    evaluation: Resolution = "original"

    augmentations: ClassVar[Mapping[str, PaperAugmentation]] = {
        "astmt": ASTMT,
        "mti_net": MTI_NET,
        "none": NONE,
    }
    source: ClassVar[str] = "NYUD_MT.tgz, to which the repository of ASTMT links."
    used_by: ClassVar[tuple[str, ...]] = ("ASTMT",)
    conventions: ClassVar[tuple[str, ...]] = (
        "mean IoU over 41 classes, background included; not comparable with nyud40",
        "depth: mean over images of each image's RMSE (rmse_image_mean), lower than the pooled one",
        "border=zero is ASTMT's: pixels that a warp takes from outside are trained as background",
        "ASTMT's code does not change depth when it zooms; here it is divided by the factor",
        "edges: odsF with edge_odsf=true, tolerance 0.011 of the diagonal, against edge maps that "
        "SEISM takes for label maps",
    )

    def default_tasks(self) -> tuple[Task, ...]:
        """Semseg 1, depth 1 with gradients, normals 10, edge 50 with positives at 0.8."""
        names_41 = ("background", *FORTY)
        return (
            SemanticSegmentation(channels=41, class_names=names_41, absent_classes="zero"),
            Depth(losses=(L1Gradient(),), primary_metric="rmse_image_mean"),
            Normals(loss_weight=10.0),
            self._edge(positive_weight=0.8),
        )

    def variants(self) -> tuple[Variant, ...]:
        """The three archives; class 0 is a class."""
        return self._archives({stored: stored for stored in range(41)})


@register_protocol
@dataclass(frozen=True, kw_only=True)
class Nyud13Protocol(_Nyud):
    """MTAN's files: 13 classes at 288x384, as CTAL uses them.

    Example:
        >>> from taskprism.data import create_protocol
        >>> create_protocol("nyud13").task("semseg").channels
        13
    """

    name: str = "nyud13"
    input_size: Size = (288, 384)
    augmentation: str = "ctal"

    augmentations: ClassVar[Mapping[str, PaperAugmentation]] = {
        "ctal": CTAL,
        "mtan": MTAN,
        "none": NONE,
    }
    source: ClassVar[str] = "nyuv2.zip, to which the repository of MTAN links."
    used_by: ClassVar[tuple[str, ...]] = ("MTAN", "CTAL", "LibMTL", "Auto-Lambda")
    conventions: ClassVar[tuple[str, ...]] = (
        "mean IoU over the classes that occur; one confusion matrix",
        "depth: absolute and relative error, pooled over pixels",
        "normals: mean angle and shares within 11.25, 22.5 and 30 degrees",
        "tests are never flipped (CTAL's code flips them at random if its training images are)",
    )

    def default_tasks(self) -> tuple[Task, ...]:
        """All weights 1, cosine loss for normals, as CTAL and MTAN."""
        return (
            SemanticSegmentation(channels=13, class_names=THIRTEEN),
            Depth(primary_metric="rel_error"),
            Normals(loss_weight=1.0, losses=(Cosine(),)),
        )

    def variants(self) -> tuple[Variant, ...]:
        """MTAN's layout."""
        table = {-1: None} | {stored: stored for stored in range(13)}
        return (
            Variant(
                name="npy",
                summary="MTAN's preprocessed NYUv2",
                tree=_MTAN_TREE,
                image="{folder}/image/{stem}.npy",
                labels={
                    "semseg": Label(
                        ("{folder}/label/{stem}.npy",), partial(decoding.classes, table=table)
                    ),
                    "depth": Label(("{folder}/depth/{stem}.npy",), decoding.lengths),
                    "normals": Label(
                        ("{folder}/normal/{stem}.npy",),
                        partial(decoding.directions, axes=self.normals_axes),
                    ),
                },
                splits={
                    "train": partial(names.numbered, folder="train", parts="image"),
                    "test": partial(names.numbered, folder="val", parts="image"),
                },
                name_glob="*/*",
                image_reader=decoding.array_image,
            ),
        )


_MTAN_TREE = """\
ROOT/
  {train,val}/image/{0,1,...}.npy   (288, 384, 3) RGB in [0, 1]
  {train,val}/label/{0,1,...}.npy   (288, 384) -1..12, -1 for no label
  {train,val}/depth/{0,1,...}.npy   (288, 384, 1) meters, 0 for none
  {train,val}/normal/{0,1,...}.npy  (288, 384, 3) unit vectors, (0, 0, 0) for none"""
