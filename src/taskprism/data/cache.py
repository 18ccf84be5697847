"""Keep samples in memory."""

from __future__ import annotations

from typing import cast

from torch.utils.data import Dataset

from taskprism.data.protocol import SizedDataset, Transform
from taskprism.data.sample import Sample


class MemoryCache(Dataset[Sample]):
    """Samples of ``dataset`` after ``prepare``, read once and then kept; ``transform`` comes after.

    At 192 x 256 a sample with five labels takes about 2 MB. Each loader process keeps its own.

    Args:
        dataset: Map-style, without randomness.
        prepare: Deterministic and shrinking, such as ``Resize``.
        transform: Run every time; may be random.
    """

    def __init__(
        self,
        dataset: SizedDataset,
        prepare: Transform,
        transform: Transform | None = None,
    ) -> None:
        self.dataset = dataset
        self.prepare = prepare
        self.transform = transform
        self._kept: dict[int, Sample] = {}

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        if index not in self._kept:
            self._kept[index] = self.prepare(self.dataset[index])
        kept = self._kept[index]
        # Transforms make new tensors; the dictionaries are copied so that none can change the kept.
        sample = cast(
            Sample, {**kept, "targets": dict(kept["targets"]), "valid": dict(kept["valid"])}
        )
        return self.transform(sample) if self.transform is not None else sample
