"""PASCAL-Context (Mottaghi et al., CVPR 2014) with five tasks: 4998 + 5105 images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from scipy import ndimage
from skimage.morphology import thin

from taskprism.data.benchmarks import decoding, names
from taskprism.data.benchmarks.augmentation import ASTMT, ATRC, NONE, PaperAugmentation
from taskprism.data.benchmarks.base import BenchmarkProtocol, Resolution
from taskprism.data.benchmarks.decoding import Axes
from taskprism.data.benchmarks.names import Names
from taskprism.data.benchmarks.scored_edges import (
    context_boundaries,
    listed_names,
    scored_edge,
    without_none,
)
from taskprism.data.benchmarks.variant import Annotations, Decoded, FirstOf, Label, Variant
from taskprism.data.benchmarks.voc import TWENTY_ONE
from taskprism.data.files import read_array
from taskprism.data.protocol import Split, register_protocol
from taskprism.errors import DataError
from taskprism.options import Size
from taskprism.tasks import Edge, HumanParts, Normals, Saliency, SemanticSegmentation, Task
from taskprism.text_files import read_json

PERSON = 15  # in VOC's order, and the class index of objects in PASCAL-Part

#: Parts of a person in PASCAL-Part (Chen et al., CVPR 2014) -> classes of the six-part benchmark:
#: head, torso, upper arm, lower arm, upper leg, lower leg; ``l`` and ``r`` in front are sides.
SIX_PARTS = {
    **dict.fromkeys(("head", "hair", "nose", "mouth"), 1),
    **dict.fromkeys(("leye", "reye", "lear", "rear", "lebrow", "rebrow"), 1),
    **dict.fromkeys(("torso", "neck"), 2),
    **dict.fromkeys(("luarm", "ruarm"), 3),
    **dict.fromkeys(("llarm", "rlarm", "lhand", "rhand"), 4),
    **dict.fromkeys(("luleg", "ruleg"), 5),
    **dict.fromkeys(("llleg", "rlleg", "lfoot", "rfoot"), 6),
}

#: Labels of PASCAL-Context (Mottaghi et al., CVPR 2014; 1 to 459) that are also names in
#: NYU-Depth v2, without "unknown" and with tvmonitor (427). The normals are predictions of a
#: network trained on rooms, so only these 170 count as labels.
INDOORS = frozenset((
    3, 4, 6, 9, 10, 11, 13, 15, 17, 18, 22, 23, 29, 30, 33, 34, 36, 37, 38, 39, 41, 43, 46, 49, 50,
    51, 53, 55, 56, 59, 61, 62, 65, 66, 68, 69, 72, 73, 78, 83, 84, 85, 87, 88, 95, 96, 101, 104,
    105, 107, 111, 113, 115, 122, 124, 135, 141, 142, 143, 146, 150, 154, 157, 158, 159, 165, 172,
    174, 181, 183, 184, 191, 193, 195, 197, 199, 202, 213, 215, 216, 219, 220, 223, 225, 228, 230,
    232, 233, 238, 239, 242, 243, 246, 250, 251, 252, 255, 260, 261, 263, 269, 272, 273, 275, 281,
    283, 284, 285, 286, 287, 288, 290, 291, 292, 293, 295, 304, 307, 309, 310, 314, 315, 319, 323,
    329, 330, 331, 336, 342, 345, 349, 350, 351, 352, 355, 357, 368, 370, 371, 374, 379, 380, 383,
    384, 397, 401, 403, 405, 407, 408, 411, 412, 413, 414, 417, 419, 421, 423, 427, 429, 430, 432,
    440, 441, 442, 443, 444, 446, 454, 457,
))  # fmt: skip


PARTS = "human_parts/{name}.mat"


def context_edges(path: Path) -> Decoded:
    """Boundaries between any two of the 459 context labels, one pixel wide.

    Where the 3x3 Laplacian of the label indices is not 0, thinned; the border is
    mirrored, so that the edge of the image is not a boundary. Benchmark scripts make their ground
    truth differently, see ``taskprism edges --gt seism``.
    """
    labels = decoding.plane(path, "LabelMap").astype(np.float64)
    boundary = ndimage.laplace(labels, mode="mirror") != 0
    return thin(boundary).astype(np.float32), np.ones(labels.shape, dtype=bool)


def indoor_normals(path: Path, context: Path, *, axes: Axes) -> Decoded:
    """Distilled 8-bit normals where the context label also occurs in rooms.

    Raises:
        DataError: A file is missing or broken, or the two differ in size.
    """
    values, valid = decoding.directions(path, axes=axes, scale=2 / 255, offset=-1.0)
    labels = decoding.plane(context, "LabelMap")
    if labels.shape != valid.shape:
        raise DataError(f"{path} and {context} differ in size.")
    return values, valid & np.isin(labels, list(INDOORS))


def human_parts(path: Path) -> Decoded | None:
    """Six parts of people and background, or None if the image shows no person with parts.

    Of overlapping people and parts, the later in the file is in front.

    Raises:
        DataError: The file is broken or has a part that is unknown in PASCAL-Part.
    """
    classes: np.ndarray | None = None
    for _, mask, parts in _people(path):
        for name, where in parts:
            if name not in SIX_PARTS:
                raise DataError(f"{path}: {name!r} is not a part of a person in PASCAL-Part.")
            if classes is None:
                classes = np.zeros(mask.shape, dtype=np.int64)
            classes[where != 0] = SIX_PARTS[name]
    if classes is None or not classes.any():
        return None
    return classes, np.ones(classes.shape, dtype=bool)


def _people(path: Path) -> list[tuple[int, np.ndarray, list[tuple[str, np.ndarray]]]]:
    """Category, mask and (name, mask) of the parts, of each person in a file."""
    annotation = read_array(path, "anno")
    try:
        # MATLAB structures by position: anno = (file, objects), an object = (name, category, mask,
        # parts), a part = (name, mask). An object without parts has an empty array there.
        found = []
        for one in annotation[0][0][1][0]:
            category = int(one[1].item())
            if category == PERSON:
                rows = one[3][0] if one[3].size else []
                found.append((category, one[2], [(str(p[0].item()), p[1]) for p in rows]))
        return found
    except (IndexError, ValueError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: this is not an annotation of PASCAL-Part ({type(error).__name__}: {error})."
        ) from None


def with_people(root: Path, *, file: str, parts: str) -> list[str]:
    """Names of a list whose images show a person.

    The file ``parts`` of other loaders (JSON: name -> categories of the objects) avoids opening
    every annotation.
    """
    return list(_with_people(root, file, parts))


@lru_cache(maxsize=8)
def _with_people(root: Path, file: str, parts: str) -> tuple[str, ...]:
    listed = names.listed(root, file=file)
    try:
        categories: Any = read_json(root / parts)
    except DataError:
        categories = None
    if isinstance(categories, dict) and set(listed) <= set(categories):
        return tuple(name for name in listed if PERSON in categories[name])
    paths = ((name, root / PARTS.replace("{name}", name)) for name in listed)
    # A missing file is kept, so that it is reported as missing.
    return tuple(name for name, path in paths if not path.is_file() or human_parts(path))


CONTEXT = "pascal-context/trainval/{name}.mat"

SALIENCY: Mapping[str, dict[str, Any]] = {
    "mti_net": {"primary_metric": "max_miou", "max_f": "astmt"},
    "atrc": {"primary_metric": "max_f", "max_f": "atrc"},
    "invpt": {"primary_metric": "max_f", "max_f": "invpt"},
}


@register_protocol
@dataclass(frozen=True, kw_only=True)
class PascalContextProtocol(BenchmarkProtocol):
    """21 classes, six parts of people, normals, saliency and edges of everyday photographs.

    Normals and saliency are predictions of older networks ("distilled"), kept as labels.

    Attributes:
        saliency: Convention of the primary score: ``"mti_net"`` (and ASTMT: best mean IoU over
            thresholds), ``"atrc"`` (maxF over the data set) or ``"invpt"`` (the same with InvPT's
            second sigmoid).
        people_only: Whether images without people are excluded; by default if human parts are the
            only task.
        normals_axes: Directions of the three stored channels of normals.
        edge_odsf: Also score test edges by odsF, and make it the primary metric. Takes 0.2 s of CPU
            time per image.
        edge_convention: ``"pascal"`` (ASTMT, ATRC, InvPT) or ``"pascal_survey"`` (the scripts of
            MTI-Net and the survey: no suppression of non-maxima).
        edge_list: File with the images that odsF covers, such as the 2498 of SEISM's
            ``test_new.txt``; by default all. Relative to the root, or absolute.

    Example:
        >>> from taskprism.data import create_protocol
        >>> create_protocol("pascal_context", edge_odsf=True).task("edge").primary_metric
        'odsf'
    """

    name: str = "pascal_context"
    input_size: Size = (512, 512)
    augmentation: str = "mti_net"
    evaluation: Resolution = "original"
    license: str = field(
        default="PASCAL VOC 2010 images: Flickr's terms of use; annotations of PASCAL-Context and "
        "PASCAL-Part: no license is stated, their authors ask to be cited.",
        compare=False,
    )
    saliency: Literal["mti_net", "atrc", "invpt"] = "mti_net"
    people_only: bool | None = None
    normals_axes: Axes = ("right", "up", "toward")
    edge_odsf: bool = False
    edge_convention: Literal["pascal", "pascal_survey"] = "pascal"
    edge_list: str | None = None

    splits: ClassVar[tuple[Split, ...]] = ("train", "test")
    counts: ClassVar[Mapping[Split, int]] = {"train": 4998, "test": 5105}
    augmentations: ClassVar[Mapping[str, PaperAugmentation]] = {
        "mti_net": ASTMT,
        "astmt": ASTMT,
        "atrc": ATRC,
        "none": NONE,
    }
    source: ClassVar[str] = (
        "PASCAL_MT.tgz, to which the repositories of ASTMT, MTI-Net (the multi-task survey) and "
        "ATRC link, or PASCALContext.tar.gz of InvPT; both have the same layout."
    )
    used_by: ClassVar[tuple[str, ...]] = (
        "ASTMT",
        "MTI-Net",
        "PAD-Net (in MTI-Net)",
        "ATRC",
        "TPIM",
        "CTAL",
        "InvPT",
    )
    conventions: ClassVar[tuple[str, ...]] = (
        "val is the test set of all papers",
        "mean IoU over 21 classes, background included, 255 is void",
        "human parts: images without people have no label, and the IoU of background is over "
        "images of people only",
        "normals count only where the context label is one of 170 that NYU-Depth v2 also has",
        "saliency=mti_net: mean over images of the foreground's IoU, best of 15 thresholds; "
        "saliency=atrc or invpt: maxF over the data set",
        "edges: odsF with edge_odsf=true, tolerance 0.0075 of the diagonal, against boundaries of "
        "context labels as SEISM makes them; some scripts score 2498 of the 5105 images "
        "(edge_list=test_new.txt)",
        "border=zero is ASTMT's and MTI-Net's: pixels that a warp takes from outside are trained "
        "as background, as no edge and as not salient",
    )

    def __post_init__(self) -> None:
        self._check("saliency", self.saliency, SALIENCY)
        self._check("edge_convention", self.edge_convention, ("pascal", "pascal_survey"))
        super().__post_init__()
        if self._people_only:
            object.__setattr__(self, "counts", {})  # no paper states how many remain

    def options(self) -> dict[str, object]:
        """Axes, selection of images, and ground truth of edge scores."""
        always = {"normals_axes": self.normals_axes, "people_only": self._people_only}
        scored = {"edge_odsf": self.edge_odsf, "edge_list": self.edge_list}
        return always | without_none(scored.items())

    def default_tasks(self) -> tuple[Task, ...]:
        """Semseg 1, parts 2, saliency 5, normals 10, edge 50 with positives at 0.95."""
        edge = Edge(loss_weight=50.0, positive_weight=0.95)
        return (
            SemanticSegmentation(channels=21, class_names=TWENTY_ONE, absent_classes="zero"),
            HumanParts(loss_weight=2.0, absent_classes="zero"),
            Saliency(loss_weight=5.0, **SALIENCY[self.saliency]),
            Normals(loss_weight=10.0),
            scored_edge(edge, self.edge_convention) if self.edge_odsf else edge,
        )

    @property
    def _people_only(self) -> bool:
        if self.people_only is not None:
            return self.people_only
        return [task.name for task in self.tasks] == ["human_parts"]

    def variants(self) -> tuple[Variant, ...]:
        """One layout, distributed under two names."""
        classes = partial(
            decoding.classes,
            table={255: None} | {stored: stored for stored in range(len(TWENTY_ONE))},
        )
        return (
            Variant(
                name="pascal_mt",
                summary="PASCAL_MT of ASTMT, MTI-Net and ATRC; PASCALContext of InvPT",
                tree=_TREE,
                image="JPEGImages/{name}.jpg",
                labels={
                    "semseg": FirstOf(
                        ("semseg/VOC12/{name}.png", "semseg/pascal-context/{name}.png"), classes
                    ),
                    "human_parts": Label((PARTS,), human_parts),
                    "saliency": Label(
                        ("sal_distill/{name}.png",), partial(decoding.brighter, than=0.5)
                    ),
                    "normals": Label(
                        ("normals_distill/{name}.png", CONTEXT),
                        partial(indoor_normals, axes=self.normals_axes),
                    ),
                    "edge": Label((CONTEXT,), context_edges, annotations=self._scored_against()),
                },
                splits={"train": self._names("train"), "test": self._names("val")},
                needs=("ImageSets/Context/train.txt", "ImageSets/Context/val.txt"),
            ),
        )

    def _scored_against(self) -> Annotations | None:
        if not self.edge_odsf:
            return None
        only = None if self.root is None else listed_names(self.edge_list, Path(self.root))
        return partial(context_boundaries, only=only)

    def _names(self, stem: str) -> Names:
        file = f"ImageSets/Context/{stem}.txt"
        if self._people_only:
            return partial(with_people, file=file, parts=f"ImageSets/Parts/{stem}.txt")
        return partial(names.listed, file=file)


_TREE = """\
ROOT/
  JPEGImages/{name}.jpg               RGB, at most 500 pixels on a side
  semseg/VOC12/{name}.png             palette, 0..20, 255 for void; if there is none:
  semseg/pascal-context/{name}.png    the same, made from context labels
  human_parts/{name}.mat              anno: objects with parts (PASCAL-Part)
  pascal-context/trainval/{name}.mat  key LabelMap, 1..459; for edges and normals
  normals_distill/{name}.png          8-bit, n = 2 v / 255 - 1
  sal_distill/{name}.png              8-bit, salient above one half
  ImageSets/Context/train.txt, val.txt  names, one per line: 2008_000002 ...
  ImageSets/Parts/train.txt, val.txt  not needed; JSON: name -> categories of its objects"""
