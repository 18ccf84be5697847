"""A protocol: everything that makes two scores comparable, under one name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from torch.utils.data import Dataset

from taskprism.data.sample import Sample
from taskprism.errors import InputError, UnknownNameError
from taskprism.tasks.base import Task

Split = Literal["train", "val", "test"]
Transform = Callable[[Sample], Sample]


@dataclass(frozen=True, kw_only=True)
class Protocol(ABC):
    """A named benchmark: data, tasks and classes, input size, augmentation, metric conventions.

    Attributes:
        name: Printed beside every score.
        tasks: All tasks the data can label, each with its loss weight and metric options.
        input_size: ``(H, W)`` of the network's input.
        root: Folder of the data, where the protocol has one.
        license: Terms of the data, told to the user when it is loaded.
    """

    name: str
    tasks: tuple[Task, ...]
    input_size: tuple[int, int]
    root: str | None = None
    license: str = field(default="", compare=False)

    splits: ClassVar[tuple[Split, ...]] = ("train", "test")

    @property
    def scores_at_label_size(self) -> bool:
        """Whether test labels keep their own sizes, to which predictions are then resized."""
        return False

    @abstractmethod
    def dataset(self, split: Split, transform: Transform | None = None) -> Dataset[Sample]:
        """Samples of a split at their own size, after ``transform``."""

    @abstractmethod
    def train_transform(self) -> Transform:
        """Augmentation, ending at ``input_size``."""

    @abstractmethod
    def evaluation_transform(self) -> Transform:
        """What test images go through, ending at ``input_size``; no randomness."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Hash of what the data is (files with sizes, or generator version), for the manifest."""

    def task(self, name: str) -> Task:
        """Task of that name; an unknown name answers with those that exist."""
        for task in self.tasks:
            if task.name == name:
                return task
        raise UnknownNameError(
            f"task in protocol {self.name!r}", name, [task.name for task in self.tasks]
        )

    def check_split(self, split: str) -> None:
        """Raise :class:`InputError` if the protocol has no such split."""
        if split not in self.splits:
            raise InputError(
                f"Protocol {self.name!r} has no split {split!r}; it has {', '.join(self.splits)}."
            )
