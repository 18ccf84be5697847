"""Propose the data YAML of a folder: which files are images, and what the others label.

Names of folders are hints, the numbers in the files decide: vectors of unit length are normals,
16-bit and float maps are depths, thin lines of one value are edges, a few small integers are
classes. Every assumption becomes a comment in the YAML.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
from scipy import ndimage

from taskprism.data.files import ARRAYS, ENDINGS, StoredPixels, is_hidden, read_stored
from taskprism.data.protocol import Split
from taskprism.errors import DataError, TaskprismError
from taskprism.text_files import read_json, read_names

_WORDS_OF_SPLITS: dict[Split, tuple[str, ...]] = {
    "train": ("train", "training", "trainset"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing", "testset"),
}
_SPLITS = {word: split for split, words in _WORDS_OF_SPLITS.items() for word in words}
_IMAGE_WORDS = (
    *("rgb", "image", "img", "photo", "picture", "color", "colour", "jpeg", "frame", "final"),
)
_LABEL_WORDS = (
    *("label", "mask", "seg", "ann", "gt", "depth", "disp", "normal", "edge", "bound", "contour"),
    *("class", "part", "albedo", "sal", "truth", "object", "instance", "_id"),
)
_OPENED = 12  # files of a series whose numbers are looked at
_MOST_FILES = 500_000
_MOST_CLASSES = 256


@dataclass
class Series:
    """Files of one kind: the images, or the labels of one task.

    Attributes:
        pattern: Pattern with placeholders, such as ``rgb/{name}.jpg``.
        files: Name of the sample -> file.
    """

    pattern: str
    files: dict[str, Path] = field(default_factory=dict)

    @property
    def word(self) -> str:
        """Folder and rest of the file name in lower case, to look for hints."""
        return re.sub(r"\{\w+\}", "", self.pattern).rpartition(".")[0].lower()

    def some(self) -> list[Path]:
        """Some of the files, evenly spaced."""
        files = [self.files[name] for name in sorted(self.files)]
        step = max(len(files) // _OPENED, 1)
        return files[::step][:_OPENED]


@dataclass(frozen=True)
class TaskProposal:
    """One task of a proposal.

    Attributes:
        name: Key below ``tasks``.
        keys: Its keys and values, as in the YAML.
        reason: What was found, and what was assumed.
    """

    name: str
    keys: dict[str, Any]
    reason: str


@dataclass(frozen=True)
class Proposal:
    """A proposed data YAML.

    Attributes:
        name: Of the protocol.
        image: Pattern of the images.
        input_size: ``(H, W)``.
        splits: Split -> source, as in the YAML.
        tasks: The tasks.
        comments: Key -> what was assumed.
        left_out: Patterns that are neither images nor labels, with the reason.
    """

    name: str
    image: str
    input_size: tuple[int, int]
    splits: dict[Split, Any]
    tasks: Sequence[TaskProposal]
    comments: dict[str, str]
    left_out: Sequence[str]

    def to_yaml(self, root: str) -> str:
        """The YAML text, with a comment at every assumption.

        Args:
            root: Value of the key ``root``.
        """
        lines = [
            "# Proposed by `taskprism data init`. Read the comments and correct what is wrong.",
            f"name: {_plain(self.name)}",
            f"root: {_plain(root)}",
            'license: ""  # fill in the terms of the images and labels',
            f"image: {_plain(self.image)}  # {self.comments['image']}",
            f"input_size: [{self.input_size[0]}, {self.input_size[1]}]"
            f"  # height, width; {self.comments['input_size']}",
            f"splits:  # {self.comments['splits']}",
        ]
        lines += [f"  {split}: {_plain(source)}" for split, source in self.splits.items()]
        lines.append("tasks:")
        for task in self.tasks:
            lines.append(f"  {task.name}:  # {task.reason}")
            lines += [f"    {key}: {_plain(value)}" for key, value in task.keys.items()]
        lines += [f"# Left out: {text}" for text in self.left_out]
        return "\n".join(lines) + "\n"


Track = Callable[[Iterable[Path], int], Iterable[Path]]


def propose(folder: str | Path, track: Track | None = None) -> Proposal:
    """Look at the files of a folder and propose its data YAML.

    A few files of each kind are opened, and all class maps and masks, to find every class.

    Args:
        folder: Folder with images and labels.
        track: Wraps the files that are opened, with their number, to show progress.

    Raises:
        DataError: It is not a folder, or has no images, or no labels for them.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"{root} is not a folder.")
    series = _find_series(root)
    if not series:
        raise DataError(
            f"{root} contains no image (no file ending in {', '.join(ENDINGS)}). Give the folder "
            "that holds images and labels."
        )
    candidates = _ranked_images(series)
    images = candidates[0]
    tasks, left_out = _propose_tasks(images, series, root, track)
    for other in candidates[1:3]:
        if not tasks and (proposed := _propose_tasks(other, series, root, track))[0]:
            images, (tasks, left_out) = other, proposed
    if not tasks:
        reasons = "; ".join(left_out) or "there are no other image or array files"
        raise DataError(
            f"{root} has {len(images.files)} images ({images.pattern}), but no labels were "
            f"recognized: {reasons}. Labels must have the names of their images."
        )
    labeled = {
        name for one in series if one is not images for name in one.files if name in images.files
    }
    size, size_comment = _input_size(images)
    splits, split_comment = _propose_splits(root, images, labeled)
    comments = {
        "image": f"{len(images.files)} images",
        "input_size": size_comment,
        "splits": split_comment,
    }
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", root.resolve().name).strip("_-") or "my_data"
    return Proposal(name, images.pattern, size, splits, tasks, comments, left_out)


