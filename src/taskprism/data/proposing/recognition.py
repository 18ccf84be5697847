"""What a series of files is: photographs, or the labels of a task.

Names of folders are hints, the numbers in the files decide: vectors of unit length are normals,
16-bit and float maps are depths, thin lines of one value are edges, a few small integers are
classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from taskprism.data.files import ARRAYS, StoredPixels, is_hidden
from taskprism.data.proposing.series import SPLITS, Series, stored_map
from taskprism.errors import DataError, TaskprismError
from taskprism.text_files import read_json, read_names

_IMAGE_WORDS = (
    *("rgb", "image", "img", "photo", "picture", "color", "colour", "jpeg", "frame", "final"),
)
_LABEL_WORDS = (
    *("label", "mask", "seg", "ann", "gt", "depth", "disp", "normal", "edge", "bound", "contour"),
    *("class", "part", "albedo", "sal", "truth", "object", "instance", "_id"),
)
_MOST_CLASSES = 256
Track = Callable[[Iterable[Path], int], Iterable[Path]]


@dataclass(frozen=True)
class TaskProposal:
    """One task of a proposal.

    Attributes:
        name: Key below ``tasks``.
        keys: Its keys and values, as in the YAML.
        reason: What was found, and what was assumed.

    Example:
        >>> keys = {"path": "depth/{name}.png", "ignore": [0]}
        >>> TaskProposal("depth", keys, "8 files; assumed meters").name
        'depth'
    """

    name: str
    keys: dict[str, Any]
    reason: str


def ranked_images(series: Sequence[Series]) -> list[Series]:
    """The series that may be photographs, the most likely first."""

    def score(one: Series) -> float:
        points = 2.0 * any(word in one.word for word in _IMAGE_WORDS)
        points -= 2.0 * any(word in one.word for word in _LABEL_WORDS)
        endings = {path.suffix.lower() for path in one.some()}
        points += 2.0 * bool(endings & {".jpg", ".jpeg", ".webp"})
        if endings & set(ARRAYS):
            return -10.0
        shared = sum(name in other.files for other in series for name in one.files)
        points -= 3.0 * (shared <= len(one.files) and len(series) > 1)  # only its own names
        return points + _photo_likeness(one)

    scores = {one.pattern: (score(one), len(one.files)) for one in series}
    likely = [one for one in series if scores[one.pattern][0] >= 0]
    if not likely:
        raise DataError(
            f"None of {', '.join(one.pattern for one in series)} looks like photographs. A "
            "published data set may have a protocol already (`taskprism list protocols`); "
            "otherwise write the YAML by hand."
        )
    return sorted(likely, key=lambda one: scores[one.pattern], reverse=True)


def _photo_likeness(one: Series) -> float:
    """0 to 3: three channels, many colors, and neighbors that differ a little."""
    points = []
    for path in one.some()[:4]:
        stored = stored_map(path)
        if stored is None:
            continue
        values = stored.values
        channels = 1 if values.ndim == 2 else values.shape[-1]
        flat = values.reshape(-1, channels)
        sample = flat[:: max(len(flat) // 20_000, 1)]
        distinct = len(np.unique(sample, axis=0))
        is_normal = channels == 3 and _unit_share(values) > 0.8
        points.append((channels >= 3) + min(distinct / 1000, 1.0) + (not is_normal))
    return float(np.mean(points)) if points else -5.0


def _unit_share(values: np.ndarray) -> float:
    """Share of the vectors, coded in 8 or 16 bits or as floats, that are of about unit length."""
    if values.ndim != 3 or values.shape[-1] != 3 or min(values.shape[:2]) < 2:
        return 0.0
    vectors = values[:: max(values.shape[0] // 128, 1), :: max(values.shape[1] // 128, 1)]
    vectors = vectors.reshape(-1, 3).astype(np.float64)
    vectors = vectors[(vectors != 0).any(axis=1)]
    if not len(vectors):
        return 0.0
    if values.dtype.kind in "ui":
        vectors = vectors * (2 / np.iinfo(values.dtype).max) - 1
    length = np.linalg.norm(vectors, axis=1)
    return float((np.abs(length - 1) < 0.1).mean())


def propose_task(one: Series, root: Path, track: Track | None) -> TaskProposal | str:
    """The task that a series of files labels, or why it is none."""
    maps = [stored for path in one.some() if (stored := stored_map(path)) is not None]
    if not maps:
        return "none of the files opened could be read as an image or a single array"
    arrays = [_squeezed(stored.values) for stored in maps]
    if len({array.ndim for array in arrays}) > 1:
        return "some files have one channel and some several"
    base = {"path": one.pattern}
    if arrays[0].ndim == 3:
        return _propose_vectors(one, base, maps, arrays)
    is_float = arrays[0].dtype.kind == "f"
    values = np.unique(np.concatenate([np.unique(array) for array in arrays]))
    values = values[np.isfinite(values)] if is_float else values
    if not values.size:
        return "there are no finite numbers in it"
    if "instance" in one.word:
        return "numbers of instances are not classes"
    is_depth = any(word in one.word for word in ("depth", "disp", "range"))
    whole = bool((values == np.round(values)).all())
    if is_depth or not whole or len(values) > _MOST_CLASSES or values.max() > 4095:
        return _propose_distance(one, base, arrays, values)
    if any(stored.lossy for stored in maps):
        return "class maps and masks in JPEG have numbers that compression has changed"
    if _is_soft_mask(arrays) or ("sal" in one.word and values.max() > 32 and len(values) > 2):
        soft: dict[str, Any] = {"encoding": {"scale": "1/255"}, "options": {"soft": True}}
        keys = {**base, "kind": "saliency", **soft}
        return TaskProposal("saliency", keys, f"{len(one.files)} masks with soft borders")
    every = list(one.files.values())
    for path in track(every, len(every)) if track is not None else every:
        stored = stored_map(path)
        if stored is not None:
            values = np.union1d(values, _squeezed(stored.values))
    if len(values) > _MOST_CLASSES or (values != np.round(values)).any():
        return f"{len(values)} different numbers are too many for classes"
    return _propose_classes(one, base, arrays, values.astype(np.int64), root)


def _squeezed(values: np.ndarray) -> np.ndarray:
    """Without a channel axis of length 1, opacity, or three equal channels."""
    if values.ndim == 3 and values.shape[-1] in (2, 4):
        values = values[..., :-1]
    if values.ndim == 3 and values.shape[-1] == 1:
        return values[..., 0]
    return values


def _propose_vectors(
    one: Series, base: dict[str, Any], maps: list[StoredPixels], arrays: list[np.ndarray]
) -> TaskProposal | str:
    """Normals, albedo, gray values in three channels, or classes as colors."""
    if arrays[0].shape[-1] != 3:
        return f"the files have {arrays[0].shape[-1]} channels"
    if np.mean([_unit_share(array) for array in arrays]) > 0.8:
        return _propose_normals(base, arrays)
    if "albedo" in one.word or "reflect" in one.word:
        keys = {**base, "encoding": {"scale": "1/255"}, "kind": "albedo"}
        return TaskProposal("albedo", keys, f"{len(one.files)} files; assumed sRGB")
    colors = np.unique(
        np.concatenate([np.unique(a.reshape(-1, 3), axis=0) for a in arrays]), axis=0
    )
    if len(colors) > _MOST_CLASSES:
        return "three channels with many colors, and not of unit length"
    if any(stored.lossy for stored in maps):
        return "colors of classes in JPEG are changed by compression"
    table = {"#" + bytes(color).hex(): i for i, color in enumerate(colors.astype(np.uint8))}
    keys = {**base, "kind": "semseg", "classes": [f"class_{i}" for i in range(len(colors))]}
    reason = (
        f"{len(one.files)} files with classes as {len(colors)} colors; name the classes, and give "
        "null for a color without a label"
    )
    return TaskProposal("semseg", {**keys, "colors": table}, reason)


def _propose_normals(base: dict[str, Any], arrays: list[np.ndarray]) -> TaskProposal:
    dtype = arrays[0].dtype
    coded = [array.reshape(-1, 3).astype(np.float64) for array in arrays]
    keys: dict[str, Any] = {**base, "kind": "normals"}
    encoding: dict[str, Any] = {}
    if dtype.kind in "ui":
        encoding = {"scale": f"2/{np.iinfo(dtype).max}", "offset": -1}
    if any((each == 0).all(axis=1).any() for each in coded):
        keys["ignore"] = [[0, 0, 0]]
    used = np.concatenate([each[(each != 0).any(axis=1)] for each in coded])
    if dtype.kind in "ui":
        used = used * (2 / np.iinfo(dtype).max) - 1
    toward = used[:, 2].mean() > 0
    encoding["axes"] = ["right", "up" if toward else "down", "toward" if toward else "forward"]
    keys["encoding"] = encoding
    assumed = "up, because z points toward the camera" if toward else "down, because z is forward"
    reason = f"vectors of unit length; y was assumed to point {assumed}"
    return TaskProposal("normals", keys, reason)


def _propose_distance(
    one: Series, base: dict[str, Any], arrays: list[np.ndarray], values: np.ndarray
) -> TaskProposal | str:
    if values.min() < 0:
        return "negative numbers are neither a depth nor classes"
    is_disparity = "disp" in one.word
    kind = "disparity" if is_disparity else "depth"
    keys: dict[str, Any] = {**base, "kind": kind}
    finite = np.concatenate([array[np.isfinite(array)].ravel()[::17] for array in arrays])
    median = float(np.median(finite[finite > 0])) if (finite > 0).any() else 1.0
    scale: str | float | None = None
    if not is_disparity and median > 100:
        scale = 0.001
    elif not is_disparity and arrays[0].dtype == np.uint8:
        return "an 8-bit map of many gray levels has no known unit"
    if scale is not None:
        keys["encoding"] = {"scale": scale}
    ignored = [0] if values.min() == 0 else []
    if arrays[0].dtype == np.uint16 and values.max() == 65535:
        ignored.append(65535)
    if ignored:
        keys["ignore"] = ignored
    unit = "pixels" if is_disparity else "millimeters" if scale else "meters"
    reason = f"{len(one.files)} files, median {median:.4g}; assumed {unit}"
    if ignored:
        reason += f", and that {' and '.join(map(str, ignored))} means 'not measured'"
    return TaskProposal(kind, keys, reason)


def _propose_classes(
    one: Series,
    base: dict[str, Any],
    arrays: list[np.ndarray],
    values: np.ndarray,
    root: Path,
) -> TaskProposal | str:
    """Edges, a mask, or class indices."""
    if values.min() < 0:
        return "negative numbers are neither a depth nor classes"
    white = int(values.max())
    ignored = [255] if white == 255 and not np.isin(values, (0, 255)).all() else []
    ids = [int(value) for value in values if value not in ignored]
    ignore: dict[str, Any] = {"ignore": ignored} if ignored else {}
    if len(ids) <= 2:
        positive = max(ids)
        thin = _thin_share([(array == positive) for array in arrays]) > 0.9
        is_edge = any(word in one.word for word in ("edge", "bound", "contour"))
        if positive > 0 and (thin or is_edge):
            keys = {**base, "kind": "edge", "positive": [positive], **ignore}
            return TaskProposal("edge", keys, f"{len(one.files)} files; thin lines of {positive}")
        is_classes = any(word in one.word for word in ("seg", "label", "class"))
        if positive not in (0, 1) or (not ignored and not is_classes):
            keys = {**base, "kind": "saliency", "positive": [positive] if positive else "nonzero"}
            reason = f"{len(one.files)} masks of {' and '.join(map(str, ids))}"
            return TaskProposal("saliency", keys | ignore, reason)
    keys = {**base, "kind": "semseg", **_classes(ids, root), **ignore}
    reason = f"{len(one.files)} files with {len(ids)} values from {min(ids)} to {max(ids)}"
    if ignored:
        reason += "; assumed that 255 means 'no label'"
    return TaskProposal("semseg", keys, reason)


def _classes(ids: list[int], root: Path) -> dict[str, Any]:
    """The keys ``classes`` and ``map``: from a file of names if one has as many."""
    count = max(ids) + 1
    if len(ids) * 4 < count and count > 8:  # large gaps, such as 0, 40, 80
        names = [f"class_{number}" for number in ids]
        return {"classes": names, "map": {number: index for index, number in enumerate(ids)}}
    source = _names_file(root, count)
    return {"classes": source if source is not None else count}


def _names_file(root: Path, count: int) -> str | None:
    """File of at least ``count`` class names at the top of the folder: ``FILE`` or ``FILE#KEY``."""
    for path in sorted(root.iterdir()):
        if is_hidden(path.name) or not path.is_file() or path.stem.lower() in SPLITS:
            continue
        try:
            if path.suffix.lower() == ".json":
                content = read_json(path)
                named = {"": content} | (content if isinstance(content, dict) else {})
                for key, names in named.items():
                    if isinstance(names, list) and len(names) == count and _are_names(names):
                        return f"{path.name}#{key}" if key else path.name
            elif path.suffix.lower() in (".txt", ".names"):
                names = read_names(path)
                if len(names) == count and not any(name.isdecimal() for name in names):
                    return path.name
        except TaskprismError:
            continue
    return None


def _are_names(names: list[Any]) -> bool:
    return all(isinstance(name, str) and name for name in names)


def _is_soft_mask(arrays: list[np.ndarray]) -> bool:
    """Whether almost all pixels are 0 or 255, and the others are gray levels between."""
    flat = np.concatenate([array.astype(np.int64).ravel().clip(0, 256) for array in arrays])
    counts = np.bincount(flat, minlength=257)
    between = counts[1:255].sum()
    if min(counts[0], counts[255]) < 0.01 * counts.sum() or counts[256] or not between:
        return False
    # Class ids next to an ignored 255 are small numbers.
    return bool(between < 0.1 * counts.sum() and counts[32:255].sum() > 0.5 * between)


def _thin_share(masks: list[np.ndarray]) -> float:
    """Share of the positive pixels that no 3 x 3 square of positives contains."""
    positive = sum(int(mask.sum()) for mask in masks)
    thick = sum(
        int(ndimage.binary_opening(mask, structure=np.ones((3, 3))).sum()) for mask in masks
    )
    covered = positive / max(sum(mask.size for mask in masks), 1)
    return 1 - thick / positive if positive and covered < 0.3 else 0.0
