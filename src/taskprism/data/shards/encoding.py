"""Image and labels of a sample as bytes, and back, without loss.

========== ======== =========================================================================
storage    ending   for
========== ======== =========================================================================
classes    png      class indices; 255 (in 16 bits 65535) where there is no label
binary     png      0 and 1, as 0 and 255; 128 where there is no label
colors    png      values that are exactly n / 255, all valid: photographs, albedo
array      npy      everything else, (C, H, W), NaN where there is no label; 16-bit floats if they
                    represent all values exactly, otherwise 32-bit
========== ======== =========================================================================

Values of pixels without a label are not stored; they are read as 0.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping

import numpy as np
import torch
from PIL import Image

from taskprism.errors import DataError, InputError
from taskprism.tasks.base import Task
from taskprism.tasks.target import DenseTarget, ValidMask

ENDINGS = {"classes": "png", "binary": "png", "colors": "png", "array": "npy"}
_NO_CLASS = {"uint8": 255, "uint16": 65535}
_NEITHER = 128


def encode(values: np.ndarray, valid: np.ndarray) -> tuple[str, bytes]:
    """Storage and bytes.

    Args:
        values: ``(C, H, W)``, integers or 32-bit floats.
        valid: Boolean ``(H, W)``.

    Raises:
        InputError: Class indices do not fit into 16 bits, or valid values are not finite.
    """
    if values.dtype.kind in "iu":
        return "classes", _png(_classes(values, valid))
    if not np.isfinite(values[:, valid]).all():
        raise InputError("Valid labels must be finite to be packed.")
    if len(values) == 1 and np.isin(values[:, valid], (0, 1)).all():
        return "binary", _png(np.where(valid, values[0] * 255, _NEITHER).astype(np.uint8))
    if valid.all() and len(values) in (1, 3):
        bytes_of = np.rint(values.clip(0, 1) * 255).astype(np.uint8)
        if np.array_equal(bytes_of.astype(np.float32) / np.float32(255), values):
            return "colors", _png(bytes_of[0] if len(values) == 1 else bytes_of.transpose(1, 2, 0))
    return "array", _npy(np.where(valid, values, np.nan))


def _classes(values: np.ndarray, valid: np.ndarray) -> np.ndarray:
    labels = np.where(valid, values[0], 0)
    low, high = labels.min(initial=0), labels.max(initial=0)
    if len(values) != 1 or low < 0 or high >= _NO_CLASS["uint16"]:
        raise InputError(
            f"Class indices from {low} to {high} in {len(values)} channels do not fit into a PNG."
        )
    kind = "uint8" if high < _NO_CLASS["uint8"] else "uint16"
    return np.where(valid, labels, _NO_CLASS[kind]).astype(kind)


def _png(picture: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, format="png")
    return stream.getvalue()


def _npy(values: np.ndarray) -> bytes:
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    exact = np.array_equal(half.astype(np.float32), values, equal_nan=True)
    stream = io.BytesIO()
    np.save(stream, half if exact else values.astype(np.float32), allow_pickle=False)
    return stream.getvalue()


def decode(storage: str, content: bytes, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Values ``(C, H, W)`` and where they are valid, ``(H, W)``; the inverse of :func:`encode`.

    Raises:
        DataError: The bytes are broken; ``where`` names them.
    """
    try:
        return _DECODERS[storage](content)
    except Exception as error:  # broken bytes raise nearly anything in the libraries
        raise DataError(f"{where}: cannot be read as {storage} ({error}). Pack again.") from error


def _picture(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as opened:
        values = np.array(opened)
    # Pillow opens 16-bit pictures as 32-bit ones.
    return values.astype(np.uint16) if values.dtype == np.int32 else values


def _from_classes(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    labels = _picture(content)
    valid = labels != _NO_CLASS[labels.dtype.name]
    return np.where(valid, labels, 0).astype(np.int64)[None], valid


def _from_binary(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    picture = _picture(content)
    return (picture == 255).astype(np.float32)[None], picture != _NEITHER


def _from_colors(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    picture = _picture(content)
    values = picture[None] if picture.ndim == 2 else picture.transpose(2, 0, 1)
    return values.astype(np.float32) / np.float32(255), np.ones(values.shape[1:], dtype=bool)


def _from_array(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    values = np.load(io.BytesIO(content), allow_pickle=False).astype(np.float32)
    valid = ~np.isnan(values).any(axis=0)
    return np.where(valid, values, 0).astype(np.float32), valid


_DECODERS: Mapping[str, Callable[[bytes], tuple[np.ndarray, np.ndarray]]] = {
    "classes": _from_classes,
    "binary": _from_binary,
    "colors": _from_colors,
    "colours": _from_colors,  # as older shards spell it
    "array": _from_array,
}


def as_target(task: Task, values: np.ndarray, valid: np.ndarray) -> tuple[DenseTarget, ValidMask]:
    """Typed label and mask of a task."""
    tensor = torch.from_numpy(np.ascontiguousarray(values)).to(task.target_dtype)
    return task.target_type(tensor), ValidMask(torch.from_numpy(np.ascontiguousarray(valid))[None])
