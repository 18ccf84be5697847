"""Cityscapes (Cordts et al., CVPR 2016): 2975 + 500 street scenes from German cities.

The official disparity PNGs store 16-bit numbers p: 0 means that nothing was measured, otherwise the
disparity is (p - 1) / 256 pixels at the full width of 2048. A disparity of 0 (p = 1) is a point at
infinity. Depth is baseline times focal length over disparity, both from the image's camera file.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal, get_args

import numpy as np

from taskprism.data.benchmarks import decoding, names
from taskprism.data.benchmarks.augmentation import CTAL, MTAN, NONE, PaperAugmentation
from taskprism.data.benchmarks.base import BenchmarkProtocol
from taskprism.data.benchmarks.decoding import plane
from taskprism.data.benchmarks.variant import Decoded, Label, Variant
from taskprism.data.protocol import Split, register_protocol
from taskprism.errors import DataError, InputError
from taskprism.options import Size
from taskprism.tasks import Depth, Disparity, InverseDepth, SemanticSegmentation, Task
from taskprism.text_files import read_json

#: Id in ``_labelIds.png`` -> category and name, for the ids that the benchmark evaluates.
EVALUATED = {
    7: ("flat", "road"),
    8: ("flat", "sidewalk"),
    11: ("construction", "building"),
    12: ("construction", "wall"),
    13: ("construction", "fence"),
    17: ("object", "pole"),
    19: ("object", "traffic light"),
    20: ("object", "traffic sign"),
    21: ("nature", "vegetation"),
    22: ("nature", "terrain"),
    23: ("sky", "sky"),
    24: ("human", "person"),
    25: ("human", "rider"),
    26: ("vehicle", "car"),
    27: ("vehicle", "truck"),
    28: ("vehicle", "bus"),
    31: ("vehicle", "train"),
    32: ("vehicle", "motorcycle"),
    33: ("vehicle", "bicycle"),
}
LARGEST_ID = 33
SKY_ID = 23

NINETEEN = tuple(name for _, name in EVALUATED.values())
SEVEN = tuple(dict.fromkeys(category for category, _ in EVALUATED.values()))
TWO = ("background", "foreground")


def class_table(names: tuple[str, ...]) -> dict[int, int | None]:
    """Stored id -> index in ``names``, which are classes or categories; None for all other ids.

    255 is also None: the 8-bit value of the id -1 (license plates).
    """
    table: dict[int, int | None] = dict.fromkeys([*range(LARGEST_ID + 1), 255])
    for stored, (category, name) in EVALUATED.items():
        table[stored] = names.index(name if name in names else category)
    return table


Target = Literal["inverse_depth", "depth", "disparity"]
Sky = Literal["measured", "drop", "zero"]


def read_camera(path: Path) -> float:
    """Baseline times horizontal focal length, in meters times pixels.

    Raises:
        DataError: The file is missing, broken, or its numbers are not positive.
    """
    try:
        camera = read_json(path)
        product = float(camera["extrinsic"]["baseline"]) * float(camera["intrinsic"]["fx"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: expected a camera file with extrinsic.baseline and intrinsic.fx "
            f"({type(error).__name__}: {error})."
        ) from None
    if product <= 0:
        raise DataError(f"{path}: baseline times focal length is {product:g}; it must be positive.")
    return product


def stereo(
    disparity: Path,
    *others: Path,
    target: Target,
    sky: Sky,
    zero_disparity: Literal["drop", "keep"],
    limit: float | None,
) -> Decoded:
    """One image's distances.

    Args:
        disparity: 16-bit PNG.
        others: The camera file if ``target`` is depth, then the label ids unless ``sky`` is
            ``"measured"``.
        target: ``"depth"`` in meters, ``"disparity"`` in pixels of the stored width, or
            ``"inverse_depth"``: p / 65535, as in MTAN's files.
        sky: As ``"measured"``, without label (``"drop"``), or infinitely far (``"zero"``).
        zero_disparity: Whether a measured disparity of 0 is a label.
        limit: Only values below it are labels.

    Raises:
        DataError: A file is missing or broken, or the disparity is not 16-bit.
    """
    raw = plane(disparity)
    if raw.dtype == np.uint8:
        raise DataError(f"{disparity}: an 8-bit picture; the official files have 16 bits.")
    stored = raw.astype(np.float64)
    pixels = np.maximum(stored - 1, 0) / 256
    valid = stored > 0
    if zero_disparity == "drop" or target == "depth":
        valid &= pixels > 0
    if target == "depth":
        values = read_camera(others[0]) / np.where(pixels > 0, pixels, np.inf)
    else:
        values = pixels if target == "disparity" else stored / 65535
    if limit is not None:
        valid &= values < limit
    if sky != "measured":
        is_sky = plane(others[-1]) == SKY_ID
        if is_sky.shape != raw.shape:
            raise DataError(f"{others[-1]} and {disparity} differ in size.")
        values = np.where(is_sky, 0.0, values)
        valid = valid & ~is_sky if sky == "drop" else valid | is_sky
    return values.astype(np.float32), valid


@dataclass(frozen=True, kw_only=True)
class _Cityscapes(BenchmarkProtocol, ABC):
    """Base of the protocols, which differ in their classes.

    Attributes:
        target: Target from stereo: ``"inverse_depth"`` as in MTAN's files, ``"depth"`` in meters,
            or ``"disparity"`` in pixels, which scales with the width.
        sky: Stereo in the sky: as ``"measured"``, without label (``"drop"``), or infinitely far
            (``"zero"``, TaskPrompter). MTAN's files are always ``"measured"``.
        zero_disparity: Whether a measured disparity of 0 is a label (``"keep"``, Auto-Lambda) or
            not (``"drop"``, TaskPrompter). Depth has no label there in any case.
        limit: Values below it are labels; by default 80 meters or pixels (TaskPrompter).
    """

    license: str = field(
        default="Cityscapes: non-commercial research and teaching, on registration; its license "
        "forbids passing the data on. www.cityscapes-dataset.com/license",
        compare=False,
    )
    input_size: Size = (128, 256)
    augmentation: str = "ctal"
    target: Target = "inverse_depth"
    sky: Sky = "measured"
    zero_disparity: Literal["drop", "keep"] = "drop"
    limit: float | None = None

    splits: ClassVar[tuple[Split, ...]] = ("train", "test")
    counts: ClassVar[Mapping[Split, int]] = {"train": 2975, "test": 500}
    augmentations: ClassVar[Mapping[str, PaperAugmentation]] = {
        "ctal": CTAL,
        "mtan": MTAN,
        "none": NONE,
    }
    source: ClassVar[str] = (
        "Official: leftImg8bit_trainvaltest.zip, gtFine_trainvaltest.zip, "
        "disparity_trainvaltest.zip and camera_trainvaltest.zip from www.cityscapes-dataset.com, "
        "unpacked into one folder. Preprocessed at 128x256: the repository of MTAN links to it."
    )
    conventions: ClassVar[tuple[str, ...]] = (
        "tested on the official val images; test images have no public labels",
        "mean IoU over the classes that occur; one confusion matrix",
        "target=inverse_depth: stored disparity / 65535, below 0.5, so that relative errors are "
        "in the tens (CTAL, MTAN); target=depth: meters by each image's camera file; "
        "target=disparity: pixels at the width of the map",
        "CTAL's code flips its test images at random; here test images are never flipped",
    )
    class_names: ClassVar[tuple[str, ...]]

    def __post_init__(self) -> None:
        self._check("target", self.target, get_args(Target))
        self._check("sky", self.sky, get_args(Sky))
        self._check("zero_disparity", self.zero_disparity, ("drop", "keep"))
        if self.sky == "zero" and self.target == "depth":
            raise InputError(
                f"{self.name}: an infinitely far sky has no depth in meters. "
                "Set sky=drop, or target=disparity or inverse_depth."
            )
        if self.limit is None and self.target != "inverse_depth":
            object.__setattr__(self, "limit", 80.0)
        super().__post_init__()

    def options(self) -> dict[str, object]:
        """Options of the stereo labels."""
        fields = ("target", "sky", "zero_disparity", "limit")
        return {name: getattr(self, name) for name in fields}

    def default_tasks(self) -> tuple[Task, ...]:
        """Semseg 1 and inverse depth 10 as CTAL; metric depth and disparity 1."""
        return (
            SemanticSegmentation(channels=len(self.class_names), class_names=self.class_names),
            self.stereo_task(),
        )

    def stereo_task(self) -> Task:
        """Task of the target; inverse depth is named depth, as in the papers."""
        tasks: dict[Target, Task] = {
            "inverse_depth": InverseDepth(
                name="depth", loss_weight=10.0, primary_metric="rel_error"
            ),
            "depth": Depth(),
            "disparity": Disparity(),
        }
        return tasks[self.target]

    def value_ranges(self) -> dict[str, tuple[float, float]]:
        """Inverse depth is below 0.5, because disparities are below 128 pixels."""
        if self.target == "inverse_depth":
            return {"depth": (0.0, 0.5)}
        return {self.target: (0.0, self.limit or 80.0)}

    def variants(self) -> tuple[Variant, ...]:
        """The official layout and MTAN's."""
        return (self._official(), *self._preprocessed())

    def _official(self) -> Variant:
        name = self.stereo_task().name
        files = ["disparity/{name}_disparity.png"]
        if self.target == "depth":
            files.append("camera/{name}_camera.json")
        if self.sky != "measured":
            files.append("gtFine/{name}_gtFine_labelIds.png")
        decode = partial(
            stereo,
            target=self.target,
            sky=self.sky,
            zero_disparity=self.zero_disparity,
            limit=self.limit,
        )
        list_of = partial(names.found, base="leftImg8bit", ending="_leftImg8bit.png")
        return Variant(
            name="official",
            summary="as distributed by the authors",
            tree=_OFFICIAL_TREE,
            image="leftImg8bit/{name}_leftImg8bit.png",
            labels={
                "semseg": Label(
                    ("gtFine/{name}_gtFine_labelIds.png",),
                    partial(decoding.classes, table=class_table(self.class_names)),
                ),
                name: Label(tuple(files), decode),
            },
            splits={
                "train": partial(list_of, folder="train"),
                "test": partial(list_of, folder="val"),
            },
            needs=("leftImg8bit/train", "leftImg8bit/val"),
            name_glob="*/*/*",
        )

    def _preprocessed(self) -> tuple[Variant, ...]:
        count = len(self.class_names)
        own = _npy_variant("mtan", f"label_{count}", count, self.target)
        plain = _npy_variant("mtan_plain", "label", count, self.target)
        return own, plain


