"""The samples of one split of a benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch.utils.data import Dataset

from taskprism.data.benchmarks.variant import Variant, read_label
from taskprism.data.protocol import Transform
from taskprism.data.sample import Sample
from taskprism.errors import DataError
from taskprism.tasks.base import Task
from taskprism.tasks.target import DenseTarget, ValidMask


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
