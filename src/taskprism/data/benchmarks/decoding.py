"""Decode published label files to values and masks of validity.

Every function takes the path of the file, and keywords that describe its numbers; a variant sets
these with :func:`functools.partial`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torchvision import tv_tensors

from taskprism.data.benchmarks.variant import Decoded
from taskprism.data.encoding import unit_vectors
from taskprism.data.files import read_array, read_stored
from taskprism.data.folder_config import Axis
from taskprism.errors import DataError

Axes = tuple[Axis, Axis, Axis]


def plane(path: Path, key: str | None = None) -> np.ndarray:
    """Stored numbers ``(H, W)``; ``(H, W, 1)`` is squeezed.

    Raises:
        DataError: The file is missing, broken, or has more channels.
    """
    return _one_channel(path, read_array(path, key))


def _one_channel(path: Path, raw: np.ndarray) -> np.ndarray:
    if raw.ndim == 3 and raw.shape[2] == 1:
        raw = raw[..., 0]
    if raw.ndim != 2:
        raise DataError(f"{path}: an array of shape {raw.shape}; this label needs one channel.")
    return raw


def classes(path: Path, *, table: Mapping[int, int | None], key: str | None = None) -> Decoded:
    """Class indices.

    Args:
        path: The file.
        table: Stored number -> class, or None for "no label".
        key: Name of the array in a ``.mat``.

    Raises:
        DataError: There is a number that is not in the table.
    """
    raw = plane(path, key)
    stored, where = np.unique(raw, return_inverse=True)
    unknown = [value for value in stored.tolist() if value not in table]
    if unknown:
        shown = ", ".join(f"{value:g}" for value in unknown[:10])
        raise DataError(
            f"{path}: the labels {shown} do not occur in this data set "
            f"({min(table)} to {max(table)} do)."
        )
    meant = [table[int(value)] for value in stored.tolist()]
    values = np.array([0 if m is None else m for m in meant], dtype=np.int64)
    valid = np.array([m is not None for m in meant])
    return values[where].reshape(raw.shape), valid[where].reshape(raw.shape)


def lengths(path: Path, *, key: str | None = None, missing: float = 0.0) -> Decoded:
    """Meters (or another length); ``missing`` and values that are not finite are not labels."""
    values = plane(path, key).astype(np.float32)
    valid = np.isfinite(values) & (values != missing)
    return values, valid


def directions(
    path: Path, *, axes: Axes, scale: float = 1.0, offset: float = 0.0, key: str | None = None
) -> Decoded:
    """Unit vectors, right, up and toward, from ``stored * scale + offset``.

    Vectors shorter than one half are not labels: a zero vector means "no normal", and 8-bit
    pictures, which cannot represent zero, return it with a length of 0.007.

    Args:
        path: The file.
        axes: Where each stored channel points.
        scale: Factor of the stored numbers.
        offset: Added after that.
        key: Name of the array in a ``.mat``.
    """
    raw = read_array(path, key)
    if raw.ndim != 3 or raw.shape[2] != 3:
        raise DataError(f"{path}: an array of shape {raw.shape}; normals are (H, W, 3).")
    values = raw.astype(np.float32) * np.float32(scale) + np.float32(offset)
    valid = np.asarray(np.isfinite(values).all(axis=2))
    values[~valid] = 0
    return unit_vectors(values, axes, valid), valid


def yes_no(path: Path, *, full: float = 1.0, key: str | None = None) -> Decoded:
    """0 or 1, from 0 or ``full``.

    Raises:
        DataError: There are other numbers, as in a soft or wrongly scaled map.
    """
    raw = plane(path, key)
    if not np.isin(raw, (0, full)).all():
        strange = np.unique(raw[~np.isin(raw, (0, full))])[:5].tolist()
        raise DataError(
            f"{path}: contains {', '.join(f'{v:g}' for v in strange)}, but only 0 and {full:g} "
            "occur in this data set."
        )
    return (raw != 0).astype(np.float32), np.ones(raw.shape, dtype=bool)


def brighter(path: Path, *, than: float) -> Decoded:
    """1 where a gray picture, divided by its white, is above ``than``; every pixel has a label."""
    stored = read_stored(path)
    levels = stored.gray_levels() if stored.palette is not None else None
    raw = _one_channel(path, stored.values if levels is None else levels)
    white = 255 if levels is not None else stored.largest or 255
    return (raw.astype(np.float32) / white > than).astype(np.float32), np.ones(
        raw.shape, dtype=bool
    )


def array_image(path: Path) -> tv_tensors.Image:
    """RGB image from an array ``(H, W, 3)``: floats in [0, 1], or 8-bit integers.

    Raises:
        DataError: The array has another shape or range.
    """
    raw = read_array(path)
    if raw.ndim != 3 or raw.shape[2] != 3:
        raise DataError(f"{path}: an array of shape {raw.shape}; images are (H, W, 3).")
    values = raw.astype(np.float32) / (255 if raw.dtype == np.uint8 else 1)
    low, high = float(values.min()), float(values.max())
    if not (low >= -1e-4 and high <= 1 + 1e-4):  # interpolation may overshoot by rounding
        raise DataError(f"{path}: values from {low:g} to {high:g}; images must be in [0, 1].")
    return tv_tensors.Image(torch.from_numpy(values.clip(0, 1).transpose(2, 0, 1).copy()))