def _npy_variant(name: str, folder: str, classes: int, target: Target) -> Variant:
    """MTAN's files; some copies have another name for the folder of labels."""
    table = {-1: None} | {stored: stored for stored in range(classes)}
    labels = {
        "semseg": Label(
            (f"{{folder}}/{folder}/{{stem}}.npy",), partial(decoding.classes, table=table)
        )
    }
    if target == "inverse_depth":
        labels["depth"] = Label(("{folder}/depth/{stem}.npy",), decoding.lengths)
    return Variant(
        name=name,
        summary=f"MTAN's preprocessed files with labels in {folder}, target inverse_depth only",
        tree=_MTAN_TREE.format(labels=folder, last=classes - 1),
        image="{folder}/image/{stem}.npy",
        labels=labels,
        splits={
            "train": partial(names.numbered, folder="train", parts="image"),
            "test": partial(names.numbered, folder="val", parts="image"),
        },
        needs=(f"train/{folder}",),
        name_glob="*/*",
        image_reader=decoding.array_image,
    )


@register_protocol
@dataclass(frozen=True, kw_only=True)
class Cityscapes19Protocol(_Cityscapes):
    """The 19 classes of the benchmark, and distances from stereo.

    Example:
        >>> from taskprism.data import create_protocol
        >>> create_protocol("cityscapes19", target="disparity").tasks[1].name
        'disparity'
    """

    name: str = "cityscapes19"
    used_by: ClassVar[tuple[str, ...]] = ("CTAL", "MTAN")
    class_names: ClassVar[tuple[str, ...]] = NINETEEN


