"""Base class of published benchmarks: layouts on disk, named augmentations, scored resolution."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, cast, get_args

from torchvision import tv_tensors

from taskprism.data.benchmarks.augmentation import NONE, Border, PaperAugmentation
from taskprism.data.benchmarks.variant import BenchmarkDataset, Variant
from taskprism.data.protocol import PROTOCOLS, Protocol, Split, Transform
from taskprism.data.sample import Sample
from taskprism.errors import DataError, UnknownNameError
from taskprism.tasks.base import Task

Resolution = Literal["network", "original"]
_SHOWN = 5  # files in a message


@dataclass(frozen=True, kw_only=True)
class BenchmarkProtocol(Protocol):
    """A published benchmark, in one of the layouts in which it is distributed.

    A subclass defines the tasks with their weights and lists the layouts it reads. Without a
    ``root`` a protocol can be described, but has no data.

    Example:
        >>> from taskprism.data import create_protocol
        >>> protocol = create_protocol("pascal_context", augmentation="atrc")
        >>> protocol.input_size, protocol.scores_at_label_size
        ((512, 512), False)
        >>> [variant.name for variant in protocol.variants()]
        ['pascal_mt']

    Attributes:
        variant: Name of the layout; by default recognized from the files, which must fit one only.
        augmentation: One of the names in ``augmentations``.
        border: Label of pixels that a warp takes from outside the image: none (``"ignore"``), or 0
            as in the papers' code (``"zero"``).
        evaluation: Resolution of scores: the input size (``"network"``), or that of the labels, to
            which predictions are resized (``"original"``).
        augmentations: Name -> augmentation of training images.
        counts: Split -> number of images of the published set.
        source: Where to get the data.
        used_by: Papers that report this protocol.
        conventions: Conventions of its scores.
    """

    tasks: tuple[Task, ...] = ()
    variant: str | None = None
    augmentation: str = "none"
    border: Border = "ignore"
    evaluation: Resolution = "network"

    augmentations: ClassVar[Mapping[str, PaperAugmentation]] = {"none": NONE}
    counts: ClassVar[Mapping[Split, int]] = {}
    source: ClassVar[str] = ""
    used_by: ClassVar[tuple[str, ...]] = ()
    conventions: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        if not self.tasks:
            object.__setattr__(self, "tasks", self.default_tasks())
        self._check("augmentation", self.augmentation, self.augmentations)
        self._check("border", self.border, get_args(Border))
        self._check("evaluation", self.evaluation, get_args(Resolution))
        if self.variant is not None:
            self._check("variant", self.variant, [v.name for v in self.variants()])

    def _check(self, option: str, value: str, known: Mapping | list | tuple) -> None:
        if value not in known:
            raise UnknownNameError(f"{option} of {self.name}", value, known)

    @abstractmethod
    def default_tasks(self) -> tuple[Task, ...]:
        """All tasks, with the papers' loss weights and metric options."""

    @abstractmethod
    def variants(self) -> tuple[Variant, ...]:
        """Layouts that can be read."""

    def found_variant(self) -> Variant:
        """The layout of the files under ``root``.

        Raises:
            DataError: There is no root, or it fits no layout, several, or not that of ``variant``.
        """
        root = self.folder()
        wanted = [v for v in self.variants() if self.variant in (None, v.name)]
        fitting = [v for v in wanted if v.matches(root)]
        if len(fitting) == 1:
            return fitting[0]
        if fitting:
            names = ", ".join(repr(v.name) for v in fitting)
            raise DataError(
                f"{root} fits the variants {names} of {self.name}. Choose one with the option "
                "variant."
            )
        lines = [f"{root} is not {self.name} in any known layout:"]
        for variant in wanted:
            lines.append(f"  {variant.name} ({variant.summary}):")
            lines += [f"    - {reason}" for reason in variant.mismatches(root)[:_SHOWN]]
        lines += self._hints(root, wanted)
        lines.append(f"`taskprism data describe {self.name}` shows the layouts.")
        raise DataError("\n".join(lines))

    def _hints(self, root: Path, wanted: list[Variant]) -> list[str]:
        """Other folders, excluded layouts, or other benchmarks that fit."""
        children = [path for path in sorted(root.iterdir()) if path.is_dir()]
        near = [p for p in (*children, root.resolve().parent) if any(v.matches(p) for v in wanted)]
        hints = [f"{path} fits: pass it as the root." for path in near[:1]]
        other = [v.name for v in self.variants() if v not in wanted and v.matches(root)]
        hints += [f"It fits the variant {name!r}." for name in other]
        return hints or [f"It fits {found}." for found in _recognized(root)]

    def folder(self) -> Path:
        """The root.

        Raises:
            DataError: None was given, or it is not a folder.
        """
        if self.root is None:
            raise DataError(
                f"No data root given for protocol {self.name!r}. Pass root=... to create_protocol, "
                f"or set data.root in the recipe. `taskprism data describe {self.name}` says where "
                "to get the data."
            )
        root = Path(self.root)
        if not root.is_dir():
            raise DataError(f"The data folder {root} of {self.name} does not exist.")
        return root

    def dataset(self, split: Split, transform: Transform | None = None) -> BenchmarkDataset:
        """Samples of a split at their own size.

        Raises:
            InputError: The protocol has no such split.
            DataError: The layout is unknown, or files of the split are missing.
        """
        data = self.listed_dataset(split, transform)
        missing = data.missing()
        if missing:
            shown = ", ".join(str(path) for path in missing[:_SHOWN])
            more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
            raise DataError(
                f"{self.name} ({data.variant.name}), split {split!r}: {len(missing)} files are "
                f"missing: {shown}{more}. Get them, or choose other tasks. "
                f"`taskprism data check {self.name} {self.root}` lists all."
            )
        return data

    def listed_dataset(self, split: Split, transform: Transform | None = None) -> BenchmarkDataset:
        """Samples of a split, even if some of their files are missing."""
        self.check_split(split)
        variant = self.found_variant()
        if split == "train":
            variant = variant.for_training()
        for task in self.tasks:
            if task.name not in variant.labels:
                raise DataError(
                    f"The variant {variant.name!r} of {self.name} has no labels for {task.name!r}; "
                    f"it has {', '.join(variant.labels)}. Choose among these."
                )
        names = variant.splits[split](self.folder())
        return BenchmarkDataset(self.folder(), variant, names, self.tasks, transform)

    def train_transform(self) -> Transform:
        """The chosen augmentation."""
        return self.augmentations[self.augmentation].train(self.input_size, self.border)

    def evaluation_transform(self) -> Transform:
        """Resize or pad; no randomness. Labels keep their size with ``"original"`` scores."""
        transform = self.augmentations[self.augmentation].evaluation(self.input_size)
        return ImageOnly(transform) if self.scores_at_label_size else transform

    @property
    def scores_at_label_size(self) -> bool:
        """Whether ``evaluation`` is ``"original"`` and images are resized rather than padded."""
        return self.evaluation == "original" and not self.augmentations[self.augmentation].pads

    def fingerprint(self) -> str:
        """Hash of protocol and variant, and of every file's relative path and size."""
        root, digest = self.folder(), hashlib.sha256()
        variant = self.found_variant()
        digest.update(f"{self.name} {variant.name} {self.options()}".encode())
        for split in self.splits:
            data = self.dataset(split)
            digest.update(f"\n{split} {len(data)}".encode())
            for path in data.files():
                digest.update(
                    f"\n{path.relative_to(root).as_posix()} {path.stat().st_size}".encode()
                )
        return digest.hexdigest()

    def options(self) -> dict[str, object]:
        """Options of a subclass that change labels; part of the fingerprint."""
        return {}

    def value_ranges(self) -> dict[str, tuple[float, float]]:
        """Task name -> least and largest value in the published data, for checks."""
        return {}


def _recognized(root: Path) -> list[str]:
    """Benchmarks that the folder fits, with their variant."""
    benchmarks = (
        entry.part() for entry in PROTOCOLS.entries() if issubclass(entry.part, BenchmarkProtocol)
    )
    return [
        f"{protocol.name}, variant {variant.name!r}"
        for protocol in benchmarks
        for variant in protocol.variants()
        if variant.matches(root)
    ]


@dataclass(frozen=True)
class ImageOnly:
    """Transform the image and keep the size of its labels."""

    transform: Transform

    def __call__(self, sample: Sample) -> Sample:
        """Sample with the transformed image."""
        image: tv_tensors.Image = self.transform(sample["image"])  # type: ignore[arg-type]
        return cast(Sample, {**sample, "image": image})
