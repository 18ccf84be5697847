"""Score folders of edge maps, in one process or several."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from taskprism.errors import DataError, InputError
from taskprism.metrics.boundaries.conventions import BoundaryConvention
from taskprism.metrics.boundaries.counts import BoundaryCounts
from taskprism.metrics.boundaries.files import (
    Pair,
    find_pairs,
    read_annotations,
    read_prediction,
)
from taskprism.metrics.boundaries.progress import tracked
from taskprism.metrics.boundaries.scores import BoundaryScores


def count_pair(pair: Pair, convention: BoundaryConvention) -> BoundaryCounts:
    """Read and count one image.

    Raises:
        DataError: If a file is missing or broken, or the two do not have one size.
    """
    probabilities = read_prediction(pair.prediction)
    annotations = read_annotations(pair.truth, labels=convention.ground_truth == "seism")
    try:
        return BoundaryCounts.of_image(probabilities, annotations, convention)
    except InputError as error:
        raise DataError(f"{pair.prediction} and {pair.truth}: {error}") from error


def count_pairs(
    pairs: Sequence[Pair],
    convention: BoundaryConvention,
    *,
    workers: int = 1,
    progress: bool = False,
) -> BoundaryCounts:
    """Sum the counts of images.

    Args:
        pairs: The images.
        convention: How to count.
        workers: Processes. They import the script that asks for them, so with more than one it
            needs the usual ``if __name__ == "__main__":``.
        progress: Report progress on standard error.

    Returns:
        The same whatever the number of workers.

    Raises:
        DataError: See :func:`count_pair`; the first one stops everything.
        InputError: If ``workers`` is below 1.
    """
    if workers < 1:
        raise InputError(f"at least one worker is needed, got {workers}.")
    workers = min(workers, len(pairs))
    counts: Iterable[BoundaryCounts] = (
        (count_pair(pair, convention) for pair in pairs)
        if workers <= 1
        else _in_processes(pairs, convention, workers)
    )
    if progress:
        counts = tracked(counts, len(pairs), "images")
    return sum(counts, BoundaryCounts.zero(len(convention.thresholds)))


def _in_processes(
    pairs: Sequence[Pair], convention: BoundaryConvention, workers: int
) -> Iterator[BoundaryCounts]:
    # A forked child of a process with threads (PyTorch, progress bars) can hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        futures = [pool.submit(count_pair, pair, convention) for pair in pairs]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def score_folders(
    predictions: Path | str,
    ground_truth: Path | str,
    convention: BoundaryConvention | None = None,
    *,
    names: Iterable[str] | None = None,
    workers: int = 1,
    progress: bool = False,
) -> BoundaryScores:
    """Score a folder of edge maps against a folder of annotations.

    Args:
        predictions: PNG or NumPy files, see :func:`~.files.read_prediction`.
        ground_truth: PNG, NumPy or MATLAB files, see :func:`~.files.read_annotations`.
        convention: How to count; by default the one called ``default``.
        names: Images to score, by default all of them.
        workers: Processes.
        progress: Report progress on standard error.

    Raises:
        DataError: If a file is missing, broken or of the wrong size.
    """
    convention = convention or BoundaryConvention()
    pairs = find_pairs(Path(predictions), Path(ground_truth), names)
    counts = count_pairs(pairs, convention, workers=workers, progress=progress)
    return BoundaryScores.of(counts, convention)
