"""Run a network over many images, in this process or on many machines."""

from __future__ import annotations

import logging
import math
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from torch.utils.data import DataLoader, Dataset

from taskprism.cluster import Resources, connect
from taskprism.errors import InputError
from taskprism.extras import import_extra
from taskprism.scoring.evaluation import leave_signals_to_parent

I = TypeVar("I")  # noqa: E741
O = TypeVar("O")  # noqa: E741


class ImageWorker(Protocol[I, O]):
    """What labels or predicts: reads an item, and processes a batch of what it has read.

    Example:
        >>> class Doubler:
        ...     def read(self, item):
        ...         return 2 * item
        ...     def __call__(self, items, images):
        ...         return images
        >>> list(run_here(Doubler(), [1, 2, 3], batch_size=2))
        [2, 4, 6]
    """

    def read(self, item: I) -> Any:
        """Read one item; runs in a loader process."""
        ...

    def __call__(self, items: Sequence[I], images: Sequence[Any]) -> list[O]:
        """Process a batch, and write its results."""
        ...


class _Reading(Dataset[Any], Generic[I]):
    """The items of a run, each with what the worker reads for it."""

    def __init__(self, worker: ImageWorker[I, Any], items: Sequence[I]) -> None:
        self.read = worker.read
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[I, Any]:
        return self.items[index], self.read(self.items[index])


def run_here(
    worker: ImageWorker[I, O], items: Sequence[I], batch_size: int, workers: int = 0
) -> Iterator[O]:
    """Results of all items in order, from this process.

    Args:
        worker: Processes batches.
        items: What to process.
        batch_size: Items per batch.
        workers: Processes that read; with 0 this one does.
    """
    loader = DataLoader(
        _Reading(worker, items),
        batch_size=batch_size,
        num_workers=workers,
        collate_fn=list,
        worker_init_fn=leave_signals_to_parent,
    )
    for batch in loader:
        yield from worker([item for item, _ in batch], [image for _, image in batch])


class RayWorker:
    """What Ray Data calls in each of its processes: one worker, with its own network.

    Args:
        make_worker: Makes the worker, in its process.
    """

    def __init__(self, make_worker: Callable[[], ImageWorker[Any, Any]]) -> None:
        self.worker = make_worker()

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[bytes]]:
        """Read and process a batch of pickled items; the results are pickled too."""
        items = [pickle.loads(item) for item in batch["item"]]
        images = [self.worker.read(item) for item in items]
        return {"result": [pickle.dumps(result) for result in self.worker(items, images)]}


@dataclass(frozen=True)
class OnRay:
    """Where and with how many processes :func:`run_on_ray` runs.

    Attributes:
        address: Address of the cluster, see :func:`taskprism.cluster.connect`.
        models: Number of processes; by default as many as the cluster has room for.
        resources: What each process needs.

    Example:
        >>> OnRay("10.0.0.1:6379", models=8).resources.cpus
        1.0
    """

    address: str | None = None
    models: int | None = None
    resources: Resources = field(default_factory=Resources)


def ray_settings(
    engine: str, address: str | None, models: int | None, per_run: str | None
) -> OnRay | None:
    """Settings of ``--engine ray``; None for the local engine.

    Raises:
        InputError: An option of Ray is given without it, or is not valid.
    """
    options = {"--address": address, "--models": models, "--per-run": per_run}
    given = [option for option, value in options.items() if value is not None]
    if engine == "local":
        if given:
            raise InputError(
                f"{', '.join(given)} belongs to --engine ray. Add it, or leave it out."
            )
        return None
    resources = Resources() if per_run is None else Resources.parse(per_run)
    return OnRay(address, models, resources)


def run_on_ray(
    make_worker: Callable[[], ImageWorker[I, O]],
    items: Sequence[I],
    batch_size: int,
    settings: OnRay,
) -> Iterator[O]:
    """Results of all items in any order, from processes on a Ray cluster.

    Each process has its own network and writes its results itself, so all machines must share the
    folders of images and results. Items of a process or machine that dies are processed again.

    Args:
        make_worker: Makes the worker of a process; it and the items are pickled.
        items: What to process.
        batch_size: Items per batch.
        settings: Where it runs.

    Raises:
        InputError: Ray is not installed, cannot be reached, or has no machine for a process.
    """
    if not items:
        return
    ray = connect(settings.address)
    options = settings.resources.options(ray)
    models = min(settings.models or _room(ray, options), math.ceil(len(items) / batch_size))
    data = import_extra("ray.data", "ray", "Labeling on Ray")
    context = data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    # Small enough that little is done twice if a process dies, large enough for a million images.
    blocks = max(models, math.ceil(len(items) / max(batch_size, 256)))
    rows = [{"item": pickle.dumps(item)} for item in items]
    results = data.from_items(rows, override_num_blocks=min(blocks, len(rows))).map_batches(
        RayWorker,
        fn_constructor_kwargs={"make_worker": make_worker},
        batch_size=batch_size,
        compute=data.ActorPoolStrategy(size=models),
        **options,
    )
    for row in results.iter_rows():
        yield pickle.loads(row["result"])


def absolute_path(source: str) -> str:
    """The absolute path of a file or folder that exists; anything else (a hub id) unchanged."""
    return str(Path(source).resolve()) if Path(source).exists() else source


def _room(ray: Any, options: Mapping[str, float]) -> int:
    """How many processes with these needs fit on the cluster; at least one."""
    found = ray.cluster_resources()
    needs = (("CPU", options["num_cpus"]), ("GPU", options["num_gpus"]))
    fits = [int(found.get(kind, 0) / amount) for kind, amount in needs if amount]
    return max(1, min(fits, default=1))