def _propose_tasks(
    images: Series, series: Sequence[Series], root: Path, track: Track | None
) -> tuple[list[TaskProposal], list[str]]:
    """Tasks whose labels have names of the images, and the files that are left out."""
    tasks: list[TaskProposal] = []
    left_out: list[str] = []
    for one in series:
        if one is images:
            continue
        count = f"{one.pattern} ({len(one.files)} files)"
        if not images.files.keys() & one.files.keys():
            left_out.append(f"{count}: no name fits an image")
            continue
        proposed = _propose_task(one, root, track)
        if isinstance(proposed, str):
            left_out.append(f"{count}: {proposed}")
        else:
            tasks.append(proposed)
    return _unique_names(tasks), left_out


def _plain(value: Any) -> str:
    """A value as flow-style YAML; JSON is a part of it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(k)}: {_plain(v)}" for k, v in value.items()) + "}"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(_plain, value)) + "]"
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z_][\w./-]*", value):
        words = ("null", "true", "false", "yes", "no", "on", "off", "y", "n")
        return value if value.lower() not in words else json.dumps(value)
    return json.dumps(value, ensure_ascii=False)


def _key(key: Any) -> str:
    return str(key) if isinstance(key, int) else _plain(key)


def _find_series(root: Path) -> list[Series]:
    """Group files by pattern; the decomposition under which most names are shared wins."""
    files = list(_files(root))
    common = _common_folders(files)
    depth = max((len(file.parts) for file in files), default=1) - 1
    best: list[Series] = []
    most = -1
    for is_split in (_names_split, _ends_with_split):
        for level in range(common, max(depth, common + 1)):
            series = _grouped(root, files, common, level, is_split)
            counts = Counter(name for one in series for name in one.files)
            shared = sum(1 for count in counts.values() if count > 1)
            if shared > most:
                best, most = series, shared
    return sorted(best, key=lambda one: one.pattern)


def _common_folders(files: Sequence[PurePosixPath]) -> int:
    """Number of folders, from the top, that all files share and that contain folders only."""
    folders = {file.parts[:-1] for file in files}
    common = 0
    while folders and all(len(parts) > common + 1 for parts in folders):
        if len({parts[common] for parts in folders}) > 1:
            break
        common += 1
    return common


def _names_split(folder: str) -> bool:
    return folder.lower() in _SPLITS


def _ends_with_split(folder: str) -> bool:
    """``gta_train`` is a folder of a split as well, if that makes more names fit."""
    return _split_of(folder) is not None


def _split_of(folder: str) -> Split | None:
    return _SPLITS.get(re.split(r"[_-]", folder.lower())[-1])


def _files(root: Path) -> Iterator[PurePosixPath]:
    """Visible image and array files, relative to ``root``."""
    found = 0
    for folder, folders, names in os.walk(root, followlinks=True):
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        if len(Path(folder).relative_to(root).parts) > 8:
            folders.clear()  # deeper than any data set, or a link that leads to a parent
        for name in sorted(names):
            if is_hidden(name) or Path(name).suffix.lower() not in (*ENDINGS, *ARRAYS):
                continue
            found += 1
            if found > _MOST_FILES:
                raise DataError(
                    f"{root} has more than {_MOST_FILES} files. Write its YAML by hand."
                )
            yield PurePosixPath((Path(folder) / name).relative_to(root).as_posix())


def _grouped(
    root: Path,
    files: Sequence[PurePosixPath],
    common: int,
    level: int,
    is_split: Callable[[str], bool],
) -> list[Series]:
    """Series for which the folder at ``level`` says what the files are.

    All files share the first ``common`` folders.
    """
    prefix = "".join(f"{part}/" for part in files[0].parts[:common]) if files else ""
    folders: dict[tuple[str, bool, str], list[tuple[str, str, PurePosixPath]]] = defaultdict(list)
    for file in files:
        parts = file.parts[:-1]
        before, role, after = parts[common:level], parts[level : level + 1], parts[level + 1 :]
        if role and is_split(role[0]):  # says where a file belongs, not what it is
            before, role, after = (), (), parts[common:]
        if before and after:
            continue  # a pattern has one variable part before or after the folder
        is_array = file.suffix.lower() in ARRAYS
        key = (role[0] if role else "", bool(before), "array" if is_array else "image")
        folders[key].append(("/".join(before or after), file.stem, file))
    series = []
    for (role, is_before, _), members in sorted(folders.items()):
        for tail, group in _by_tail(members).items():
            endings = Counter(file.suffix for _, _, file in group)
            ending = endings.most_common(1)[0][0] if len(endings) == 1 else ".*"
            stem = "{stem}" if is_before else "{name}"
            pattern = f"{role}/{stem}{tail}{ending}" if role else f"{stem}{tail}{ending}"
            one = Series(prefix + (f"{{folder}}/{pattern}" if is_before else pattern))
            for folder, name, file in group:
                short = name.removesuffix(tail) if tail else name
                one.files[f"{folder}/{short}" if folder else short] = root / file
            series.append(one)
    return series


def _by_tail(
    members: Sequence[tuple[str, str, PurePosixPath]],
) -> dict[str, list[tuple[str, str, PurePosixPath]]]:
    """Split files of one folder by the end of their names, if that says what they are.

    ``0001_rgb, 0001_depth`` has the ends ``_rgb`` and ``_depth``; ``kitchen_0001`` has none.
    """
    groups: dict[str, _Members] = defaultdict(list)
    for member in members:
        found = re.fullmatch(rf".+?({_TOKEN.pattern})", member[1])
        groups[found[1] if found else ""].append(member)
    groups = dict(_extended(tail, group) for tail, group in groups.items())
    if len(groups) == 1:
        return groups
    # Ends are roles only if the same names occur with several of them.
    counts = Counter(
        (folder, stem.removesuffix(tail))
        for tail, group in groups.items()
        for folder, stem, _ in group
    )
    if sum(count > 1 for count in counts.values()) * 2 < len(counts):
        return {"": list(members)}
    return groups


_TOKEN = re.compile(r"[_\-.][A-Za-z][A-Za-z0-9]*")
_Members = list[tuple[str, str, PurePosixPath]]


def _extended(tail: str, group: _Members) -> tuple[str, _Members]:
    """The end with the parts before it that all names share: ``_gtFine_labelIds``."""
    while tail and len(group) > 1:
        before = {stem.removesuffix(tail) for _, stem, _ in group}
        tokens = [re.search(rf"{_TOKEN.pattern}$", stem) for stem in before]
        shared = {found[0] for found in tokens if found is not None}
        if None in tokens or len(shared) != 1 or any(s in shared for s in before):
            break
        tail = shared.pop() + tail
    return tail, group


def _ranked_images(series: Sequence[Series]) -> list[Series]:
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
        stored = _stored(path)
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


def _stored(path: Path) -> StoredPixels | None:
    """The numbers of a file; None if it cannot be read or does not hold one map of numbers."""
    try:
        stored = read_stored(path)
    except TaskprismError:
        return None
    is_map = stored.values.ndim in (2, 3) and stored.values.dtype.kind in "biuf"
    return stored if is_map and stored.values.size else None


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


def _propose_task(one: Series, root: Path, track: Track | None) -> TaskProposal | str:
    """The task that a series of files labels, or why it is none."""
    maps = [stored for path in one.some() if (stored := _stored(path)) is not None]
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
        stored = _stored(path)
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
        if is_hidden(path.name) or not path.is_file() or path.stem.lower() in _SPLITS:
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


def _unique_names(tasks: list[TaskProposal]) -> list[TaskProposal]:
    """Tasks with different names: the second of a kind is named after its folder."""
    seen: dict[str, int] = Counter()
    unique = []
    for task in tasks:
        name = task.name
        if seen[name]:
            words = re.findall(r"[A-Za-z][A-Za-z0-9]*", re.sub(r"\{\w+\}", "", task.keys["path"]))
            own = words[0].lower() if words else name
            name = own if own not in seen else f"{task.name}_{seen[task.name] + 1}"
        seen[task.name] += 1
        seen[name] += name != task.name
        keys = dict(task.keys)
        if keys.get("kind") == name:
            del keys["kind"]
        unique.append(TaskProposal(name, keys, task.reason))
    return unique


def _input_size(images: Series) -> tuple[tuple[int, int], str]:
    """Median size, with the longer side at most 512, in multiples of 32."""
    sizes = [s.values.shape[:2] for path in images.some() if (s := _stored(path)) is not None]
    if not sizes:
        raise DataError(f"None of the images {images.pattern} that were opened can be read.")
    height, width = (float(np.median(side)) for side in zip(*sizes, strict=True))
    factor = min(1.0, 512 / max(height, width))
    size = tuple(max(round(side * factor / 32), 1) * 32 for side in (height, width))
    kinds = "all" if len(set(sizes)) == 1 else "the median of"
    comment = f"{kinds} opened images: {height:.0f} x {width:.0f}; multiples of 32, at most 512"
    return (size[0], size[1]), comment


def _propose_splits(root: Path, images: Series, labeled: set[str]) -> tuple[dict[Split, Any], str]:
    """Lists of names, folders named after splits, or fractions."""
    listed = _listed_splits(root, images)
    if "train" in listed:
        return _ordered(listed), "lists of names"
    folders: dict[Split, list[str]] = defaultdict(list)
    unlabeled: set[Split] = set()
    for name in images.files:
        found = (_split_of(part) for part in name.split("/")[:-1])
        split = next((each for each in found if each is not None), None)
        if split is not None:
            folders[split].append(name)
    for split, names in list(folders.items()):
        if not labeled & set(names):
            unlabeled.add(split)
            del folders[split]
    if "train" in folders and len(folders) > 1:
        globs = {split: {"glob": _glob_of(images, names)} for split, names in folders.items()}
        comment = "folders"
        if unlabeled:
            comment += f"; {', '.join(unlabeled)} is left out, because it has no labels"
        return _ordered(globs), comment
    count = len(images.files)
    if count < 2:
        raise DataError(f"{root} has {count} labeled image; training and test need at least two.")
    if count < 5:
        return {"train": 0.5, "test": 0.5}, "random halves of the few images"
    if count >= 50:
        return {"train": 0.8, "val": 0.1, "test": 0.1}, "random fractions of all images"
    return {"train": 0.8, "test": 0.2}, "random fractions of all images"


def _ordered(splits: dict[Split, Any]) -> dict[Split, Any]:
    order: tuple[Literal["train", "val", "test"], ...] = ("train", "val", "test")
    return {split: splits[split] for split in order if split in splits}


def _listed_splits(root: Path, images: Series) -> dict[Split, Any]:
    """Text files named after splits whose lines are names of images."""
    found: dict[Split, Any] = {}
    # A list may give names with folder and ending; the reader takes these off.
    accepted = set(images.files)
    for name, path in images.files.items():
        accepted |= {name + path.suffix, path.relative_to(root).as_posix()}
    for path in sorted(root.rglob("*.txt"), key=lambda path: (len(path.parts), str(path))):
        split = _SPLITS.get(path.stem.lower())
        if split is None or split in found or is_hidden(path.name):
            continue
        try:
            names = read_names(path)
        except TaskprismError:
            continue
        known = [name for name in names if name in accepted]
        if names and len(known) == len(names):
            found[split] = path.relative_to(root).as_posix()
    return found


def _glob_of(images: Series, names: list[str]) -> str:
    """Glob for the images of a split, which lie below one folder."""
    folder, _, _ = names[0].partition("/")
    depth = max(name.count("/") for name in names)
    ending = "*" + (Path(images.pattern).suffix if not images.pattern.endswith(".*") else ".*")
    below = "**/" if depth > 1 else ""
    if images.pattern.startswith("{folder}"):
        middle = images.pattern.removeprefix("{folder}/").rpartition("/")[0]
        return f"{folder}/{middle}/{ending}" if not below else f"{folder}/**/{middle}/{ending}"
    before = images.pattern.partition("{name}")[0]
    return f"{before}{folder}/{below}{ending}"
