"""What is labeled: by which teacher, which tasks of which images."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from taskprism.data.protocol import Split
from taskprism.errors import InputError
from taskprism.progress import Reporter
from taskprism.tasks.base import Task
from taskprism.teachers.base import Teacher, create_teacher
from taskprism.teachers.images import ImageSet
from taskprism.teachers.writing import Item, LabelFiles


@dataclass(frozen=True)
class TeacherSource:
    """Where a teacher comes from: the arguments of :func:`create_teacher` except the device.

    Example:
        >>> TeacherSource("runs/osd", options={"checkpoint": "last"}).kind is None
        True
    """

    source: str
    kind: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    imports: tuple[str, ...] = ()

    def load(self, device: torch.device | str = "cpu") -> Teacher:
        """The teacher."""
        return create_teacher(self.source, self.kind, device, self.options, self.imports)


class Plan:
    """Which label of which image comes from the teacher, and which is copied.

    Args:
        images: The images.
        files: The label files of the result.
        splits: With a data YAML: the splits that the teacher labels.
        relabel: Whether it labels images that have a label.
    """

    def __init__(
        self, images: ImageSet, files: LabelFiles, splits: Sequence[Split], relabel: bool
    ) -> None:
        self.images = images
        self.files = files
        self.splits = splits
        self.relabel = relabel
        self.tasks = {name: encoder.task for name, encoder in files.encoders.items()}
        if images.protocol is None:
            self.to_label = list(images.files)
        else:
            for split in splits:
                images.protocol.check_split(split)
            listed = (images.splits[split] for split in splits)
            self.to_label = list(dict.fromkeys(name for names in listed for name in names))
        self.total = len(self.to_label)

    def check(self) -> None:
        """Raise :class:`InputError` if a task means another thing in the data YAML."""
        protocol = self.images.protocol
        if protocol is None:
            return
        for own in protocol.tasks:
            task = self.tasks.get(own.name)
            if task is not None and _meaning(task) != _meaning(own):
                raise InputError(
                    f"The task {own.name!r} is {_meaning(task)} of the teacher, but "
                    f"{_meaning(own)} in {protocol.files.source}. Leave the task out, or rename "
                    f"it there (with 'kind: {own.kind}')."
                )

    def settings(self, teacher: Teacher, source: Teacher | TeacherSource) -> dict[str, Any]:
        """What must be equal for labels to be kept."""
        return {
            "teacher": {
                "source": source.source if isinstance(source, TeacherSource) else teacher.name,
                "kind": teacher.name,
                "options": dict(source.options) if isinstance(source, TeacherSource) else {},
                "license": teacher.license,
                "fingerprint": teacher.fingerprint(),
            },
            "tasks": [task.to_config() for task in self.tasks.values()],
            "images": str(self.images.root.resolve()),
            "relabel": self.relabel,
        }

    def from_teacher(self, task: str, name: str) -> bool:
        """Whether the teacher labels an image of its splits."""
        return self.relabel or not self.images.has_label(task, name)

    def items(self, pictures: int) -> list[Item]:
        """The images that still lack labels of the teacher."""
        items = []
        for place, name in enumerate(self.to_label):
            lacking = tuple(
                task
                for task in self.tasks
                if self.from_teacher(task, name) and not self.files.label(task, name).is_file()
            )
            if lacking:
                file = os.path.abspath(self.images.files[name])  # noqa: PTH100
                items.append(Item(name, file, lacking, place < pictures))
        return items

    def copy_labels(self, reporter: Reporter) -> None:
        """Write the labels that the data YAML has of tasks that the teacher labels too."""
        protocol = self.images.protocol
        if protocol is None:
            return
        labeled = set(self.to_label)
        wanted = {
            (own, name)
            for own in protocol.tasks
            if own.name in self.tasks
            for name in self.images.files
            if self.images.has_label(own.name, name)
            and not (name in labeled and self.from_teacher(own.name, name))
            and not self.files.label(own.name, name).is_file()
        }
        in_order = sorted(wanted, key=lambda pair: (pair[0].name, pair[1]))
        for own, name in reporter.track(in_order, "copying labels") if in_order else ():
            path = protocol.files.label(own.name, name)
            decoder = protocol.decoder(own)
            values, valid = decoder(path, protocol.files.confidence(own.name, name))
            values = values.as_subclass(torch.Tensor)[: own.target_channels]
            self.files.write(own.name, name, values, valid.as_subclass(torch.Tensor))


def _meaning(task: Task) -> str:
    """What labels of a task are, in words."""
    if task.target_dtype.is_floating_point:
        return task.kind
    names = getattr(task, "class_names", ()) or ()
    listed = f" ({', '.join(names)})" if names else ""
    return f"{task.kind} with {task.channels} classes{listed}"
