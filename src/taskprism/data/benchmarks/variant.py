"""One way in which a benchmark's files lie on disk, and how a sample is read from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset
from torchvision import tv_tensors

from taskprism.data.benchmarks.names import Names
from taskprism.data.files import read_image
from taskprism.data.protocol import Split, Transform
from taskprism.data.sample import Sample
from taskprism.errors import DataError
from taskprism.tasks.base import Task
from taskprism.tasks.target import DenseTarget, ValidMask

Decoded = tuple[np.ndarray, np.ndarray]
"""Values ``(H, W)`` or ``(H, W, C)``, and boolean ``(H, W)``: where they are a label."""

Decoder = Callable[..., Decoded | None]
"""Paths of a label's files -> the label, or None if they say that this image has none."""

Annotations = Callable[..., np.ndarray]
"""Paths of a label's files -> ``(H, W, A)``: what A annotators say, for scores."""


@dataclass(frozen=True)
class Label:
    """The label files of one task.

    Attributes:
        files: Patterns relative to the root, see :func:`fill`. The first holds the label; the
            others are what it takes to understand it (a camera, a mask).
        decode: Reads the files; gets one path per pattern.
        optional: Images without the first file have no such label; otherwise that is an error.
        annotations: Reads what scores are taken against where that is something else than the
            label; becomes further channels of it in all splits but train.
    """

    files: tuple[str, ...]
    decode: Decoder
    optional: bool = False
    annotations: Annotations | None = None

    def paths(self, root: Path, name: str) -> list[Path]:
        """Where the files of a sample are."""
        return [root / fill(pattern, name) for pattern in self.files]


@dataclass(frozen=True)
class Variant:
    """One layout of a data set, as somebody distributes it.

    Attributes:
        name: Short; printed by ``taskprism data check`` and taken by the option ``variant``.
        summary: Who distributes it, and who used it.
        tree: What lies where, for people.
        image: Pattern of the images.
        labels: Task name -> its files.
        splits: Split -> the function that gives its names.
        needs: Further files or folders that every such tree has.
        name_glob: What names look like; ``*/*/*`` if they stand in two folders.
        image_reader: Path -> float32 RGB ``(3, H, W)`` in [0, 1].
    """

    name: str
    summary: str
    tree: str
    image: str
    labels: Mapping[str, Label]
    splits: Mapping[Split, Names]
    needs: tuple[str, ...] = ()
    name_glob: str = "*"
    image_reader: Callable[[Path], tv_tensors.Image] = read_image

    def image_path(self, root: Path, name: str) -> Path:
        """Where a sample's image is."""
        return root / fill(self.image, name)

    def mismatches(self, root: Path) -> list[str]:
        """What speaks against ``root`` being of this variant; nothing means that it is.

        There must be images and the label of one task. Folders of other tasks may be missing, but
        must not hold files of another kind.
        """
        against = [
            f"expects {need}, which is not there"
            for need in self.needs
            if not (root / need).exists()
        ]
        against += self._against(root, self.image)
        labeled = False
        for label in self.labels.values():
            if self._survey(root, label.files[0]):
                against += self._against(root, label.files[0])
                labeled = True
        if not labeled:
            wanted = ", ".join(label.files[0] for label in self.labels.values())
            against.append(f"expects labels of one task at least ({wanted}), found none")
        return list(dict.fromkeys(against))

    def for_training(self) -> Variant:
        """The same, with labels as networks are trained with them."""
        labels = {n: replace(label, annotations=None) for n, label in self.labels.items()}
        return replace(self, labels=labels)

    def matches(self, root: Path) -> bool:
        """Whether ``root`` is of this variant."""
        return not self.mismatches(root)

    def _against(self, root: Path, pattern: str) -> list[str]:
        if any(root.glob(fill(pattern, self.name_glob))):
            return []
        kinds = self._survey(root, pattern)
        seen = ", ".join(f"{number} {kind}" for kind, number in kinds.items()) or "no file"
        return [f"expects {pattern}, found {seen} there"]

    def _survey(self, root: Path, pattern: str) -> dict[str, int]:
        """Kinds of files where those of a pattern should be, with their number."""
        anything = fill(pattern[: pattern.rindex("}") + 1], self.name_glob)
        return dict(Counter(path.suffix for path in root.glob(anything) if path.is_file()))


