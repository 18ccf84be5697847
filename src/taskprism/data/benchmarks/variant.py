"""One layout of a benchmark's files, and how samples are read from it."""

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
from taskprism.data.files import is_hidden, read_image
from taskprism.data.protocol import Split, Transform
from taskprism.data.sample import Sample
from taskprism.errors import DataError
from taskprism.tasks.base import Task
from taskprism.tasks.target import DenseTarget, ValidMask

Decoded = tuple[np.ndarray, np.ndarray]
"""Values ``(H, W)`` or ``(H, W, C)``, and boolean ``(H, W)``: where they are a label."""

Decoder = Callable[..., Decoded | None]
"""Paths of a label's files -> the label, or None if the image has none."""

Annotations = Callable[..., np.ndarray]
"""Paths of a label's files -> ``(H, W, A)``: maps of A annotators, for scores."""


@dataclass(frozen=True)
class Label:
    """The label files of one task.

    Attributes:
        files: Patterns relative to the root, see :func:`fill`. The first is the label; the
            others are needed to decode it (a camera, a mask).
        decode: Reads the files; takes one path per pattern.
        optional: Whether images may lack the first file, and so the label; otherwise an error.
        annotations: Reads the maps that scores compare with, if they differ from the label; they
            become further channels of it in all splits except train.

    Example:
        >>> label = Label(("depth/{name}.npy",), decode=np.load)
        >>> [path.as_posix() for path in label.paths(Path("data"), "0001")]
        ['data/depth/0001.npy']
    """

    files: tuple[str, ...]
    decode: Decoder
    optional: bool = False
    annotations: Annotations | None = None

    def paths(self, root: Path, name: str) -> list[Path]:
        """Paths of the files of a sample."""
        return [root / fill(pattern, name) for pattern in self.files]


@dataclass(frozen=True)
class Variant:
    """One layout in which a data set is distributed.

    Attributes:
        name: Short; printed by ``taskprism data check`` and taken by the option ``variant``.
        summary: Who distributes it, and who used it.
        tree: The layout as text.
        image: Pattern of the images.
        labels: Task name -> its files.
        splits: Split -> function that returns its names.
        needs: Further files or folders of every such layout.
        name_glob: Pattern of names; ``*/*/*`` if they include two folders.
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
        """Path of a sample's image."""
        return root / fill(self.image, name)

    def mismatches(self, root: Path) -> list[str]:
        """Reasons why ``root`` does not have this layout; empty if it does.

        There must be images and labels of one task. Folders of other tasks may be missing, but
        must not contain files of another kind.
        """
        reasons = [
            f"expects {need}, which does not exist"
            for need in self.needs
            if not (root / need).exists()
        ]
        reasons += self._pattern_mismatch(root, self.image)
        labeled = False
        for label in self.labels.values():
            if self._survey(root, label.files[0]):
                reasons += self._pattern_mismatch(root, label.files[0])
                labeled = True
        if not labeled:
            wanted = ", ".join(label.files[0] for label in self.labels.values())
            reasons.append(f"expects labels of at least one task ({wanted}), found none")
        return list(dict.fromkeys(reasons))

    def for_training(self) -> Variant:
        """The variant with training labels only, without maps of annotators."""
        labels = {n: replace(label, annotations=None) for n, label in self.labels.items()}
        return replace(self, labels=labels)

    def matches(self, root: Path) -> bool:
        """Whether ``root`` has this layout."""
        return not self.mismatches(root)

    def _pattern_mismatch(self, root: Path, pattern: str) -> list[str]:
        if any(not is_hidden(path.name) for path in root.glob(fill(pattern, self.name_glob))):
            return []
        kinds = self._survey(root, pattern)
        seen = ", ".join(f"{number} {kind}" for kind, number in kinds.items()) or "no file"
        return [f"expects {pattern}, found {seen} there"]

    def _survey(self, root: Path, pattern: str) -> dict[str, int]:
        """File endings where a pattern expects files, with their number."""
        anything = fill(pattern[: pattern.rindex("}") + 1], self.name_glob)
        visible = (path for path in root.glob(anything) if not is_hidden(path.name))
        return dict(Counter(path.suffix for path in visible if path.is_file()))


def fill(pattern: str, name: str) -> str:
    """Put a name into a pattern.

    ``{name}`` is the whole name, ``{folder}`` the part before its last slash, ``{stem}`` the part
    after it.

    >>> fill("{folder}/depth/{stem}.npy", "train/17")
    'train/depth/17.npy'
    """
    folder, _, stem = name.rpartition("/")
    return pattern.replace("{name}", name).replace("{folder}", folder).replace("{stem}", stem)


def read_label(task: Task, label: Label, paths: list[Path]) -> tuple[DenseTarget, ValidMask] | None:
    """Label of one image, in taskprism's units and axes, or None if it has none.

    Raises:
        DataError: A file is missing or broken, or has values that the task does not allow.
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
    """A label read from the first of ``files`` that exists, by a decoder of one path.

    Example:
        >>> label = FirstOf(("new/{name}.png", "old/{name}.png"), decode=np.load)
        >>> [path.as_posix() for path in label.paths(Path("nowhere"), "0001")]
        ['nowhere/new/0001.png']
    """

    def paths(self, root: Path, name: str) -> list[Path]:
        """The first file that exists; the first pattern's if none does."""
        places = [root / fill(pattern, name) for pattern in self.files]
        return [next((path for path in places if path.is_file()), places[0])]


class BenchmarkDataset(Dataset[Sample]):
    """Images and labels of some names, at their own size, after ``transform``.

    Args:
        root: Folder of the data.
        variant: Its layout.
        names: Names of the samples.
        tasks: Tasks to read.
        transform: Applied last.
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
                    f"{path} is {_size(image)}. Use images and labels of one archive."
                )
        sample = Sample(name=name, image=image, targets=targets, valid=valid)
        return self.transform(sample) if self.transform is not None else sample

    def files(self) -> list[Path]:
        """Files of all samples; those of optional labels if they exist."""
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
        """Files of the samples that do not exist."""
        return [path for path in self.files() if not path.is_file()]


def _size(tensor: DenseTarget | object) -> str:
    height, width = tensor.shape[-2:]  # pyrefly: ignore[missing-attribute]
    return f"{width}x{height}"
