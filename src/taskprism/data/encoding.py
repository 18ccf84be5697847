"""From the numbers in a label file to a typed target and its validity mask."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from taskprism.data.files import read_array
from taskprism.data.folder_config import Axis, TaskConfig
from taskprism.errors import DataError
from taskprism.tasks.base import Task
from taskprism.tasks.target import DenseTarget, ValidMask

#: Direction of a channel -> (axis, sign) in taskprism's axes right, up, toward.
AXES: Mapping[str, tuple[int, int]] = {
    "right": (0, 1),
    "left": (0, -1),
    "up": (1, 1),
    "down": (1, -1),
    "toward": (2, 1),
    "forward": (2, -1),
}
SHORTEST_NORMAL = 0.5  # 8-bit rounding changes unit vectors by 1 %; "no normal" is almost 0


class TargetDecoder:
    """Reads the label files of one task of a folder.

    Args:
        task: Defines type, channels and valid values.
        config: Describes how the numbers are stored.
        value_map: Stored value -> class, None for "no label"; if given, other values are an error.
        source: Name of the YAML, for messages.
    """

    def __init__(
        self,
        task: Task,
        config: TaskConfig,
        value_map: Mapping[int, int | None] | None = None,
        source: str = "the data YAML",
    ) -> None:
        self.task = task
        self.config = config
        self._counts = not task.target_dtype.is_floating_point
        self.where = f"{source}, tasks.{task.name}"
        self.lowest, self.table = _lookup_table(value_map)
        self._check_lengths()
        if task.target_type.is_direction and config.encoding.axes is None:
            raise DataError(
                f"{self.where}: set encoding.axes to the directions of the three channels, such "
                f"as [right, up, toward] or [right, down, forward]; valid words: {', '.join(AXES)}."
            )

    def __call__(self, path: Path) -> tuple[DenseTarget, ValidMask]:
        """Read a file.

        Returns:
            Target ``(target_channels, H, W)`` in taskprism's units and axes, 0 where it is not
            valid, and its mask ``(1, H, W)``.

        Raises:
            DataError: The file is broken or has values that the task does not allow.
        """
        encoding = self.config.encoding
        raw = self._with_channels(read_array(path, encoding.key), path)
        valid = _everywhere(np.isfinite(raw))
        for value in self.config.ignore:
            valid &= ~_everywhere(raw == np.asarray(value))
        values = self._meaning(raw, valid, path)
        if encoding.axes is not None:
            values = unit_vectors(values, encoding.axes, valid)
        if self.config.valid_range is not None:
            low, high = self.config.valid_range
            valid &= _everywhere((values >= low) & (values <= high))
        np.copyto(values, 0, where=~valid[..., None])
        if self._counts and values.dtype.kind == "f" and (values != np.round(values)).any():
            raise DataError(
                f"{path}: {self.task.kind} needs integers, but the file has "
                f"{values[values != np.round(values)][0]:g}. Check {self.where}.encoding."
            )
        tensor = torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))
        target = self.task.target_type(tensor.to(self.task.target_dtype))
        mask = ValidMask(torch.from_numpy(valid)[None])
        # Directions were normalized above, and measuring them again is slow.
        checked = None if encoding.axes is not None else self.task.validate_target(target, mask)
        if checked is not None:
            raise DataError(
                f"{path}: {checked}. List stored values that mean 'no label' in "
                f"{self.where}.ignore; encoding, map and positive define the others."
            )
        return target, mask

    def _check_lengths(self) -> None:
        """Check that lists of numbers per channel have one number per channel."""
        encoding, channels = self.config.encoding, self.task.target_channels
        lists = {"encoding.scale": encoding.scale, "encoding.offset": encoding.offset}
        lists |= {f"ignore[{i}]": value for i, value in enumerate(self.config.ignore)}
        for key, value in lists.items():
            if isinstance(value, tuple) and len(value) != channels:
                raise DataError(
                    f"{self.where}.{key} has {len(value)} numbers, but {self.task.kind} has "
                    f"{channels} channel(s)."
                )
        if encoding.order is not None and len(encoding.order) != channels:
            raise DataError(
                f"{self.where}.encoding.order must choose {channels} channel(s), "
                f"got {list(encoding.order)}."
            )

    def _with_channels(self, raw: np.ndarray, path: Path) -> np.ndarray:
        """``(H, W, target_channels)``."""
        if raw.ndim == 2:
            raw = raw[..., None]
        elif self.config.encoding.layout == "chw":
            raw = raw.transpose(1, 2, 0)
        order = self.config.encoding.order
        if raw.ndim == 3 and order is not None and max(order) < raw.shape[-1]:
            raw = raw[..., list(order)]
        if raw.ndim != 3 or raw.shape[-1] != self.task.target_channels:
            raise DataError(
                f"{path}: stored as an array of shape {tuple(raw.shape)}, but {self.task.kind} "
                f"needs {self.task.target_channels} channel(s) in (H, W, C). Choose channels with "
                f"{self.where}.encoding.order, or set encoding.layout: chw."
            )
        return raw

    def _meaning(self, raw: np.ndarray, valid: np.ndarray, path: Path) -> np.ndarray:
        """Stored numbers -> classes, 0/1 or units; marks unmapped pixels in ``valid``."""
        if self.table is not None:
            return self._mapped(raw, valid, path)
        positive = self.config.positive
        if positive is not None:
            yes = raw != 0 if positive == "nonzero" else np.isin(raw, positive)
            return yes.astype(np.float32)
        encoding = self.config.encoding
        if raw.dtype.kind in "biu" and (encoding.scale, encoding.offset) == (1.0, 0.0):
            return raw.astype(np.int64 if self._counts else np.float32)
        scale = np.asarray(encoding.scale, dtype=np.float32)
        return raw.astype(np.float32) * scale + np.asarray(encoding.offset, dtype=np.float32)

    def _mapped(self, raw: np.ndarray, valid: np.ndarray, path: Path) -> np.ndarray:
        assert self.table is not None
        index = raw.astype(np.int64) - self.lowest
        known = (index >= 0) & (index < len(self.table)) & (raw == raw.astype(np.int64))
        values = np.where(known, self.table[index.clip(0, len(self.table) - 1)], _UNKNOWN)
        unknown = ~_everywhere(values != _UNKNOWN) & valid
        if unknown.any() and self.config.unmapped == "error":
            found = np.unique(raw[unknown])[:10].tolist()
            raise DataError(
                f"{path}: the values {', '.join(f'{v:g}' for v in found)} are not in "
                f"{self.where}.map. Add them, list them in ignore, or set unmapped: ignore."
            )
        valid &= _everywhere(values >= 0)
        return values


_UNKNOWN, _NO_LABEL = -2, -1


def _lookup_table(mapping: Mapping[int, int | None] | None) -> tuple[int, np.ndarray | None]:
    if mapping is None:
        return 0, None
    lowest = min(mapping)
    table = np.full(max(mapping) - lowest + 1, _UNKNOWN, dtype=np.int64)
    for stored, meant in mapping.items():
        table[stored - lowest] = _NO_LABEL if meant is None else meant
    return lowest, table


def _everywhere(flags: np.ndarray) -> np.ndarray:
    """True where all channels are: ``(H, W, C)`` -> ``(H, W)``; faster than ``all`` for few."""
    result = flags[..., 0].copy()
    for channel in range(1, flags.shape[-1]):
        result &= flags[..., channel]
    return result


def unit_vectors(values: np.ndarray, axes: tuple[Axis, ...], valid: np.ndarray) -> np.ndarray:
    """Convert directions to right, up, toward and length 1; too short ones become invalid."""
    turned = np.empty((3, *values.shape[:2]), dtype=np.float32)
    for channel, word in enumerate(axes):
        axis, sign = AXES[word]
        np.multiply(values[..., channel], sign, out=turned[axis])
    length = np.sqrt(turned[0] ** 2 + turned[1] ** 2 + turned[2] ** 2)
    valid &= length >= SHORTEST_NORMAL
    turned /= np.maximum(length, SHORTEST_NORMAL)
    return turned.transpose(1, 2, 0)
