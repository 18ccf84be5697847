"""Label batches of images, and write the labels; what each worker does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from taskprism.atomic import write_bytes, write_picture
from taskprism.data.files import Orientation, read_image
from taskprism.data.label_files import LabelEncoder, encode_confidence
from taskprism.errors import DataError
from taskprism.tasks.base import Task
from taskprism.teachers.base import Label, Teacher
from taskprism.visualization.panels import panel

CONFIDENCE = "confidence"
PANELS = "panels"
_THREADS = 4  # compressing PNG files takes longer than a small network


@dataclass(frozen=True)
class Item:
    """One image that needs labels.

    Attributes:
        name: Its name, a relative path without ending.
        file: Its file.
        tasks: Names of the tasks whose labels it lacks.
        draw: Whether a panel is drawn.
    """

    name: str
    file: str
    tasks: tuple[str, ...]
    draw: bool = False


@dataclass(frozen=True)
class Outcome:
    """What became of an image.

    Attributes:
        name: Its name.
        error: Why it could not be read; empty if it was labeled.
        certain: Task -> share of pixels that reach the threshold.
    """

    name: str
    error: str = ""
    certain: Mapping[str, float] = field(default_factory=dict)


class LabelFiles:
    """The files of the labels of one folder.

    Args:
        folder: The folder.
        tasks: What is labeled.
    """

    def __init__(self, folder: Path, tasks: Sequence[Task]) -> None:
        self.folder = folder
        self.encoders = {task.name: LabelEncoder(task) for task in tasks}

    def pattern(self, task: str) -> str:
        """Pattern of the labels of a task, relative to the folder."""
        return f"{task}/{{name}}.{self.encoders[task].ending}"

    def confidence_pattern(self, task: str) -> str:
        """Pattern of its confidences."""
        return f"{CONFIDENCE}/{task}/{{name}}.png"

    def label(self, task: str, name: str) -> Path:
        """File of a label."""
        return self.folder / self.pattern(task).replace("{name}", name)

    def write(self, task: str, name: str, values: Tensor, valid: Tensor) -> None:
        """Write a label without confidence."""
        write_bytes(self.label(task, name), self.encoders[task].encode(values, valid))

    def write_label(self, task: str, name: str, label: Label) -> None:
        """Write a label after its confidence: a label that exists is complete."""
        path = self.folder / self.confidence_pattern(task).replace("{name}", name)
        write_bytes(path, encode_confidence(label.confidence))
        self.write(task, name, label.values, label.confidence >= 0)


class Labeler:
    """Labels batches with a teacher, and writes the labels.

    Args:
        teacher: The teacher.
        files: Where labels go.
        thresholds: Task -> confidence from which a label counts, for panels and shares.
        orientation: How images are read.
    """

    def __init__(
        self,
        teacher: Teacher,
        files: LabelFiles,
        thresholds: Mapping[str, float],
        orientation: Orientation = "exif",
    ) -> None:
        self.teacher = teacher
        self.files = files
        self.thresholds = thresholds
        self.orientation: Orientation = orientation

    def read(self, item: Item) -> Tensor | str:
        """The image ``(3, H, W)``, or why it cannot be read."""
        return read_or_explain(item, self.orientation)

    def __call__(self, items: Sequence[Item], images: Sequence[Tensor | str]) -> list[Outcome]:
        """Label and write a batch."""
        outcomes = {
            item.name: Outcome(item.name, image)
            for item, image in zip(items, images, strict=True)
            if isinstance(image, str)
        }
        groups: dict[tuple[str, ...], list[tuple[Item, Tensor]]] = {}
        for item, image in zip(items, images, strict=True):
            if not isinstance(image, str):
                groups.setdefault(item.tasks, []).append((item, image))
        for tasks, members in groups.items():
            labels = self.teacher.label([image for _, image in members], tasks)
            with ThreadPoolExecutor(_THREADS) as pool:
                for outcome in pool.map(self._write, members, labels):
                    outcomes[outcome.name] = outcome
        return [outcomes[item.name] for item in items]

    def _write(self, member: tuple[Item, Tensor], labels: Mapping[str, Label]) -> Outcome:
        item, image = member
        masks = {task: label.certain(self.thresholds[task]) for task, label in labels.items()}
        if item.draw:
            self._draw(item, image, labels, masks)
        for task, label in labels.items():
            self.files.write_label(task, item.name, label)
        return Outcome(item.name, "", {t: mask.float().mean().item() for t, mask in masks.items()})

    def _draw(
        self,
        item: Item,
        image: Tensor,
        labels: Mapping[str, Label],
        masks: Mapping[str, Tensor],
    ) -> None:
        values = {task: label.values for task, label in labels.items()}
        tasks = [self.files.encoders[task].task for task in labels]
        picture = panel(image, values, values, masks, tasks=tasks, title=item.name)
        write_picture(self.files.folder / PANELS / f"{item.name}.png", picture)


@dataclass(frozen=True)
class MakeLabeler:
    """Makes the labeler of a process; can be sent to another machine.

    Attributes:
        load: Loads the teacher on a device.
        folder: Folder of the labels.
        tasks: Names of the tasks.
        thresholds: See :class:`Labeler`.
        orientation: See :class:`Labeler`.
        on_gpu: Whether the teacher runs on a GPU.
    """

    load: Callable[[str], Teacher]
    folder: Path
    tasks: tuple[str, ...]
    thresholds: Mapping[str, float]
    orientation: Orientation
    on_gpu: bool

    def __call__(self) -> Labeler:
        """The labeler."""
        teacher = self.load("cuda" if self.on_gpu else "cpu")
        files = LabelFiles(self.folder, teacher.choose(self.tasks))
        return Labeler(teacher, files, self.thresholds, self.orientation)


def read_or_explain(item: Item, orientation: Orientation) -> Tensor | str:
    """The image ``(3, H, W)``, or why it cannot be read."""
    try:
        return read_image(Path(item.file), orientation).as_subclass(Tensor)
    except DataError as error:
        return str(error)
