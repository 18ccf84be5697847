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

from taskprism import text_files
from taskprism.checks import check_integer
from taskprism.errors import DataError, InputError
from taskprism.metrics.boundaries.conventions import BoundaryConvention
from taskprism.metrics.boundaries.counts import BoundaryCounts
from taskprism.metrics.boundaries.scores import BoundaryScores
from taskprism.progress import tracked

PREDICTION_SUFFIXES = (".png", ".npy")
TRUTH_SUFFIXES = (".png", ".npy", ".mat")


@dataclass(frozen=True)
class Pair:
    """Files of one image: its prediction and its ground truth.

    Attributes:
        name: File name without ending.
        prediction: PNG or NumPy file.
        truth: PNG, NumPy or MATLAB file.

    Example:
        >>> Pair("2018", Path("predictions/2018.png"), Path("groundTruth/2018.mat")).name
        '2018'
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
        names: Images to score, which must be in both folders. None: all images; both folders must
            have the same ones.

    Raises:
        DataError: A folder or file is missing, or two files of a folder have the same name.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.save(Path(folder, "a.npy"), np.zeros((4, 4)))
        ...     [pair.name for pair in find_pairs(Path(folder), Path(folder))]
        ['a']
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
            hint = " Give a list of names to score a subset." if names is None else ""
            raise DataError(
                f"{folder}: no {what} for {len(missing)} of {len(wanted)} images ({shown}).{hint}"
            )
    if not wanted:
        raise DataError(f"{predictions}: no images to score.")
    return [Pair(name, predicted[name], truths[name]) for name in wanted]


def read_names(path: Path) -> list[str]:
    """Image names of a text file, one per line; empty lines are skipped.

    Raises:
        DataError: The file is missing, empty or not a text, or has a name twice.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "names.txt").write_text("2018")
        ...     read_names(Path(folder, "names.txt"))
        ['2018']
    """
    if not path.exists():
        raise DataError(f"{path}: no such list of image names.")
    names = text_files.read_names(path)
    if not names:
        raise DataError(f"{path}: the list is empty.")
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise DataError(f"{path}: {name} is listed twice.")
        seen.add(name)
    return names


def read_prediction(path: Path) -> NDArray[np.float32]:
    """Read probabilities ``(H, W)``; integers are divided by the largest value of their type.

    Raises:
        DataError: The file is missing or broken, or is not one map in [0, 1].

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.save(Path(folder, "a.npy"), np.full((4, 6), 255, np.uint8))
        ...     read_prediction(Path(folder, "a.npy")).max()
        np.float32(1.0)
    """
    with _naming(path, "prediction"):
        values = _read_png(path) if path.suffix.lower() == ".png" else np.load(path)
        values = values.squeeze()
    if values.ndim != 2:
        raise DataError(f"{path}: expected one channel (H, W), got shape {values.shape}.")
    if values.dtype.kind in "iu":
        return values.astype(np.float32) / np.float32(np.iinfo(values.dtype).max)
    if values.dtype.kind not in "bf":
        raise DataError(f"{path}: expected numbers, got {values.dtype}.")
    probabilities = values.astype(np.float32)
    if not (probabilities.size and probabilities.min() >= 0 and probabilities.max() <= 1):
        raise DataError(f"{path}: expected probabilities in [0, 1]. Apply a sigmoid to logits.")
    return probabilities


def read_annotations(path: Path, labels: bool) -> list[NDArray[Any]]:
    """Read maps ``(H, W)``, one per annotator.

    A PNG file has one annotator, a NumPy file is ``(H, W)`` or ``(annotators, H, W)``. A MATLAB
    file has the cell ``groundTruth`` of the Berkeley data set, with ``Boundaries`` and
    ``Segmentation`` of every annotator, or the ``LabelMap`` of PASCAL-Context.

    Args:
        path: The file.
        labels: Read label maps (``Segmentation``) if the file has both.

    Raises:
        DataError: The file is missing or broken, or has other content.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.save(Path(folder, "a.npy"), np.zeros((5, 4, 6)))
        ...     len(read_annotations(Path(folder, "a.npy"), labels=False))
        5
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
            f"{path}: expected ground truth (H, W) or (annotators, H, W), got shape {values.shape}."
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
        raise DataError(f"{path}: this is a label map. Use a convention with ground truth 'seism'.")
    found = ", ".join(name for name in content if not name.startswith("__")) or "nothing"
    raise DataError(f"{path}: expected groundTruth or LabelMap, found {found}.")


def _read_png(path: Path) -> NDArray[Any]:
    with Image.open(path) as image:
        if image.mode not in {"L", "1", "P", "I", "I;16", "I;16B"}:
            raise DataError(f"{path}: expected an image with one channel, got mode {image.mode}.")
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
    """Turn any error while reading into one that names the file."""
    try:
        yield
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"{path}: no such {what}.") from None
    except Exception as error:  # libraries raise many types of errors for broken files
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise DataError(f"{path}: this {what} cannot be read ({reason[0]}).") from error


def count_pair(pair: Pair, convention: BoundaryConvention) -> BoundaryCounts:
    """Read and count one image.

    Raises:
        DataError: A file is missing or broken, or the two have different sizes.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "a.npy")
        ...     np.save(file, np.eye(20, dtype=np.uint8))
        ...     counts = count_pair(Pair("a", file, file), BoundaryConvention())
        >>> counts.images
        1
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
        workers: Number of processes. They import the calling script, so with more than one the
            script needs ``if __name__ == "__main__":``.
        progress: Show progress on standard error.

    Returns:
        Counts that do not depend on the number of workers.

    Raises:
        DataError: See :func:`count_pair`; the first error stops all processes.
        InputError: ``workers`` is not an integer of at least 1.

    Example:
        >>> count_pairs([], BoundaryConvention()).images
        0
    """
    check_integer("count_pairs", "workers", workers, low=1)
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
        convention: How to count; by default the convention ``default``.
        names: Images to score; by default all.
        workers: Number of processes.
        progress: Show progress on standard error.

    Raises:
        DataError: A file is missing, broken or of the wrong size.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.save(Path(folder, "a.npy"), np.eye(40, dtype=np.uint8))
        ...     score_folders(folder, folder).images
        1
    """
    convention = convention or BoundaryConvention()
    pairs = find_pairs(Path(predictions), Path(ground_truth), names)
    counts = count_pairs(pairs, convention, workers=workers, progress=progress)
    return BoundaryScores.of(counts, convention)
