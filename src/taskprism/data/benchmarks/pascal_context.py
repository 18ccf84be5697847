"""PASCAL-Context (Mottaghi et al., CVPR 2014) with five tasks: 4998 + 5105 images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

from taskprism.data.benchmarks import decoding, names
from taskprism.data.benchmarks.augmentation import ASTMT, ATRC, NONE, PaperAugmentation
from taskprism.data.benchmarks.base import BenchmarkProtocol, Resolution
from taskprism.data.benchmarks.decoding import Axes
from taskprism.data.benchmarks.first_of import FirstOf
from taskprism.data.benchmarks.names import Names
from taskprism.data.benchmarks.pascal_decoding import (
    PARTS,
    brighter,
    context_edges,
    human_parts,
    indoor_normals,
    with_people,
)
from taskprism.data.benchmarks.pascal_labels import TWENTY_ONE
from taskprism.data.benchmarks.scored_edges import (
    context_boundaries,
    listed_names,
    scored_edge,
    without_none,
)
from taskprism.data.benchmarks.variant import Annotations, Label, Variant
from taskprism.data.protocol import Split, register_protocol
from taskprism.tasks import Edge, HumanParts, Normals, Saliency, SemanticSegmentation, Task

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
        saliency: Whose score is the primary one: ``"mti_net"`` (and ASTMT: best mean IoU over
            thresholds), ``"atrc"`` (maxF over the data set) or ``"invpt"`` (the same with InvPT's
            second sigmoid).
        people_only: Whether images without people are left out; by default if human parts are the
            only task.
        normals_axes: Where the three stored channels of normals point.
        edge_odsf: Score test edges by odsF too, and make it the primary metric: slow, 0.2 s of the
            CPU for an image.
        edge_convention: ``"pascal"`` (ASTMT, ATRC, InvPT) or ``"pascal_survey"`` (the scripts of
            MTI-Net and the survey: no suppression of non-maxima).
        edge_list: List of the images that odsF is taken over, such as the 2498 of SEISM's
            ``test_new.txt``; by default all. Relative to the root, or anywhere.
    """

    name: str = "pascal_context"
    input_size: tuple[int, int] = (512, 512)
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
        "normals count only where the context label is one of 170 that NYU-Depth v2 knows too",
        "saliency=mti_net: mean over images of the foreground's IoU, best of 15 thresholds; "
        "saliency=atrc or invpt: maxF over the data set",
        "edges: odsF with edge_odsf=true, tolerance 0.0075 of the diagonal, against boundaries of "
        "context labels as SEISM makes them; some scripts score 2498 of the 5105 images "
        "(edge_list=test_new.txt)",
        "border=zero is ASTMT's and MTI-Net's: what a warp brings in is trained on as background, "
        "as no edge and as not salient",
    )

    def __post_init__(self) -> None:
        self._check("saliency", self.saliency, SALIENCY)
        self._check("edge_convention", self.edge_convention, ("pascal", "pascal_survey"))
        super().__post_init__()
        if self._people_only:
            object.__setattr__(self, "counts", {})  # no paper says how many are left

    def options(self) -> dict[str, object]:
        """Axes, which images there are, and what edges are scored against."""
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
        """The one that there is, under two names of its root."""
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
                    "saliency": Label(("sal_distill/{name}.png",), partial(brighter, than=0.5)),
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
  ImageSets/Context/train.txt, val.txt  names, one a line: 2008_000002 ...
  ImageSets/Parts/train.txt, val.txt  not needed; JSON: name -> categories of its objects"""
