"""From the numbers in a label file to a typed target and its validity mask."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from taskprism.data.files import Orientation, StoredPixels, read_stored
from taskprism.data.folder_config import Axis, TaskConfig
from taskprism.data.label_tables import Color, show_color
from taskprism.errors import DataError, TaskprismError
from taskprism.stores.paths import AnyPath
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
LONGEST_NORMAL = 1.5  # median; more means another scale or offset
SHORTEST_NORMAL = 0.5  # 8-bit rounding changes unit vectors by 1 %; "no normal" is almost 0


class TargetDecoder:
    """Reads the label files of one task of a folder.

    Args:
        task: Defines type, channels and valid values.
        config: Describes how the numbers are stored.
        value_map: Stored value -> class, None for "no label"; if given, other values are an error.
        source: Name of the YAML, for messages.
        color_map: Stored color -> class, None for "no label"; if given, the files are read as
            color images, and other colors are an error.
        orientation: ``"exif"`` rotates images according to their EXIF tag.
    """

    def __init__(
        self,
        task: Task,
        config: TaskConfig,
        value_map: Mapping[int, int | None] | None = None,
        source: str = "the data YAML",
        color_map: Mapping[Color, int | None] | None = None,
        orientation: Orientation = "exif",
    ) -> None:
        self.task = task
        self.config = config
        self.orientation: Orientation = orientation
        self._counts = not task.target_dtype.is_floating_point
        two = task.target_type(torch.full((task.target_channels, 1, 1), 2, dtype=task.target_dtype))
        everywhere = ValidMask(torch.ones(1, 1, 1, dtype=torch.bool))
        self._bounded = task.validate_target(two, everywhere) is not None  # to [0, 1]
        self.where = f"{source}, tasks.{task.name}"
        self.table = _lookup_table(value_map)
        self.declared = np.array(range(task.channels) if value_map is None else [*value_map])
        self.colors = None if color_map is None else _ColorTable(color_map)
        if color_map is not None and task.target_channels != 1:
            raise DataError(
                f"{self.where}.colors: {task.kind} has {task.target_channels} channels, so its "
                "colors are not classes. Remove the key."
            )
        self._check_lengths()
        if task.target_type.is_direction and config.encoding.axes is None:
            raise DataError(
                f"{self.where}: set encoding.axes to the directions of the three channels, such "
                f"as [right, up, toward] or [right, down, forward]; valid words: {', '.join(AXES)}."
            )

    def __call__(
        self, path: AnyPath, confidence: AnyPath | None = None
    ) -> tuple[DenseTarget, ValidMask]:
        """Read a file of any bit depth, byte order and compression.

        Class maps and masks in JPEG are refused, because compression changes their numbers.

        Args:
            path: The label file.
            confidence: File of its confidence. Pixels below the threshold have no label.

        Returns:
            Target ``(target_channels, H, W)`` in taskprism's units and axes, 0 where it is not
            valid, and its mask ``(1, H, W)``.

        Raises:
            DataError: The file is broken or has values that the task does not allow.
        """
        encoding = self.config.encoding
        stored = read_stored(path, encoding.key, self.orientation)
        self._check_form(stored, path)
        if self.colors is not None:
            values, valid = self._from_colors(self.colors, stored, path)
        else:
            raw = self._numbers(stored, path)
            valid = _everywhere(np.isfinite(raw))
            for value in self.config.ignore:
                valid &= ~_everywhere(raw == np.asarray(value))
            values = self._meaning(raw, valid, stored, path)
        if encoding.axes is not None:
            if stored.largest is not None:
                self._check_vector_lengths(values, valid, stored, path)
            values = unit_vectors(values, encoding.axes, valid)
        if self.config.valid_range is not None:
            low, high = self.config.valid_range
            valid &= _everywhere((values >= low) & (values <= high))
        if confidence is not None and self.config.confidence is not None:
            certain = read_confidence(confidence, self.orientation)
            if certain.shape != valid.shape:
                raise DataError(
                    f"{confidence} is {certain.shape[1]}x{certain.shape[0]} pixels (width x "
                    f"height), but its label {path} is {valid.shape[1]}x{valid.shape[0]}. They "
                    "must have one size."
                )
            valid &= certain >= self.config.confidence.threshold
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
                f"{path} ({stored.form}): {checked}. List stored values that mean 'no label' in "
                f"{self.where}.ignore; encoding, map and positive define the others."
            )
        return target, mask

    def _check_vector_lengths(
        self, values: np.ndarray, valid: np.ndarray, stored: StoredPixels, path: AnyPath
    ) -> None:
        """Check that scale and offset fit the file, which normalizing would hide."""
        lengths = np.linalg.norm(values[valid], axis=-1)
        if lengths.size and np.median(lengths) > LONGEST_NORMAL:
            raise DataError(
                f"{path}: {stored.description} with vectors of length {np.median(lengths):.3g} "
                f"after scale and offset; {self.task.kind} needs about 1. Correct "
                f"{self.where}.encoding: 8-bit files usually have scale 2/255 and offset -1, "
                "16-bit files scale 2/65535."
            )

    def is_off_unit(self, path: AnyPath) -> bool:
        """Whether more than a tenth of the directions in a file differ in length from 1 by 10 %.

        A file that cannot be read is not; reading it as a label reports it.
        """
        if self.config.encoding.axes is None:
            return False
        try:
            stored = read_stored(path, self.config.encoding.key, self.orientation)
            raw = self._numbers(stored, path)
        except TaskprismError:
            return False
        valid = _everywhere(np.isfinite(raw))
        for value in self.config.ignore:
            valid &= ~_everywhere(raw == np.asarray(value))
        length = np.linalg.norm(self._meaning(raw, valid, stored, path), axis=-1)[valid]
        return length.size > 0 and bool((np.abs(length - 1) > 0.1).mean() > 0.1)

    def merges_colors(self, path: AnyPath) -> bool:
        """Whether ``encoding.order`` takes one channel of a class map that several distinguish."""
        if self.config.encoding.order is None or not self._counts:
            return False
        try:
            stored = read_stored(path, self.config.encoding.key)
            chosen = self._numbers(stored, path)
        except TaskprismError:
            return False
        values = stored.values
        if values.ndim != 3 or values.shape[-1] == chosen.shape[-1]:
            return False
        colors = np.unique(values.reshape(-1, values.shape[-1]), axis=0)
        return len(colors) > len(np.unique(chosen))

    def _check_lengths(self) -> None:
        """Check that lists of numbers per channel have one number per channel."""
        encoding, channels = self.config.encoding, self.task.target_channels
        lists = {"encoding.scale": encoding.scale, "encoding.offset": encoding.offset}
        if self.colors is not None and self.config.ignore:
            raise DataError(
                f"{self.where}.ignore: with colors, write colors without a label as "
                "'[255, 255, 255]: null' in colors."
            )
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

    def _check_form(self, stored: StoredPixels, path: AnyPath) -> None:
        """Refuse what is not a number, and compression that changes numbers."""
        if stored.values.dtype.kind not in "biuf":
            raise DataError(f"{path}: an array of {stored.values.dtype}; labels must be numbers.")
        exact = self._counts or self.config.positive is not None or self.colors is not None
        if stored.lossy and exact and not self.config.encoding.lossy:
            raise DataError(
                f"{path}: {stored.description}, whose compression changes numbers, so classes and "
                "masks in it are not exact. Use the PNG files that it was made from, or set "
                f"{self.where}.encoding.lossy: true and declare every stored number with map."
            )

    def _from_colors(
        self, table: _ColorTable, stored: StoredPixels, path: AnyPath
    ) -> tuple[np.ndarray, np.ndarray]:
        """Class indices of a color image ``(H, W, 1)``, and where they are labels ``(H, W)``."""
        values = table.look_up(stored)
        if values is None:
            raise DataError(
                f"{path}: {stored.description}, stored as an array of shape {stored.values.shape}, "
                f"but {self.where}.colors needs an image with 8 bits per color and no transparent "
                "pixels. Save it so, or remove the key."
            )
        unknown = values == _UNKNOWN
        if unknown.any() and self.config.unmapped == "error":
            found = table.colors_at(stored, unknown)
            shown = ", ".join(f"{show_color(color)} ({n} pixels)" for color, n in found[:_SHOWN])
            more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
            raise DataError(
                f"{path}: {len(found)} colors are not in {self.where}.colors: {shown}{more}. Add "
                "them with their class (null: no label), or set unmapped: ignore."
            )
        return values[..., None], values >= 0

    def _numbers(self, stored: StoredPixels, path: AnyPath) -> np.ndarray:
        """Stored numbers ``(H, W, target_channels)``, whatever the form of the file."""
        encoding, channels = self.config.encoding, self.task.target_channels
        if stored.values.ndim == 2 and channels == 1 and encoding.order in (None, (0,)):
            raw = self._single_channel(stored, path)[..., None]
        else:
            raw = self._channels(stored)
        if raw.ndim != 3 or raw.shape[-1] != channels:
            shape = tuple(stored.values.shape)
            raise DataError(
                f"{path}: {stored.description}, stored as an array of shape {shape}, but "
                f"{self.task.kind} needs {channels} channel(s) in (H, W, C). {self._advice(stored)}"
            )
        return self._at_declared_range(raw, stored, path)

    def _channels(self, stored: StoredPixels) -> np.ndarray:
        """The channels that the task needs, or all, if it is not clear which ones."""
        encoding, channels = self.config.encoding, self.task.target_channels
        raw = stored.colors() if stored.palette is not None else stored.values
        if raw.ndim == 2:
            return raw[..., None]
        if encoding.layout == "chw":
            raw = raw.transpose(1, 2, 0)
        if encoding.order is not None:
            return raw[..., list(encoding.order)] if max(encoding.order) < raw.shape[-1] else raw
        if stored.alpha and bool((raw[..., -1] == stored.largest).all()):
            raw = raw[..., :-1]
        elif stored.alpha:
            return raw
        is_gray = stored.largest is not None and raw.shape[-1] == 3
        if channels == 1 and is_gray and bool((raw == raw[..., :1]).all()):
            raw = raw[..., :1]
        return raw

    def _advice(self, stored: StoredPixels) -> str:
        if stored.alpha and stored.values.shape[-1] - 1 in (1, 3):
            return (
                "Some of its pixels are transparent. Save it without opacity, or choose channels "
                f"with {self.where}.encoding.order."
            )
        if self._counts and stored.values.shape[-1] in (3, 4):
            return (
                f"If each color is a class, list them in {self.where}.colors ([128, 0, 0]: 1, "
                "...); if one channel holds the classes, choose it with encoding.order; if the "
                "channels come first, set encoding.layout: chw."
            )
        return f"Choose channels with {self.where}.encoding.order, or set encoding.layout: chw."

    def _single_channel(self, stored: StoredPixels, path: AnyPath) -> np.ndarray:
        """Stored numbers or gray levels ``(H, W)``: those that fit what is declared.

        PNG optimizers and editors store 0 and 255 as 0 and 1 of a 1-bit image, or as indices of a
        palette, if nothing else occurs. A number that is declared and does not occur as stored,
        but as a gray level, is therefore meant as a gray level.
        """
        wanted, positive = self.config.encoding.values, self.config.positive
        numbers = stored.values
        continuous = not self._counts and positive is None
        if wanted == "stored" or (continuous and stored.palette is None and wanted is None):
            return numbers
        levels = stored.gray_levels()
        if levels is None:
            if wanted == "shown" or (continuous and stored.palette is not None):
                raise DataError(
                    f"{path}: {stored.description} without gray levels from 0 to 255. Save the "
                    f"numbers of {self.task.kind} themselves, or set "
                    f"{self.where}.encoding.values: stored."
                )
            return numbers
        if wanted == "shown" or continuous:
            return levels
        if self._counts:
            return levels if not self._fits(numbers) and self._fits(levels) else numbers
        if positive is None or positive == "nonzero":
            if stored.palette is not None and ((numbers != 0) != (levels != 0)).any():
                raise DataError(
                    f"{path}: {stored.description} in which index 0 is not black, so it is not "
                    f"clear what is positive. Set {self.where}.encoding.values: stored (indices) "
                    "or shown (gray levels)."
                )
            return numbers
        only_shown = not np.isin(numbers, positive).any() and np.isin(levels, positive).any()
        return levels if only_shown else numbers

    def _fits(self, numbers: np.ndarray) -> bool:
        """Whether every number is declared as a class or ignored."""
        found = np.unique(numbers)
        if self.table is not None and self.config.unmapped == "ignore":
            return bool(np.isin(found, self.declared).any())
        ignored = [v for value in self.config.ignore for v in np.atleast_1d(np.asarray(value))]
        return bool(np.isin(found, [*self.declared, *ignored]).all())

    def _at_declared_range(
        self, raw: np.ndarray, stored: StoredPixels, path: AnyPath
    ) -> np.ndarray:
        """Continuous numbers in the range that the scale is meant for: 0 to 255, or to 65535.

        A scale of ``1/255`` or ``2/255`` says that 255 is the largest number. In a file of 16 bits
        it is 65535, in one of 1 bit it is 1.
        """
        encoding, kind = self.config.encoding, self.task.target_type
        largest = 255 if stored.palette is not None else stored.largest
        if self._counts or self.config.positive is not None or encoding.values == "stored":
            return raw
        if largest is None or encoding.values == "shown":
            return raw
        scales = np.atleast_1d(np.asarray(encoding.scale, dtype=np.float64))
        meant = [n for n in (255, 65535) if np.isclose(scales * n, (1, 2)[kind.is_direction]).all()]
        has_range = kind.is_direction or self._bounded
        if has_range and meant and largest != meant[0]:
            return raw.astype(np.float32) * np.float32(meant[0] / largest)
        if largest not in (1, 3, 15) or (meant and has_range) or not raw.any():
            return raw
        if has_range and largest == 1 and (scales == 1).all():
            return raw
        raise DataError(
            f"{path}: {stored.description} for {self.task.kind}. Set {self.where}.encoding.values: "
            f"stored (numbers from 0 to {largest}) or shown (gray levels from 0 to 255)."
        )

    def _meaning(
        self, raw: np.ndarray, valid: np.ndarray, stored: StoredPixels, path: AnyPath
    ) -> np.ndarray:
        """Stored numbers -> classes, 0/1 or units; marks unmapped pixels in ``valid``."""
        if self.table is not None:
            return self._mapped(raw, valid, stored, path)
        positive = self.config.positive
        if positive is not None:
            yes = raw != 0 if positive == "nonzero" else np.isin(raw, positive)
            return yes.astype(np.float32)
        encoding = self.config.encoding
        if raw.dtype.kind in "biu" and (encoding.scale, encoding.offset) == (1.0, 0.0):
            return raw.astype(np.int64 if self._counts else np.float32)
        scale = np.asarray(encoding.scale, dtype=np.float32)
        return raw.astype(np.float32) * scale + np.asarray(encoding.offset, dtype=np.float32)

    def _mapped(
        self, raw: np.ndarray, valid: np.ndarray, stored: StoredPixels, path: AnyPath
    ) -> np.ndarray:
        assert self.table is not None
        keys, meant = self.table
        with np.errstate(invalid="ignore"):  # NaN is not valid already
            whole = raw.astype(np.int64)
        place = (whole - keys[0]).clip(0, len(keys) - 1)
        if len(keys) != keys[-1] - keys[0] + 1:
            place = np.searchsorted(keys, whole).clip(0, len(keys) - 1)
        values = np.where((keys[place] == whole) & (raw == whole), meant[place], _UNKNOWN)
        unknown = ~_everywhere(values != _UNKNOWN) & valid
        if unknown.any() and self.config.unmapped == "error":
            found = np.unique(raw[unknown])[:_SHOWN].tolist()
            key = "classes" if self.config.map is None else "map"
            raise DataError(
                f"{path} ({stored.form}): the values {', '.join(f'{v:g}' for v in found)} are not "
                f"in {self.where}.{key}. Add them, list them in ignore, or set unmapped: ignore."
            )
        valid &= _everywhere(values >= 0)
        return values


def read_confidence(path: AnyPath, orientation: Orientation = "exif") -> np.ndarray:
    """Confidence of the labels of an image, ``(H, W)`` float32 in [0, 1].

    Args:
        path: A gray image, in which white is 1, or an array of floats in [0, 1].
        orientation: ``"exif"`` rotates images according to their EXIF tag.

    Raises:
        DataError: The file is broken, has colors, or has values outside [0, 1].
    """
    stored = read_stored(path, None, orientation)
    values, is_float = stored.values, stored.values.dtype.kind == "f"
    if values.ndim == 2 and stored.palette is None and (stored.largest or is_float):
        scaled = values.astype(np.float32) / np.float32(stored.largest or 1)
        if ((scaled >= 0) & (scaled <= 1)).all():
            return scaled
    raise DataError(
        f"{path}: {stored.description}, stored as an array of shape {values.shape}, but a "
        "confidence is a gray image, in which white is 1, or an array of floats from 0 to 1."
    )


_UNKNOWN, _NO_LABEL = -2, -1
_SMALL_TABLE = 2**16
_SHOWN = 10  # values or colors in a message


class _ColorTable:
    """Classes of colors, by a search in the sorted colors."""

    def __init__(self, colors: Mapping[Color, int | None]) -> None:
        ordered = sorted(colors)
        meant = [colors[color] for color in ordered]
        self._codes = _as_code(np.array(ordered, dtype=np.int64))
        self._meant = np.array([_NO_LABEL if m is None else m for m in meant], dtype=np.int64)

    def look_up(self, stored: StoredPixels) -> np.ndarray | None:
        """Class of each pixel ``(H, W)``; None if the file has no 8-bit colors."""
        codes = self._codes_of(stored)
        if codes is None:
            return None
        place = np.searchsorted(self._codes, codes).clip(0, len(self._codes) - 1)
        return np.where(self._codes[place] == codes, self._meant[place], _UNKNOWN)

    def colors_at(self, stored: StoredPixels, where: np.ndarray) -> list[tuple[Color, int]]:
        """Colors at some pixels and how often they occur, the most frequent first."""
        codes = self._codes_of(stored)
        assert codes is not None
        found, counts = np.unique(codes[where], return_counts=True)
        order = np.argsort(-counts, kind="stable")
        named = [(int(code) >> 16, int(code) >> 8 & 255, int(code) & 255) for code in found[order]]
        return list(zip(named, counts[order].tolist(), strict=True))

    def _codes_of(self, stored: StoredPixels) -> np.ndarray | None:
        colors = stored.colors()
        if stored.palette is None and stored.values.ndim == 2:
            levels = stored.gray_levels()
            return None if levels is None else _as_code(np.stack([levels] * 3, axis=-1))
        if stored.alpha:
            opaque = bool((colors[..., -1] == stored.largest).all())
            colors = colors[..., :-1] if opaque else colors
        if colors.shape[-1] == 1:
            colors = np.concatenate([colors] * 3, axis=-1)
        if colors.ndim != 3 or colors.shape[-1] != 3 or stored.largest not in (None, 255, 65535):
            return None
        if stored.palette is None and stored.largest == 65535:
            colors = colors // 257 if not (colors % 257).any() else np.full_like(colors, -1, int)
        whole = colors.astype(np.int64)
        inside = (whole == colors).all() and (whole >= 0).all() and (whole <= 255).all()
        return _as_code(whole) if inside else None


def _as_code(colors: np.ndarray) -> np.ndarray:
    red, green, blue = (colors[..., channel].astype(np.int64) for channel in range(3))
    return (red << 16) | (green << 8) | blue


def _lookup_table(
    mapping: Mapping[int, int | None] | None,
) -> tuple[np.ndarray, np.ndarray] | None:
    """Stored numbers in ascending order, and what they mean."""
    if mapping is None:
        return None
    keys = np.array(sorted(mapping), dtype=np.int64)
    if keys[-1] - keys[0] < _SMALL_TABLE:  # a table without gaps is faster than a search
        keys = np.arange(keys[0], keys[-1] + 1)
    found = (mapping.get(key, _UNKNOWN) for key in keys.tolist())
    return keys, np.array([_NO_LABEL if m is None else m for m in found], dtype=np.int64)


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
