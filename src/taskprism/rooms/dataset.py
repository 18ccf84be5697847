"""A data set of rooms, with a cache on disk."""

from __future__ import annotations

import dataclasses
import os
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors

from taskprism.checks import check_choice, check_integer
from taskprism.data.protocol import Transform
from taskprism.data.sample import Sample
from taskprism.errors import DataError, InputError
from taskprism.rooms.labels import RoomImage
from taskprism.rooms.render import GENERATOR_VERSION, check_image_size, render_room
from taskprism.tasks import (
    AlbedoMap,
    ClassMap,
    DenseTarget,
    DepthMap,
    DisparityMap,
    EdgeMap,
    NormalMap,
    SaliencyMap,
    ValidMask,
)

_FIELDS = [f.name for f in dataclasses.fields(RoomImage)]


def check_root(owner: str, option: str, root: object) -> None:
    """Raise :class:`InputError` if ``root`` cannot be the folder of rendered rooms.

    The folder need not exist.

    Example:
        >>> from taskprism.rooms.dataset import check_root
        >>> check_root("Rooms", "cache", 5)
        Traceback (most recent call last):
        taskprism.errors.InputError: Rooms: cache must be the path of a folder, got 5.
    """
    if not isinstance(root, str | Path) or "\0" in str(root):
        raise InputError(f"{owner}: {option} must be the path of a folder, got {root!r}.")
    if Path(root).is_file():
        raise InputError(f"{owner}: {option} must be a folder, but {root} is a file.")


class RoomCache:
    """Renders rooms of one size and stores them in a folder.

    The generator's version and the size are part of the folder's name, so that rooms of another
    version are never read. Files are written under a temporary name and then renamed, so several
    processes can share a folder. A damaged file is replaced.

    Args:
        root: Folder in which the cache creates a subfolder.
        size: ``(H, W)`` in pixels.

    Raises:
        InputError: The root is not a path, or it is a file.

    Example:
        >>> from taskprism.rooms.dataset import RoomCache
        >>> RoomCache("cache", (48, 64)).path(5).as_posix()
        'cache/rooms_v1_48x64/5.npz'
    """

    def __init__(self, root: str | Path, size: tuple[int, int]) -> None:
        check_root("Rooms", "cache", root)
        self.size = size
        self.folder = Path(root) / f"rooms_v{GENERATOR_VERSION}_{size[0]}x{size[1]}"

    def path(self, seed: int) -> Path:
        """File of the room of a seed; it need not exist."""
        return self.folder / f"{seed}.npz"

    def room(self, seed: int) -> RoomImage:
        """Read the room of a seed from its file, or render and store it.

        Raises:
            DataError: The file cannot be written.
        """
        path = self.path(seed)
        room = _read(path, self.size)
        if room is None:
            room = render_room(seed, self.size)
            self._write(path, room)
        return room

    def _write(self, path: Path, room: RoomImage) -> None:
        arrays = {name: getattr(room, name) for name in _FIELDS}
        arrays = {name: value for name, value in arrays.items() if value is not None}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=path.stem, suffix=".part", dir=self.folder)
            try:
                with os.fdopen(handle, "wb") as file:
                    np.savez_compressed(file, **arrays)
                Path(name).replace(path)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
        except OSError as error:
            raise DataError(
                f"Cannot store a room in {path}: {error.strerror or error}. Free space there, "
                "choose another folder, or omit the folder to render the rooms every time."
            ) from error


