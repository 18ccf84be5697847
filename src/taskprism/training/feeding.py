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
from torch.utils.data import Dataset

from taskprism.data.loading import ReadError, SampleLoader
from taskprism.data.protocol import SizedDataset
from taskprism.data.sample import Batch, Sample, collate
from taskprism.errors import DataError, TaskprismError
from taskprism.scoring.evaluation import leave_signals_to_parent
from taskprism.tasks.base import Task
from taskprism.training.bad_samples import BadSamples

_ATTEMPTS = 10  # samples drawn before training stops because none of them can be read


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


class DrawnSample(NamedTuple):
    """A sample that was drawn, and what could not be read before it.

    Attributes:
        sample: What to train on.
        bad: Index of a sample -> why it cannot be read.
    """

    sample: Sample
    bad: dict[int, str]


class DrawnDataset(Dataset[DrawnSample | ReadError]):
    """A data set whose augmentation depends on seed, epoch and image only.

    A sample that cannot be read is replaced by another one, or is an error. The other one is drawn
    by seed, epoch and image, so that a resumed run and any number of loader processes draw the
    same. Batches keep their size, and processes stay in step.

    Args:
        dataset: Map-style data set.
        seed: Of the run.
        skip: Replace samples that cannot be read.
    """

    def __init__(self, dataset: SizedDataset, seed: int, skip: bool = False) -> None:
        self.dataset = dataset
        self.seed = seed
        self.skip = skip

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: Draw) -> DrawnSample | ReadError:
        """Sample ``index.index`` as augmented in epoch ``index.epoch``."""
        epoch, number = index
        bad: dict[int, str] = {}
        for attempt in range(_ATTEMPTS):
            if number not in bad:
                try:
                    with seeded(derive_seed(self.seed, "augmentation", epoch, number)):
                        return DrawnSample(self.dataset[number], bad)
                except TaskprismError as error:
                    if not self.skip:
                        return ReadError.of(error)
                    bad[number] = str(error)
                except Exception as error:  # data sets of users raise nearly anything
                    if not self.skip:
                        raise
                    bad[number] = f"{type(error).__name__}: {error}"
            place = derive_seed(self.seed, "replacement", epoch, index.index, attempt)
            number = place % len(self)
        errors = " ".join(f"Image {number}: {error}" for number, error in bad.items())
        return ReadError(
            DataError,
            f"None of {len(bad)} training image(s) drawn in a row can be read, so they are not "
            f"replaced. {errors}",
        )


def _collate(
    drawn: Sequence[DrawnSample | ReadError], tasks: Sequence[Task]
) -> tuple[Batch, dict[int, str]] | ReadError:
    """Batch of samples with what could not be read, or the first error among them."""
    samples: list[Sample] = []
    bad: dict[int, str] = {}
    for each in drawn:
        if isinstance(each, ReadError):
            return each
        samples.append(each.sample)
        bad |= each.bad
    return collate(samples, tasks), bad


class EpochOrder:
    """The batches of each epoch for one of several processes.

    All processes shuffle alike and take turns in each global batch. The last, incomplete global
    batch is used unless it would leave a process fewer than ``fewest`` images, unless the batch
    size is 1 or no other batch is left.

    Args:
        length: Number of images.
        batch_size: Images per batch and process.
        seed: Of the run.
        rank: This process.
        processes: How many there are.
        fewest: Fewest images of a process in the last batch. With 2, batch normalization within a
            process has a variance. With 1 it needs the images of all processes, or at least two
            images if there is only one process.

    Raises:
        DataError: There are fewer images than processes.
    """

    def __init__(
        self,
        length: int,
        batch_size: int,
        seed: int,
        rank: int = 0,
        processes: int = 1,
        fewest: int = 2,
    ) -> None:
        if length < processes:
            raise DataError(
                f"The training split has {length} images for {processes} processes; every process "
                "needs at least one. Check the split's list, or use fewer processes."
            )
        self.length = length
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.processes = processes
        self.size = batch_size * processes
        self.fewest = fewest

    def __len__(self) -> int:
        """Batches per epoch, the same for every process."""
        return self.batches_after(0)

    def batches_after(self, images: int) -> int:
        """Batches that the images of an epoch after the first ``images`` give."""
        whole, rest = divmod(max(self.length - images, 0), self.size)
        smallest = rest // self.processes
        is_only = whole == 0 and images == 0
        enough = smallest >= self.fewest and rest >= 2
        keeps_rest = enough or (smallest == 1 and (self.batch_size == 1 or is_only))
        return whole + int(keeps_rest)

    def epoch(self, epoch: int, images: int = 0) -> list[list[Draw]]:
        """Batches of an epoch.

        Args:
            epoch: Finished epochs.
            images: Images of this epoch that were trained on before, with any number of processes:
                the first ones of the common order.
        """
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "order", epoch))
        order = torch.randperm(self.length, generator=generator).tolist()[images:]
        count = self.batches_after(images)
        groups = (order[b * self.size : (b + 1) * self.size] for b in range(count))
        return [[Draw(epoch, i) for i in group[self.rank :: self.processes]] for group in groups]


class TrainingFeed:
    """Batches of an epoch, from a data set with augmentation.

    Args:
        dataset: Training split with its transform.
        tasks: Tasks whose labels are collated.
        order: Which images when.
        workers: Loader processes; 0 loads in this one. They change nothing but the speed.
        skip: Replace samples that cannot be read.

    Attributes:
        bad: Samples that could not be read and were replaced.
    """

    def __init__(
        self,
        dataset: SizedDataset,
        tasks: Sequence[Task],
        order: EpochOrder,
        workers: int,
        skip: bool = False,
    ) -> None:
        self.order = order
        self.bad = BadSamples()
        self._pending = _Pending()
        self._loader = SampleLoader(
            DrawnDataset(dataset, order.seed, skip),
            batch_sampler=self._pending,  # one list per epoch, so that workers persist
            collate_fn=partial(_collate, tasks=tuple(tasks)),
            num_workers=workers,
            worker_init_fn=leave_signals_to_parent,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def epoch(self, epoch: int, images: int = 0) -> Iterator[Batch]:
        """Batches of ``epoch`` after its first ``images`` images.

        Raises:
            DataError: A sample cannot be read and is not replaced.
        """
        self._pending.batches = self.order.epoch(epoch, images)
        for batch, bad in self._loader:
            self.bad.in_epoch |= bad
            yield batch

    def close(self) -> None:
        """End the loader processes, unless an epoch is still being read."""
        self._loader.close()


class _Pending:
    """Batch sampler over the batches of the epoch that was requested last.

    It does not refer to its feed: a loader in a reference cycle is freed by the garbage collector,
    which ends the queue to the loader processes before it asks them to end, and then waits for
    each of them until a timeout.
    """

    def __init__(self) -> None:
        self.batches: list[list[Draw]] = []

    def __iter__(self) -> Iterator[list[Draw]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)
