"""The data YAML that is proposed, with a comment at every assumption."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from taskprism.data.files import ENDINGS, is_hidden
from taskprism.data.proposing.recognition import TaskProposal, Track, propose_task, ranked_images
from taskprism.data.proposing.series import SPLITS, Series, find_series, split_of, stored_map
from taskprism.data.protocol import Split
from taskprism.errors import DataError, TaskprismError
from taskprism.text_files import read_names


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
    series = find_series(root)
    if not series:
        raise DataError(
            f"{root} contains no image (no file ending in {', '.join(ENDINGS)}). Give the folder "
            "that holds images and labels."
        )
    candidates = ranked_images(series)
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
        proposed = propose_task(one, root, track)
        if isinstance(proposed, str):
            left_out.append(f"{count}: {proposed}")
        else:
            tasks.append(proposed)
    return _unique_names(tasks), left_out


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
    sizes = [s.values.shape[:2] for path in images.some() if (s := stored_map(path)) is not None]
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
        found = (split_of(part) for part in name.split("/")[:-1])
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
        split = SPLITS.get(path.stem.lower())
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
