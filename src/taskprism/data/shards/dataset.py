"""Samples read from tar files by their number."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset
from torchvision import tv_tensors

from taskprism.data.protocol import Transform
from taskprism.data.sample import Sample
from taskprism.data.shards.encoding import as_target, decode
from taskprism.data.shards.index import Entry, Shard
from taskprism.errors import DataError
from taskprism.tasks.base import Task
from taskprism.tasks.target import DenseTarget, ValidMask


class ShardDataset(Dataset[Sample]):
    """The samples of some shards, in the order in which they were packed.

    Args:
        folder: Where the tar files are.
        shards: Which.
        tasks: Labels to read; those that a sample lacks are absent.
        transform: Runs last.

    Raises:
        DataError: If a tar file is missing or has another size than when it was packed.
    """

    def __init__(
        self,
        folder: Path,
        shards: Sequence[Shard],
        tasks: Sequence[Task],
        transform: Transform | None = None,
    ) -> None:
        self.folder = folder
        self.tasks = tuple(tasks)
        self.transform = transform
        self._entries = [(shard.file, entry) for shard in shards for entry in shard.samples]
        for shard in shards:
            path = folder / shard.file
            size = path.stat().st_size if path.is_file() else None
            if size != shard.size:
                found = "is missing" if size is None else f"has {size} bytes"
                raise DataError(
                    f"{path} {found}; {shard.size} bytes were packed. Copy it again, or pack again."
                )

    @property
    def names(self) -> list[str]:
        """Names of the samples."""
        return [entry.name for _, entry in self._entries]

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: int) -> Sample:
        file, entry = self._entries[index]
        wanted = [task for task in self.tasks if task.name in entry.members]
        parts = self._read(file, entry, ["image", *(task.name for task in wanted)])
        targets: dict[str, DenseTarget] = {}
        valid: dict[str, ValidMask] = {}
        for task in wanted:
            targets[task.name], valid[task.name] = as_target(task, *parts[task.name])
        image = tv_tensors.Image(torch.from_numpy(np.ascontiguousarray(parts["image"][0])))
        sample = Sample(name=entry.name, image=image, targets=targets, valid=valid)
        return self.transform(sample) if self.transform is not None else sample

    def _read(
        self, file: str, entry: Entry, names: Sequence[str]
    ) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        path = self.folder / file
        parts = {}
        try:
            # Opened for each sample: nothing is shared between threads or forked workers.
            with path.open("rb") as tar:
                for name in names:
                    member = entry.members[name]
                    tar.seek(member.offset)
                    parts[name] = member.storage, tar.read(member.size)
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error}).") from None
        return {
            name: decode(storage, content, f"{path}, {name} of {entry.name}")
            for name, (storage, content) in parts.items()
        }