def _read(path: Path, size: tuple[int, int]) -> RoomImage | None:
    """Room in a file; None if the file is missing or damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        room = RoomImage(
            **{name: arrays.get(name) for name in _FIELDS if name != "focal"},  # type: ignore[arg-type]
            focal=float(arrays["focal"]),
        )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return room if room.image.shape[:2] == size else None


#: Task -> type of its label map, and function that returns the label of a room (None: no label).
LABELS: dict[str, tuple[type[DenseTarget], Callable[[RoomImage], np.ndarray | None]]] = {
    "semseg": (ClassMap, lambda room: room.semseg),
    "depth": (DepthMap, lambda room: room.depth),
    "normals": (NormalMap, lambda room: room.normals),
    "edge": (EdgeMap, lambda room: room.edge),
    "saliency": (SaliencyMap, lambda room: room.saliency),
    "human_parts": (ClassMap, lambda room: room.human_parts),
    "albedo": (AlbedoMap, lambda room: room.albedo),
    "disparity": (DisparityMap, lambda room: room.disparity),
}

LONGEST = 10_000_000
"""Largest number of rooms in a data set."""
LARGEST_SEED = 2**65
"""Largest seed of a data set."""


def scene_seed(seed: int, index: int) -> int:
    """Seed of room ``index`` in the data set of a seed.

    No two pairs have the same one. The renderer hashes it with
    :class:`numpy.random.SeedSequence`, so the rooms of neighboring seeds are independent.

    Example:
        >>> from taskprism.rooms import scene_seed
        >>> scene_seed(0, 5), scene_seed(1, 0)
        (5, 4294967296)
    """
    return (seed << 32) + index


class Rooms(Dataset[Sample]):
    """A data set of rooms, which are rendered when you index it.

    Labels are valid at every pixel, except albedo on surfaces that emit light (lamps that are
    on, windows). A sample lacks ``human_parts`` if no mannequin is in view, and
    ``saliency`` if nothing is salient.

    Args:
        length: Number of rooms, from 1 to 10 million.
        seed: From 0 to ``LARGEST_SEED``. Data sets of different seeds share no room.
        size: ``(H, W)`` in pixels, each from 8 to 4096.
        transform: Runs last.
        cache: Folder that stores rendered rooms; None renders a room every time it is indexed.
        tasks: Names of the tasks to label; all by default.

    Raises:
        InputError: The length, seed, size or cache has the wrong type or is out of range.
        UnknownNameError: A task name is unknown.

    Example:
        >>> from taskprism.rooms import Rooms
        >>> sample = Rooms(length=2, size=(48, 64), tasks=["depth"])[0]
        >>> tuple(sample["image"].shape), tuple(sample["targets"]["depth"].shape)
        ((3, 48, 64), (1, 48, 64))
    """

    def __init__(
        self,
        length: int,
        seed: int = 0,
        size: tuple[int, int] = (96, 128),
        transform: Transform | None = None,
        cache: str | Path | None = None,
        tasks: Sequence[str] | None = None,
    ) -> None:
        self.length = check_integer("Rooms", "length", length, 1, LONGEST)
        self.seed = check_integer("Rooms", "seed", seed, 0, LARGEST_SEED)
        self.size = check_image_size("Rooms", "size", size)
        self.transform = transform
        self.tasks = _check_tasks(tasks)
        self.cache = None if cache is None else RoomCache(cache, self.size)

    def __len__(self) -> int:
        return self.length

    def room(self, index: int) -> RoomImage:
        """Image and all labels of a room, as arrays."""
        if not 0 <= index < self.length:
            raise IndexError(f"Index {index} is out of range for {self.length} rooms.")
        seed = scene_seed(self.seed, index)
        return render_room(seed, self.size) if self.cache is None else self.cache.room(seed)

    def __getitem__(self, index: int) -> Sample:
        sample = to_sample(self.room(index), f"room_{self.seed}_{index:06d}", self.tasks)
        return self.transform(sample) if self.transform is not None else sample


def _check_tasks(tasks: Sequence[str] | None) -> tuple[str, ...]:
    if tasks is None:
        return tuple(LABELS)
    if isinstance(tasks, str) or not isinstance(tasks, Sequence):
        raise InputError(f"Rooms: tasks must be a list of task names, got {tasks!r}.")
    return tuple(check_choice("Rooms", "tasks", task, LABELS) for task in tasks)


def to_sample(room: RoomImage, name: str, tasks: Sequence[str]) -> Sample:
    """Convert a room to a sample with the labels of some tasks.

    Example:
        >>> from taskprism.rooms import render_room
        >>> from taskprism.rooms.dataset import to_sample
        >>> sample = to_sample(render_room(7, (24, 32)), "room", ["depth", "edge"])
        >>> sorted(sample["targets"])
        ['depth', 'edge']
    """
    everywhere = torch.ones(1, *room.depth.shape, dtype=torch.bool)
    targets: dict[str, DenseTarget] = {}
    valid: dict[str, ValidMask] = {}
    for task in tasks:
        target_type, label = LABELS[task]
        values = label(room)
        if values is not None:
            targets[task] = target_type(_channels_first(values))
            reflects = target_type is AlbedoMap
            valid[task] = ValidMask(
                torch.from_numpy(room.albedo_valid)[None] if reflects else everywhere.clone()
            )
    image = tv_tensors.Image(_channels_first(room.image).float() / 255.0)
    return Sample(name=name, image=image, targets=targets, valid=valid)


def _channels_first(values: np.ndarray) -> Tensor:
    tensor = torch.from_numpy(values)
    return tensor[None] if values.ndim == 2 else tensor.permute(2, 0, 1).contiguous()
