"""Edge maps and annotations as files: PNG, NumPy and the Berkeley data set's MATLAB format."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from numpy.typing import NDArray
from PIL import Image

from taskprism.errors import DataError, InputError
from taskprism.metrics.boundaries.conventions import BoundaryConvention
from taskprism.metrics.boundaries.counts import BoundaryCounts
from taskprism.metrics.boundaries.scores import BoundaryScores
from taskprism.progress import tracked

PREDICTION_SUFFIXES = (".png", ".npy")
TRUTH_SUFFIXES = (".png", ".npy", ".mat")


@dataclass(frozen=True)
class Pair:
    """One image: its prediction and its ground truth.

    Attributes:
        name: File name without ending.
        prediction: PNG or NumPy file.
        truth: PNG, NumPy or MATLAB file.
    """

    name: str
    prediction: Path
    truth: Path


def find_pairs(
    predictions: Path, ground_truth: Path, names: Iterable[str] | None = None
) -> list[Pair]:
    """Match predictions with ground truth by file name without ending, in the order of names.

    Args:
        predictions: Folder of PNG or NumPy files (or one file).
        ground_truth: Folder of PNG, NumPy or MATLAB files (or one file, if both are).
        names: Images to take, each of which must be in both folders. None: all, and then both
            folders must hold the same ones.

    Raises:
        DataError: If a folder or file is missing, or two files of a folder have one name.
    """
    if predictions.is_file() and ground_truth.is_file():
        return [Pair(predictions.stem, predictions, ground_truth)]
    predicted = _by_name(predictions, PREDICTION_SUFFIXES, "prediction")
    truths = _by_name(ground_truth, TRUTH_SUFFIXES, "ground truth")
    wanted = sorted(predicted.keys() | truths.keys()) if names is None else list(names)
    for folder, files, what in (
        (predictions, predicted, "prediction"),
        (ground_truth, truths, "ground truth"),
    ):
        missing = [name for name in wanted if name not in files]
        if missing:
            shown = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
            hint = " Pass a list of names to score a subset." if names is None else ""
            raise DataError(
                f"{folder}: no {what} for {len(missing)} of {len(wanted)} images ({shown}).{hint}"
            )
    if not wanted:
        raise DataError(f"{predictions}: no images to score.")
    return [Pair(name, predicted[name], truths[name]) for name in wanted]


def read_names(path: Path) -> list[str]:
    """Image names of a list, one a line; empty lines are skipped.

    Raises:
        DataError: If the file is missing, no text or empty, or holds a name twice.
    """
    with _naming(path, "list of image names"):
        names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    names = [name for name in names if name]
    if not names:
        raise DataError(f"{path}: the list is empty.")
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise DataError(f"{path}: {name} is listed twice.")
        seen.add(name)
    return names


def read_prediction(path: Path) -> NDArray[np.float32]:
    """Probabilities ``(H, W)``: integers are divided by the largest value of their type.

    Raises:
        DataError: If the file is missing or broken, or holds no single map in [0, 1].
    """
    with _naming(path, "prediction"):
        values = _read_png(path) if path.suffix.lower() == ".png" else np.load(path)
        values = values.squeeze()
    if values.ndim != 2:
        raise DataError(f"{path}: an edge map has one channel, this array is {values.shape}.")
    if values.dtype.kind in "iu":
        return values.astype(np.float32) / np.float32(np.iinfo(values.dtype).max)
    if values.dtype.kind not in "bf":
        raise DataError(f"{path}: an edge map holds numbers, this array {values.dtype}.")
    probabilities = values.astype(np.float32)
    if not (probabilities.size and probabilities.min() >= 0 and probabilities.max() <= 1):
        raise DataError(f"{path}: the values are no probabilities in [0, 1]; apply a sigmoid.")
    return probabilities


def read_annotations(path: Path, labels: bool) -> list[NDArray[Any]]:
    """Maps ``(H, W)``, one for each annotator.

    A PNG file holds one annotator, a NumPy file ``(H, W)`` or ``(annotators, H, W)``. A MATLAB file
    holds the cell ``groundTruth`` of the Berkeley data set, in which every annotator has
    ``Boundaries`` and ``Segmentation``, or the ``LabelMap`` of PASCAL-Context.

    Args:
        path: The file.
        labels: Read label maps (``Segmentation``) where the file holds both.

    Raises:
        DataError: If the file is missing or broken, or holds something else.
    """
    suffix = path.suffix.lower()
    with _naming(path, "ground truth"):
        if suffix == ".mat":
            return _from_matlab(path, labels)
        values = _read_png(path) if suffix == ".png" else np.load(path)
    if values.ndim == 2:
        return [values]
    if values.ndim != 3 or len(values) == 0:
        raise DataError(
            f"{path}: ground truth is (H, W) or (annotators, H, W), this array is {values.shape}."
        )
    return list(values)


def _from_matlab(path: Path, labels: bool) -> list[NDArray[Any]]:
    content = scipy.io.loadmat(path)
    if "groundTruth" in content:
        field = "Segmentation" if labels else "Boundaries"
        return [person[field][0, 0] for person in content["groundTruth"].ravel()]
    if "LabelMap" in content and labels:
        return [content["LabelMap"]]
    if "LabelMap" in content:
        raise DataError(f"{path}: this is a label map; score it with the style 'seism'.")
    found = ", ".join(name for name in content if not name.startswith("__")) or "nothing"
    raise DataError(f"{path}: neither groundTruth nor LabelMap is in this file, but {found}.")


def _read_png(path: Path) -> NDArray[Any]:
    with Image.open(path) as image:
        if image.mode not in {"L", "1", "P", "I", "I;16", "I;16B"}:
            raise DataError(f"{path}: the image must have one channel, not {image.mode}.")
        values = np.asarray(image)
    # Pillow opens some 16-bit files as 32-bit ones.
    return values.astype(np.uint16) if values.dtype == np.int32 else values


def _by_name(folder: Path, suffixes: tuple[str, ...], what: str) -> dict[str, Path]:
    if not folder.is_dir():
        raise DataError(f"{folder}: no such {what} folder.")
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in suffixes:
            if path.stem in files:
                raise DataError(f"{path}: {files[path.stem].name} has the same name; keep one.")
            files[path.stem] = path
    if not files:
        raise DataError(f"{folder}: no {what} ({', '.join(suffixes)}) in this folder.")
    return files


@contextmanager
def _naming(path: Path, what: str) -> Iterator[None]:
    """Whatever goes wrong while reading names the file."""
    try:
        yield
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"{path}: no such {what}.") from None
    except Exception as error:  # broken bytes raise nearly anything in the libraries
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise DataError(f"{path}: this {what} cannot be read ({reason[0]}).") from error


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
