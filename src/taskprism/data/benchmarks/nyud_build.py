"""Build NYUD-v2 for training from the official file: the variant ``npy`` of nyud40, or nyud13.

Images, depth and classes are the official ones. Two labels are derived and differ from those of the
published archives: normals are fitted to depth, edges are the boundaries of labeled objects (see
:mod:`taskprism.data.derived`). Scores of these two are comparable only among runs on the same
build; ``build.json`` in the folder records this.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, cached_property, partial
from multiprocessing import get_context
from pathlib import Path
from typing import IO, Any

import numpy as np
import scipy.io
from PIL import Image

from taskprism.data.benchmarks.nyud import FOLDERS, LISTS
from taskprism.data.derived import edges_from_segments, normals_from_depth
from taskprism.data.files import read_array
from taskprism.errors import DataError
from taskprism.extras import import_extra

#: Silberman's calibration of the color camera, which depth is projected to; pixels count from 0.
FOCAL = (518.85790117450188, 519.46961112127485)
CENTER = (325.58244941119034 - 1, 253.73616633400465 - 1)

#: Rows and columns that Gupta et al. and after them all multi-task papers keep: within the white
#: frame of the projection. 46:470 and 41:600 in MATLAB's counting.
CROP = (slice(45, 470), slice(40, 600))

_ARRAYS = ("images", "depths", "labels", "instances")


@dataclass
class Frame:
    """One labeled image.

    Attributes:
        image: ``(H, W, 3)`` uint8 RGB.
        depth: ``(H, W)`` float32 meters; holes were filled by the data set's authors.
        labels: ``(H, W)`` class 1..894, 0 for none.
        instances: ``(H, W)`` number of the instance within its class.
    """

    image: np.ndarray
    depth: np.ndarray
    labels: np.ndarray
    instances: np.ndarray


class NyudSource:
    """Frames of the official file, read one at a time.

    Args:
        path: ``nyu_depth_v2_labeled.mat`` (MATLAB 7.3, which is HDF5).

    Raises:
        InputError: H5py is not installed.
        DataError: The file is missing, broken or another one.
    """

    def __init__(self, path: Path) -> None:
        h5py = import_extra("h5py", "nyud", f"Reading {path}")
        self.path = path
        try:
            self._file: Any = h5py.File(path, "r")
        except OSError as error:
            raise DataError(f"{path}: this is not a readable HDF5 file ({error}).") from None
        missing = [name for name in _ARRAYS if name not in self._file]
        if missing:
            raise DataError(
                f"{path}: has no {', '.join(missing)}. Give nyu_depth_v2_labeled.mat, which has "
                f"{', '.join(_ARRAYS)}. This file has {', '.join(self._file)}."
            )

    def __len__(self) -> int:
        return self._file["images"].shape[0]

    def __getitem__(self, index: int) -> Frame:
        """Frame ``index``, from 0."""
        # MATLAB stores columns first, so HDF5 returns the axes in reverse order.
        try:
            image, depth, labels, instances = (self._file[name][index].T for name in _ARRAYS)
        except OSError as error:
            raise DataError(f"{self.path}: frame {index + 1} cannot be read ({error}).") from None
        return Frame(image, depth.astype(np.float32), labels.astype(np.int64), instances)


@dataclass(frozen=True)
class Splits:
    """Frames of training and test, numbered from 1 as in all lists of this data set."""

    train: tuple[int, ...]
    test: tuple[int, ...]


def read_splits(path: Path, frames: int) -> Splits:
    """``splits.mat`` with ``trainNdxs`` and ``testNdxs``.

    Raises:
        DataError: It is missing, broken, or names frames that do not exist, or a frame twice.
    """
    train = tuple(read_array(path, "trainNdxs").ravel().astype(int).tolist())
    test = tuple(read_array(path, "testNdxs").ravel().astype(int).tolist())
    both = train + test
    if len(set(both)) < len(both):
        raise DataError(f"{path}: a frame is in both splits, or twice in one.")
    if not train or not test or min(both) < 1 or max(both) > frames:
        raise DataError(
            f"{path}: frames {min(both, default=0)} to {max(both, default=0)} are listed, but the "
            f"data have 1 to {frames}."
        )
    return Splits(train, test)


class ClassMaps:
    """Map the 894 classes to 40, and optionally to 13.

    Args:
        forty: ``classMapping40.mat`` (``mapClass``: one of 1..40 for each of the 894), or
            ``labels40.mat`` (``labels40``: all maps, ``(H, W, N)``).
        thirteen: ``class13Mapping.mat`` (``classMapping13.labels13``: one of 1..13 for each of
            the 40), or None.

    Raises:
        DataError: A file is missing, broken or not the expected one.
    """

    def __init__(self, forty: Path, thirteen: Path | None = None) -> None:
        self.forty = forty
        self.thirteen = thirteen
        self.classes = 40 if thirteen is None else 13
        if thirteen is not None:
            _ = self._to_thirteen
        _ = self._to_forty

    def __call__(self, index: int, labels: np.ndarray) -> np.ndarray:
        """Classes ``(H, W)`` uint8 of frame ``index`` (from 0), 0 for none."""
        table = self._to_forty
        if table.ndim == 3:
            mapped = table[..., index]
        elif labels.max() >= len(table):
            raise DataError(
                f"{self.forty}: maps {len(table) - 1} classes, but frame {index + 1} has class "
                f"{labels.max()}."
            )
        else:
            mapped = table[labels]
        return self._to_thirteen[mapped] if self.thirteen is not None else mapped

    @cached_property
    def _to_forty(self) -> np.ndarray:
        """Class of each of the 894, or the maps themselves."""
        content = _mat(self.forty)
        if "mapClass" in content:
            return _table(self.forty, content["mapClass"], 40)
        if "labels40" in content:
            return _within(self.forty, content["labels40"], 40)
        raise DataError(
            f"{self.forty}: has neither mapClass (classMapping40.mat) nor labels40 (labels40.mat); "
            f"it has {', '.join(content)}."
        )

    @cached_property
    def _to_thirteen(self) -> np.ndarray:
        assert self.thirteen is not None
        content = _mat(self.thirteen)
        try:
            return _table(self.thirteen, content["classMapping13"]["labels13"][0, 0], 13)
        except (KeyError, ValueError, IndexError):
            raise DataError(
                f"{self.thirteen}: has no classMapping13.labels13 (class13Mapping.mat); it has "
                f"{', '.join(content)}."
            ) from None


def _mat(path: Path) -> dict[str, np.ndarray]:
    try:
        content = scipy.io.loadmat(str(path))
    except Exception as error:  # broken bytes raise nearly anything
        raise DataError(f"{path}: this .mat file cannot be read ({error}).") from None
    return {key: value for key, value in content.items() if not key.startswith("__")}


def _table(path: Path, stored: np.ndarray, classes: int) -> np.ndarray:
    """Table that maps 0 to 0."""
    return np.concatenate([[0], _within(path, stored.ravel(), classes)]).astype(np.uint8)


def _within(path: Path, stored: np.ndarray, classes: int) -> np.ndarray:
    if stored.size == 0 or stored.min() < 0 or stored.max() > classes:
        raise DataError(f"{path}: classes must be in 0..{classes}.")
    return stored.astype(np.uint8)


Track = Callable[[Iterable[object], int], Iterable[object]]
_SMALL = (288, 384)  # of MTAN's files


@dataclass(frozen=True)
class NyudBuild:
    """What to build.

    Attributes:
        source: ``nyu_depth_v2_labeled.mat``.
        splits: ``splits.mat``.
        classes: ``classMapping40.mat`` or ``labels40.mat``.
        out: Folder to write into.
        thirteen: ``class13Mapping.mat``: write nyud13 at 288x384 instead of nyud40.
        crop: Keep the 425x560 pixels within the white frame, as the published archives do.
    """

    source: Path
    splits: Path
    classes: Path
    out: Path
    thirteen: Path | None = None
    crop: bool = True

    def run(self, workers: int = 1, track: Track | None = None) -> Path:
        """Write the missing files. Files are complete or absent, so a build can be interrupted.

        Args:
            workers: Processes.
            track: Wraps the finished frames, with their number, to show progress.

        Returns:
            The folder.

        Raises:
            DataError: An input is missing, broken or not the expected one, or the folder contains
                another build.
        """
        frames = NyudSource(self.source)
        splits = read_splits(self.splits, len(frames))
        ClassMaps(self.classes, self.thirteen)
        self._claim()
        jobs = self._jobs(splits)
        done: Iterable[object] = _finished(partial(_write_frame, self), jobs, workers)
        for _ in track(done, len(jobs)) if track is not None else done:
            pass
        # The lists come last: a folder without them is not recognized as a data set.
        if self.thirteen is None:
            for file, numbers in zip(LISTS.values(), (splits.train, splits.test), strict=True):
                names = "".join(f"{number:04d}\n" for number in numbers)
                _write(self.out / file, lambda f, text=names: f.write(text.encode()))
        return self.out

    def _jobs(self, splits: Splits) -> list[tuple[int, dict[str, Path]]]:
        """Number of each frame with its files; the image last, because readers count images."""
        if self.thirteen is None:
            suffixes = {"semseg": "png", "depth": "npy", "normals": "npy", "edge": "npy"}
            return [
                (
                    number,
                    {
                        task: self.out / f"{FOLDERS[task]}/{number:04d}.{suffix}"
                        for task, suffix in suffixes.items()
                    }
                    | {"image": self.out / f"images/{number:04d}.jpg"},
                )
                for number in sorted(splits.train + splits.test)
            ]
        parts = {"semseg": "label", "depth": "depth", "normals": "normal", "image": "image"}
        return [
            (number, {k: self.out / folder / part / f"{place}.npy" for k, part in parts.items()})
            for folder, numbers in (("train", splits.train), ("val", splits.test))
            for place, number in enumerate(numbers)
        ]

    def _claim(self) -> None:
        """Write ``build.json``, or check that an existing one is of the same build."""
        settings = {
            "from": self.source.name,
            "bytes": self.source.stat().st_size,
            "splits": _hash(self.splits),
            "classes": _hash(self.classes),
            "thirteen": None if self.thirteen is None else _hash(self.thirteen),
            "crop": self.crop,
            "derived": {
                "normals": "planes fitted to depth by taskprism",
                "edge": "boundaries of labeled objects, by taskprism",
            },
        }
        file = self.out / "build.json"
        if file.exists():
            if json.loads(file.read_text(encoding="utf-8")) != settings:
                raise DataError(
                    f"{self.out} contains a build from other files or with another crop (see "
                    "build.json there). Give another --out, or remove it."
                )
        elif self.out.is_dir() and any(self.out.iterdir()):
            raise DataError(f"{self.out} is not empty and contains no build. Give another --out.")
        text = json.dumps(settings, indent=1) + "\n"
        _write(file, lambda f: f.write(text.encode()))


def _finished(
    work: Callable[[tuple[int, dict[str, Path]]], None],
    jobs: list[tuple[int, dict[str, Path]]],
    workers: int,
) -> Iterator[object]:
    if workers <= 1:
        yield from map(work, jobs)
        return
    # Spawn processes: HDF5 handles must not be shared by a fork.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(work, jobs, chunksize=4)


def _write_frame(build: NyudBuild, job: tuple[int, dict[str, Path]]) -> None:
    number, files = job
    if all(path.exists() for path in files.values()):
        return
    source, maps = _opened(build.source, build.classes, build.thirteen)
    values = _labels(source[number - 1], number - 1, maps, build.crop)
    if build.thirteen is not None:
        values = _as_mtan(values)
    for key, path in files.items():
        _write(path, partial(_save, values[key], path.suffix))


@cache
def _opened(source: Path, classes: Path, thirteen: Path | None) -> tuple[NyudSource, ClassMaps]:
    """Inputs of this process."""
    return NyudSource(source), ClassMaps(classes, thirteen)


def _labels(frame: Frame, index: int, maps: ClassMaps, crop: bool) -> dict[str, np.ndarray]:
    """All labels of a frame, in the formats of the variant ``npy``."""
    # Normals before the crop, so that those at its border use pixels outside it.
    normals, _ = normals_from_depth(frame.depth, FOCAL, CENTER)
    segments = frame.labels * (int(frame.instances.max()) + 1) + frame.instances
    segments[frame.labels == 0] = 0
    values = {
        "image": frame.image,
        "semseg": maps(index, frame.labels),
        "depth": frame.depth,
        "normals": normals,
        "edge": edges_from_segments(segments).astype(np.float32),
    }
    return {key: value[CROP] if crop else value for key, value in values.items()}


def _as_mtan(values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Labels in the formats of nyud13, at its size."""
    height, width = values["depth"].shape
    rows = ((np.arange(_SMALL[0]) + 0.5) * height / _SMALL[0]).astype(int)[:, None]
    columns = ((np.arange(_SMALL[1]) + 0.5) * width / _SMALL[1]).astype(int)
    image = Image.fromarray(values["image"]).resize(_SMALL[::-1], Image.Resampling.BILINEAR)
    return {
        "image": np.asarray(image, dtype=np.float32) / 255,
        "semseg": values["semseg"][rows, columns].astype(np.int64) - 1,
        "depth": values["depth"][rows, columns][..., None],
        "normals": values["normals"][rows, columns],
    }


def _save(values: np.ndarray, suffix: str, file: IO[bytes]) -> None:
    if suffix == ".npy":
        np.save(file, values)
    elif suffix == ".png":
        Image.fromarray(values).save(file, format="PNG")
    else:
        Image.fromarray(values).save(file, format="JPEG", quality=98, subsampling=0)


def _write(path: Path, fill: Callable[[IO[bytes]], object]) -> None:
    """Write a file that is complete or absent."""
    partial_path = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial_path.open("wb") as file:
            fill(file)
        partial_path.replace(path)
    except OSError as error:
        partial_path.unlink(missing_ok=True)
        raise DataError(f"Could not write {path}: {error}.") from error


def _hash(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error}).") from None
