"""The protocol ``rooms``: rendered rooms for training, validation and testing."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from taskprism.data import transforms
from taskprism.data.protocol import Protocol, SizedDataset, Split, Transform, register_protocol
from taskprism.errors import InputError, UnknownNameError
from taskprism.options import Seed, read_options
from taskprism.rooms.classes import CLASS_NAMES
from taskprism.rooms.dataset import LABELS, LONGEST, Rooms, check_root
from taskprism.rooms.render import GENERATOR_VERSION, LARGEST_SIDE, SMALLEST_SIDE
from taskprism.tasks import (
    Albedo,
    ClassMap,
    Depth,
    Disparity,
    Edge,
    HumanParts,
    Normals,
    Saliency,
    SemanticSegmentation,
    Task,
)

TASKS: tuple[Task, ...] = (
    SemanticSegmentation(channels=len(CLASS_NAMES), class_names=CLASS_NAMES),
    Depth(),
    Normals(),
    Edge(),
    Saliency(),
    HumanParts(),
    Albedo(),
    Disparity(),
)
Side = Annotated[int, Field(ge=SMALLEST_SIDE, le=LARGEST_SIDE)]
Length = Annotated[int, Field(ge=1, le=LONGEST)]


@register_protocol
@dataclass(frozen=True, kw_only=True)
class RoomsProtocol(Protocol):
    """Procedural rooms for training and testing, without files or downloads.

    Each split uses a different seed, so no room is in two splits. ``root`` is a folder that stores
    rendered rooms, which you can empty at any time. Without it, rooms are rendered every time.

    Attributes:
        input_size: ``(H, W)`` in pixels, each from 8 to 4096.
        train_length: Number of rooms for training, from 1 to 10 million.
        val_length: Number of rooms for validation, likewise.
        test_length: Number of rooms for testing, likewise.
        seed: Another seed gives other rooms in all splits, from 0 to 2^63 - 1.

    Raises:
        InputError: An option has the wrong type or is out of range, or a task does not fit the
            labels of the rooms.

    Example:
        >>> from taskprism.rooms import RoomsProtocol
        >>> protocol = RoomsProtocol(train_length=3, input_size=(48, 64))
        >>> len(protocol.dataset("train"))
        3
    """

    name: str = "rooms"
    tasks: tuple[Task, ...] = TASKS
    input_size: tuple[Side, Side] = (96, 128)
    license: str = "Apache-2.0, drawn by taskprism"
    train_length: Length = 800
    val_length: Length = 100
    test_length: Length = 200
    seed: Seed = 0

    splits: ClassVar[tuple[Split, ...]] = ("train", "val", "test")

    def __post_init__(self) -> None:
        owner = f"Protocol {self.name!r}"
        options = {name: getattr(self, name) for name in RoomsProtocol.option_names()}
        for name, value in read_options(owner, options, RoomsProtocol).items():
            object.__setattr__(self, name, value)
        if self.root is not None:
            check_root(owner, "root", self.root)
        super().__post_init__()
        for task in self.tasks:
            _check_task(owner, task)

    def dataset(self, split: Split, transform: Transform | None = None) -> SizedDataset:
        """Rooms of a split, drawn at ``input_size``.

        Raises:
            InputError: There is no such split.
        """
        self.check_split(split)
        index = self.splits.index(split)
        return Rooms(
            getattr(self, f"{split}_length"),
            seed=self.seed * len(self.splits) + index,
            size=self.input_size,
            transform=transform,
            cache=self.root,
            tasks=[task.name for task in self.tasks],
        )

    def train_transform(self) -> Transform:
        """Random horizontal flips and slight random changes of color."""
        return transforms.Compose(
            [
                transforms.Resize(self.input_size),
                transforms.RandomHorizontalFlip(0.5),
                transforms.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.03),
            ]
        )

    def evaluation_transform(self) -> Transform:
        """Resize to ``input_size``, which leaves the rooms unchanged."""
        return transforms.Resize(self.input_size)

    def fingerprint(self) -> str:
        """Hash of the generator's version, the seed, the lengths and the size."""
        numbers = (self.train_length, self.val_length, self.test_length, *self.input_size)
        text = f"rooms {GENERATOR_VERSION} {self.seed} {numbers}"
        return hashlib.sha256(text.encode()).hexdigest()


def _check_task(owner: str, task: Task) -> None:
    """Raise an error if the labels of the rooms do not fit a task."""
    if task.name not in LABELS:
        raise UnknownNameError(f"task of {owner}", task.name, LABELS)
    target_type, _ = LABELS[task.name]
    if task.target_type is not target_type:
        raise InputError(
            f"{owner}: labels of {task.name!r} are {target_type.__name__}s, but the task expects "
            f"{task.target_type.__name__}s. Give the task another name."
        )
    classes = next(one.channels for one in TASKS if one.name == task.name)
    if target_type is ClassMap and task.channels != classes:
        raise InputError(
            f"{owner}: labels of {task.name!r} have {classes} classes, but the task has "
            f"{task.channels} channels. Set channels to {classes}."
        )
