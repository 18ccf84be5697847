"""The official ``nyu_depth_v2_labeled.mat`` and the public files that go with it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io

from taskprism.data.files import read_array
from taskprism.errors import DataError

#: Silberman's calibration of the color camera, which depth is projected to; pixels count from 0.
FOCAL = (518.85790117450188, 519.46961112127485)
CENTER = (325.58244941119034 - 1, 253.73616633400465 - 1)

#: Rows and columns that Gupta et al. and after them all multi-task papers keep: within the white
#: frame that the projection leaves. 46:470 and 41:600 in MATLAB's counting.
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
        DataError: If h5py is not installed, or the file is missing, broken or another one.
    """

    def __init__(self, path: Path) -> None:
        try:
            import h5py
        except ImportError:
            raise DataError(f"Reading {path} needs h5py: pip install 'taskprism[nyud]'.") from None
        self.path = path
        try:
            self._file: Any = h5py.File(path, "r")
        except OSError as error:
            raise DataError(f"{path}: this is not a readable HDF5 file ({error}).") from None
        missing = [name for name in _ARRAYS if name not in self._file]
        if missing:
            raise DataError(
                f"{path}: has no {', '.join(missing)}; nyu_depth_v2_labeled.mat is wanted, it has "
                f"{', '.join(_ARRAYS)}. This file has {', '.join(self._file)}."
            )

    def __len__(self) -> int:
        return self._file["images"].shape[0]

    def __getitem__(self, index: int) -> Frame:
        """Frame ``index``, from 0."""
        # MATLAB writes columns first, so HDF5 shows all axes the other way round.
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
        DataError: If it is missing, broken, or names frames that are not there or twice.
    """
    train = tuple(read_array(path, "trainNdxs").ravel().astype(int).tolist())
    test = tuple(read_array(path, "testNdxs").ravel().astype(int).tolist())
    both = train + test
    if len(set(both)) < len(both):
        raise DataError(f"{path}: a frame stands in both splits, or twice in one.")
    if not train or not test or min(both) < 1 or max(both) > frames:
        raise DataError(
            f"{path}: frames {min(both, default=0)} to {max(both, default=0)} are named, but the "
            f"data have 1 to {frames}."
        )
    return Splits(train, test)


class ClassMaps:
    """From the 894 classes to 40, and on to 13 where those are wanted.

    Args:
        forty: ``classMapping40.mat`` (``mapClass``: one of 1..40 for each of the 894), or
            ``labels40.mat`` (``labels40``: all maps ready-made, ``(H, W, N)``).
        thirteen: ``class13Mapping.mat`` (``classMapping13.labels13``: one of 1..13 for each of
            the 40), or None.

    Raises:
        DataError: If a file is missing, broken or another one.
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
        """Table by class, or the maps themselves."""
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
    """Table with 0 for 0 in front."""
    return np.concatenate([[0], _within(path, stored.ravel(), classes)]).astype(np.uint8)


def _within(path: Path, stored: np.ndarray, classes: int) -> np.ndarray:
    if stored.size == 0 or stored.min() < 0 or stored.max() > classes:
        raise DataError(f"{path}: classes must lie in 0..{classes}.")
    return stored.astype(np.uint8)