@register_protocol
@dataclass(frozen=True, kw_only=True)
class Cityscapes7Protocol(_Cityscapes):
    """Seven categories: flat, construction, object, nature, sky, human, vehicle.

    Example:
        >>> from taskprism.data import create_protocol
        >>> create_protocol("cityscapes7").task("semseg").channels
        7
    """

    name: str = "cityscapes7"
    used_by: ClassVar[tuple[str, ...]] = ("MTAN", "LibMTL", "most papers on loss balancing")
    class_names: ClassVar[tuple[str, ...]] = SEVEN


@register_protocol
@dataclass(frozen=True, kw_only=True)
class Cityscapes2Protocol(_Cityscapes):
    """Background and foreground; only MTAN's files have these labels.

    Example:
        >>> from taskprism.data import create_protocol
        >>> create_protocol("cityscapes2").class_names
        ('background', 'foreground')
    """

    name: str = "cityscapes2"
    used_by: ClassVar[tuple[str, ...]] = ("MTAN",)
    class_names: ClassVar[tuple[str, ...]] = TWO

    def variants(self) -> tuple[Variant, ...]:
        """MTAN's layout."""
        return self._preprocessed()


_OFFICIAL_TREE = """\
ROOT/
  leftImg8bit/{train,val}/CITY/CITY_SEQ_FRAME_leftImg8bit.png   1024x2048 RGB
  gtFine/{train,val}/CITY/..._gtFine_labelIds.png               8-bit ids 0..33
  disparity/{train,val}/CITY/..._disparity.png                  16-bit, 0 for none
  camera/{train,val}/CITY/..._camera.json                       for target=depth"""

_MTAN_TREE = """\
ROOT/
  {{train,val}}/image/{{0,1,...}}.npy    (128, 256, 3) RGB in [0, 1]
  {{train,val}}/{labels}/{{0,1,...}}.npy (128, 256) -1..{last}, -1 for no label
  {{train,val}}/depth/{{0,1,...}}.npy    (128, 256, 1) inverse depth in [0, 1], 0 for none"""
