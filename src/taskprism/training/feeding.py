"""Batches of a run: which image when, on which process, and with which random numbers.

Every random number of training is drawn from a generator that is seeded by the recipe's seed and
the place where the number is needed (epoch, image, step). Resuming a run, another number of loader
processes or an evaluation in between therefore change no number.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from taskprism.data.protocol import SizedDataset
from taskprism.data.sample import Batch, Sample, collate
from taskprism.errors import DataError
from taskprism.scoring.evaluation import leave_signals_to_parent
from taskprism.tasks.base import Task


def derive_seed(*place: int | str) -> int:
    """Seed in [0, 2**63) of a place such as ``(seed, "order", epoch)``; equal on all machines."""
    text = "/".join(str(part) for part in place)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the CPU generators of torch, numpy and Python inside, and restore them after.

    NumPy's is its legacy global one, which a user's own data set may draw from.
    """
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    torch.default_generator.manual_seed(seed)  # not CUDA's: augmentation runs on the CPU
    np.random.seed(seed % 2**32)  # noqa: NPY002
    random.seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        random.setstate(states[2])


class Draw(NamedTuple):
    """One image in one epoch: what the sampler requests from the data set."""

    epoch: int
    index: int


class DrawnDataset(Dataset[Sample]):
    """A data set whose augmentation depends on seed, epoch and image only.

    Args:
        dataset: Map-style data set.
        seed: Of the run.
    """

    def __init__(self, dataset: SizedDataset, seed: int) -> None:
        self.dataset = dataset
        self.seed = seed

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: Draw) -> Sample:
        """Sample ``index.index`` as augmented in epoch ``index.epoch``."""
        with seeded(derive_seed(self.seed, "augmentation", index.epoch, index.index)):
            return self.dataset[index.index]


class EpochOrder:
    """The batches of each epoch for one of several processes.

    All processes shuffle alike and take turns in each global batch. The last, incomplete global
    batch is used unless it would leave a process fewer than two images (batch normalization has no
    variance over one image), unless the batch size is 1 or no other batch is left.

    Args:
        length: Number of images.
        batch_size: Images per batch and process.
        seed: Of the run.
        rank: This process.
        processes: How many there are.

    Raises:
        DataError: There are fewer images than processes.
    """

    def __init__(
        self, length: int, batch_size: int, seed: int, rank: int = 0, processes: int = 1
    ) -> None:
        if length < processes:
            raise DataError(
                f"The training split has {length} images for {processes} processes; every process "
                "needs at least one. Check the split's list, or use fewer processes."
            )
        self.length = length
        self.seed = seed
        self.rank = rank
        self.processes = processes
        self.size = batch_size * processes
        whole, rest = divmod(length, self.size)
        smallest = rest // processes
        keeps_rest = smallest >= 2 or (smallest == 1 and (batch_size == 1 or whole == 0))
        self.batches = whole + int(keeps_rest)

    def __len__(self) -> int:
        """Batches per epoch, the same for every process."""
        return self.batches

    def epoch(self, epoch: int, start: int = 0) -> list[list[Draw]]:
        """Batches of an epoch from number ``start`` on."""
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "order", epoch))
        order = torch.randperm(self.length, generator=generator).tolist()
        groups = (order[b * self.size : (b + 1) * self.size] for b in range(start, self.batches))
        return [[Draw(epoch, i) for i in group[self.rank :: self.processes]] for group in groups]


class TrainingFeed:
    """Batches of an epoch, from a data set with augmentation.

    Args:
        dataset: Training split with its transform.
        tasks: Tasks whose labels are collated.
        order: Which images when.
        workers: Loader processes; 0 loads in this one. They change nothing but the speed.
    """

    def __init__(
        self, dataset: SizedDataset, tasks: Sequence[Task], order: EpochOrder, workers: int
    ) -> None:
        self.order = order
        self._batches: list[list[Draw]] = []
        self._loader: DataLoader[Sample] = DataLoader(
            DrawnDataset(dataset, order.seed),
            batch_sampler=_Pending(self),  # one list per epoch, so that workers persist
            collate_fn=partial(collate, tasks=tuple(tasks)),
            num_workers=workers,
            worker_init_fn=leave_signals_to_parent,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Batches of ``epoch`` from number ``start`` on."""
        self._batches = self.order.epoch(epoch, start)
        return iter(self._loader)  # pyrefly: ignore[bad-return]

    def close(self) -> None:
        """End the loader processes, unless an epoch is still being read."""
        del self._loader

    @property
    def pending(self) -> list[list[Draw]]:
        """Batches of the epoch that was requested last."""
        return self._batches


class _Pending:
    """Batch sampler over the batches that its feed holds when the loader starts an epoch."""

    def __init__(self, feed: TrainingFeed) -> None:
        self.feed = feed

    def __iter__(self) -> Iterator[list[Draw]]:
        return iter(self.feed.pending)

    def __len__(self) -> int:
        return len(self.feed.pending)
