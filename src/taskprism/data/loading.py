"""Batches of a data set from loader processes, with errors as if there were none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from torch.utils.data import DataLoader, Dataset

from taskprism.data.protocol import SizedDataset
from taskprism.data.sample import Batch, Sample, collate
from taskprism.errors import TaskprismError, UnknownNameError
from taskprism.tasks.base import Task


class ReadError(NamedTuple):
    """An error of this library, on its way from a loader process.

    ``DataLoader`` would put the traceback of the other process into the error's message.

    Attributes:
        kind: Class of the error.
        message: What it says.
    """

    kind: type[TaskprismError]
    message: str

    @classmethod
    def of(cls, error: TaskprismError) -> ReadError:
        """What is passed on of an error."""
        kind = TaskprismError if isinstance(error, UnknownNameError) else type(error)
        return cls(kind, str(error))

    def error(self) -> TaskprismError:
        """The error to raise."""
        return self.kind(self.message)


class ReadingDataset(Dataset[Sample | ReadError]):
    """Samples of a data set, or the error with which one cannot be read.

    Args:
        dataset: Samples by number.
    """

    def __init__(self, dataset: SizedDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample | ReadError:
        try:
            return self.dataset[index]
        except TaskprismError as error:
            return ReadError.of(error)


def collate_read(samples: Sequence[Sample | ReadError], tasks: Sequence[Task]) -> Batch | ReadError:
    """Batch of samples, or the first error among them."""
    good: list[Sample] = []
    for sample in samples:
        if isinstance(sample, ReadError):
            return sample
        good.append(sample)
    return collate(good, tasks)


class SampleLoader(DataLoader[Any]):
    """A loader that raises the errors which its processes return.

    Raises:
        TaskprismError: A sample cannot be read; raised while iterating.
    """

    def __iter__(self) -> Iterator[Any]:  # pyrefly: ignore[bad-override]
        for batch in super().__iter__():
            if isinstance(batch, ReadError):
                raise batch.error()
            yield batch

    def close(self) -> None:
        """End the processes, also while the traceback of an error refers to this loader."""
        self._iterator = None
