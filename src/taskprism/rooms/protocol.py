"""The protocol ``rooms``."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import ClassVar

from taskprism.data import transforms
from taskprism.data.protocol import Protocol, SizedDataset, Split, Transform, register_protocol
from taskprism.rooms.classes import CLASS_NAMES
from taskprism.rooms.dataset import Rooms
from taskprism.rooms.render import GENERATOR_VERSION
from taskprism.tasks import (
    Albedo,
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


@register_protocol
@dataclass(frozen=True, kw_only=True)
class RoomsProtocol(Protocol):
    """Procedural rooms for training and test, without files or downloads.

    Each split uses a different seed, so no room is in two splits. ``root`` is the folder that
    caches rendered rooms (you can empty it at any time); without it, rooms are rendered every
    time.

    Attributes:
        train_length: Number of rooms for training.
        val_length: Number of rooms for validation.
        test_length: Number of rooms for testing.
        seed: Another seed gives other rooms in all splits.

    Example:
        >>> from taskprism.rooms import RoomsProtocol
        >>> protocol = RoomsProtocol(train_length=3, input_size=(48, 64))
        >>> len(protocol.dataset("train"))
        3
    """

    name: str = "rooms"
    tasks: tuple[Task, ...] = TASKS
    input_size: tuple[int, int] = (96, 128)
    license: str = "Apache-2.0, drawn by taskprism"
    train_length: int = 800
    val_length: int = 100
    test_length: int = 200
    seed: int = 0

    splits: ClassVar[tuple[Split, ...]] = ("train", "val", "test")

    def dataset(self, split: Split, transform: Transform | None = None) -> SizedDataset:
        """Rooms of a split, drawn at ``input_size``.

        Raises:
            InputError: If the split is unknown, or a length, seed or size is out of range.
        """
        self.check_split(split)
        lengths = (self.train_length, self.val_length, self.test_length)
        place = self.splits.index(split)
        return Rooms(
            lengths[place],
            seed=self.seed * len(self.splits) + place,
            size=self.input_size,
            transform=transform,
            cache=self.root,
            tasks=[task.name for task in self.tasks],
        )

    def train_transform(self) -> Transform:
        """Random horizontal flip and light changes of color."""
        return transforms.Compose(
            [
                transforms.Resize(self.input_size),
                transforms.RandomHorizontalFlip(0.5),
                transforms.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.03),
            ]
        )

    def evaluation_transform(self) -> Transform:
        """Nothing, at ``input_size``."""
        return transforms.Resize(self.input_size)

    def fingerprint(self) -> str:
        """Hash of the generator's version, the seed, the lengths and the size."""
        numbers = (self.train_length, self.val_length, self.test_length, *self.input_size)
        text = f"rooms {GENERATOR_VERSION} {self.seed} {numbers}"
        return hashlib.sha256(text.encode()).hexdigest()