def fill(pattern: str, name: str) -> str:
    """Put a name into a pattern.

    ``{name}`` is the whole name, ``{folder}`` what stands before its last slash, ``{stem}`` what
    stands behind it.

    >>> fill("{folder}/depth/{stem}.npy", "train/17")
    'train/depth/17.npy'
    """
    folder, _, stem = name.rpartition("/")
    return pattern.replace("{name}", name).replace("{folder}", folder).replace("{stem}", stem)


def read_label(task: Task, label: Label, paths: list[Path]) -> tuple[DenseTarget, ValidMask] | None:
    """Label of one image, in taskprism's units and axes, or None if it has none.

    Raises:
        DataError: If a file is missing or broken, or holds what the task does not allow.
    """
    if label.optional and not paths[0].is_file():
        return None
    decoded = label.decode(*paths)
    if decoded is None:
        return None
    values, valid = decoded
    if values.ndim == 2:
        values = values[..., None]
    if values.ndim != 3 or values.shape[2] != task.target_channels:
        raise DataError(
            f"{paths[0]}: an array of shape {values.shape}, but {task.name} has "
            f"{task.target_channels} channel(s) in (H, W, C)."
        )
    if label.annotations is not None:
        values = np.concatenate([values, label.annotations(*paths)], axis=2)
    values = np.where(valid[..., None], values, 0).transpose(2, 0, 1)
    tensor = torch.from_numpy(np.ascontiguousarray(values))
    target = task.target_type(tensor.to(task.target_dtype))
    mask = ValidMask(torch.from_numpy(np.ascontiguousarray(valid))[None])
    wrong = task.validate_target(target, mask)
    if wrong is not None:
        raise DataError(f"{paths[0]}, read as {task.name}: {wrong}.")
    return target, mask


@dataclass(frozen=True)
class FirstOf(Label):
    """A label read from the first of ``files`` that exists, by a decoder of one path."""

    def paths(self, root: Path, name: str) -> list[Path]:
        """The file that exists; the first if none does."""
        places = [root / fill(pattern, name) for pattern in self.files]
        return [next((path for path in places if path.is_file()), places[0])]


class BenchmarkDataset(Dataset[Sample]):
    """Images and labels of some names, at their own size, after ``transform``.

    Args:
        root: Folder of the data.
        variant: Its layout.
        names: Which samples.
        tasks: Which labels.
        transform: Runs last.
    """

    def __init__(
        self,
        root: Path,
        variant: Variant,
        names: Sequence[str],
        tasks: Sequence[Task],
        transform: Transform | None = None,
    ) -> None:
        self.root = root
        self.variant = variant
        self.names = list(names)
        self.tasks = tuple(tasks)
        self.transform = transform

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        name = self.names[index]
        path = self.variant.image_path(self.root, name)
        image = self.variant.image_reader(path)
        targets: dict[str, DenseTarget] = {}
        valid: dict[str, ValidMask] = {}
        for task in self.tasks:
            label = self.variant.labels[task.name]
            paths = label.paths(self.root, name)
            read = read_label(task, label, paths)
            if read is None:
                continue
            targets[task.name], valid[task.name] = read
            if read[0].shape[-2:] != image.shape[-2:]:
                raise DataError(
                    f"{paths[0]} is {_size(read[0])} pixels (width x height), but its image "
                    f"{path} is {_size(image)}. They are not from the same archive."
                )
        sample = Sample(name=name, image=image, targets=targets, valid=valid)
        return self.transform(sample) if self.transform is not None else sample

    def files(self) -> list[Path]:
        """Files that all samples together need; those of optional labels if they exist."""
        wanted = []
        for name in self.names:
            wanted.append(self.variant.image_path(self.root, name))
            for task in self.tasks:
                label = self.variant.labels[task.name]
                paths = label.paths(self.root, name)
                if not label.optional or paths[0].is_file():
                    wanted += paths
        return list(dict.fromkeys(wanted))

    def missing(self) -> list[Path]:
        """Files that should be there but are not."""
        return [path for path in self.files() if not path.is_file()]


def _size(tensor: DenseTarget | object) -> str:
    height, width = tensor.shape[-2:]  # pyrefly: ignore[missing-attribute]
    return f"{width}x{height}"
