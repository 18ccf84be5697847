"""What a model predicts for one image, as arrays, pictures and files."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from html import escape
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from taskprism.atomic import path_inside, safe_name, write_bytes, write_json, write_picture
from taskprism.data.label_files import LabelEncoder
from taskprism.data.point_clouds import Intrinsics, ply
from taskprism.errors import InputError, UnknownNameError
from taskprism.models.inference import Inference, predict_batch
from taskprism.tasks.base import Task
from taskprism.tasks.colors import class_palette
from taskprism.visualization.panels import panel

if TYPE_CHECKING:
    from taskprism.models.base import MultiTaskModel


class PredictedImage:
    """The predictions of a model for one image, at the size of the image and in real units.

    Each task is an attribute and a key: ``result.depth`` is ``result["depth"]``. Values are class
    indices (in the smallest integer type), meters, unit vectors or probabilities, ``(H, W)`` or
    ``(H, W, channels)``. In a notebook, the panel is shown.

    Args:
        name: Name of the image; names the files of :meth:`save`.
        image: ``(3, H, W)`` RGB in [0, 1].
        predictions: Task name -> decoded ``(target_channels, H, W)``.
        tasks: What was predicted, in order.

    Attributes:
        name: Name of the image.
        image: The image, ``(3, H, W)`` RGB in [0, 1].
        tasks: What was predicted.
        tensors: Task name -> decoded tensor ``(target_channels, H, W)``.

    Example:
        >>> from taskprism.tasks import create_task
        >>> tasks = [create_task("depth"), create_task("semseg", class_names=("floor", "wall"))]
        >>> predictions = {"depth": torch.ones(1, 60, 80), "semseg": torch.ones(1, 60, 80).long()}
        >>> result = PredictedImage("room", torch.rand(3, 60, 80), predictions, tasks)
        >>> result.depth.shape, result.semseg.dtype, result.class_names["semseg"]
        ((60, 80), dtype('uint8'), ('floor', 'wall'))
    """

    def __init__(
        self,
        name: str,
        image: Tensor,
        predictions: Mapping[str, Tensor],
        tasks: Sequence[Task],
    ) -> None:
        self.name = name
        self.image = image
        self.tensors = dict(predictions)
        self.tasks = tuple(tasks)

    def __getitem__(self, task: str) -> np.ndarray:
        return as_array(self.tensors[task], self.task(task))

    def __getattr__(self, task: str) -> np.ndarray:
        # Called only for names that are no attributes, also while an object is being unpickled.
        if task in self.__dict__.get("tensors", ()):
            return self[task]
        known = ", ".join(self.__dict__.get("tensors", ()))
        raise AttributeError(f"This result has no task or attribute {task!r}; its tasks: {known}.")

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.tensors]

    def __repr__(self) -> str:
        height, width = self.size
        names = ", ".join(self.tensors)
        return f"PredictedImage({self.name!r}, {height}x{width}: {names})"

    @property
    def size(self) -> tuple[int, int]:
        """``(H, W)`` of the image."""
        return self.image.shape[-2], self.image.shape[-1]

    @property
    def class_names(self) -> dict[str, tuple[str, ...]]:
        """Task name -> names of its classes, for tasks with named classes."""
        named = ((task.name, getattr(task, "class_names", ())) for task in self.tasks)
        return {name: tuple(classes) for name, classes in named if classes}

    def task(self, name: str) -> Task:
        """Task of that name.

        Raises:
            UnknownNameError: It was not predicted.
        """
        known = {task.name: task for task in self.tasks}
        if name not in known:
            raise UnknownNameError("predicted task", name, known)
        return known[name]

    def panel(self, title: str | None = None, tile_width: int | None = None) -> Image.Image:
        """The image and all predictions side by side, with legends.

        Args:
            title: Line at the top; by default the name of the image.
            tile_width: Width of each picture in pixels.
        """
        title = self.name if title is None else title
        drawn = panel(
            self.image, self.tensors, tasks=self.tasks, title=title, tile_width=tile_width
        )
        return Image.fromarray(drawn)

    def picture(self, task: str) -> Image.Image:
        """One prediction in colors, at the size of the image."""
        return Image.fromarray(self.task(task).color(self.tensors[task]))

    def overlay(self, task: str | None = None, opacity: float = 0.6) -> Image.Image:
        """One prediction in colors over the image.

        Args:
            task: By default the first.
            opacity: Of the colors; 0 shows the image only, 1 the prediction only.

        Raises:
            InputError: The opacity is not in [0, 1].
        """
        if not 0 <= opacity <= 1:
            raise InputError(f"opacity must be from 0 to 1, got {opacity!r}.")
        name = self.tasks[0].name if task is None else task
        gray = self.image.mean(dim=0, keepdim=True).expand(3, -1, -1)  # colors stay readable on it
        below = (gray * 255).permute(1, 2, 0).numpy()
        colors = self.task(name).color(self.tensors[name]).astype(np.float32)
        mixed = opacity * colors + (1 - opacity) * below
        return Image.fromarray(mixed.round().astype(np.uint8))

    def save(
        self,
        folder: str | Path,
        outputs: Sequence[str] = ("panels", "pictures", "arrays"),
        camera: Intrinsics | None = None,
        name: str | None = None,
    ) -> list[Path]:
        """Write files into a folder.

        Args:
            folder: It is created if it does not exist.
            outputs: Names of :data:`OUTPUTS`: panels, pictures, overlays, arrays, labels, points.
            camera: Of the image, for points.
            name: Of the files; by default the name of the image, made safe for every system.

        Returns:
            The files.

        Raises:
            UnknownNameError: An output is unknown.
            InputError: Points need a camera and a task of depth.
            CheckpointError: A file cannot be written.
        """
        check_outputs(outputs)
        name = safe_name(self.name) if name is None else name
        files: list[Path] = []
        for output in outputs:
            files += OUTPUTS[output](self, Path(folder), name, camera)
        return files

    def _repr_html_(self) -> str:
        stream = io.BytesIO()
        self.panel().save(stream, format="png")
        content = base64.b64encode(stream.getvalue()).decode()
        text = escape(repr(self))
        style = "max-width: 100%; height: auto"  # a panel of many tasks is wider than a notebook
        source = f"data:image/png;base64,{content}"
        return f'<img alt="{text}" title="{text}" style="{style}" src="{source}">'


def predict_each(
    model: MultiTaskModel,
    images: Iterable[tuple[str, Tensor]],
    tasks: Sequence[str] | None = None,
    how: Inference | None = None,
    batch_size: int = 1,
) -> Iterator[PredictedImage]:
    """Predict images one after the other, as they are read.

    Args:
        model: Any model of this package.
        images: Names and images ``(3, H, W)``, or with the ``in_channels`` of the model.
        tasks: Names of main tasks; by default all.
        how: Sizes, averages and tiles.
        batch_size: Images that pass through the network together, if their sizes allow it.

    Example:
        >>> from taskprism import create_model
        >>> model = create_model("multi_task", ["depth"], backbone="test_resnet", neck="none")
        >>> [result.name for result in predict_each(model, [("a", torch.rand(3, 40, 50))])]
        ['a']
    """
    known = {task.name: task for task in model.tasks}
    for name in tasks or ():
        if name not in known:
            raise UnknownNameError(f"task of this {model.name}", name, known)
    chosen = [known[name] for name in (known if tasks is None else tasks)]
    remaining = iter(images)
    while batch := list(islice(remaining, batch_size)):
        pictures = [image for _, image in batch]
        predicted = predict_batch(model, pictures, [task.name for task in chosen], how)
        for (name, image), predictions in zip(batch, predicted, strict=True):
            yield PredictedImage(name, image[:3], predictions, chosen)


def as_array(values: Tensor, task: Task) -> np.ndarray:
    """``(C, H, W)`` -> ``(H, W)`` or ``(H, W, C)``; class indices in the smallest integer type.

    Example:
        >>> from taskprism.tasks import create_task
        >>> as_array(torch.zeros(1, 4, 6).long(), create_task("semseg", channels=300)).dtype
        dtype('uint16')
    """
    array = values.permute(1, 2, 0).numpy()
    array = array[..., 0] if array.shape[-1] == 1 else array
    if not values.is_floating_point():
        array = array.astype(np.min_scalar_type(task.channels - 1))
    return np.ascontiguousarray(array)


def check_outputs(outputs: Sequence[str]) -> None:
    """Check names of :data:`OUTPUTS`.

    Raises:
        UnknownNameError: A name is unknown.

    Example:
        >>> check_outputs(["panels"])
    """
    for output in outputs:
        if output not in OUTPUTS:
            raise UnknownNameError("output", output, OUTPUTS)


def _panels(
    result: PredictedImage, folder: Path, name: str, camera: Intrinsics | None
) -> list[Path]:
    file = path_inside(folder, "panels", f"{name}.png")
    return [write_picture(file, np.asarray(result.panel()))]


def _pictures(
    result: PredictedImage, folder: Path, name: str, camera: Intrinsics | None
) -> list[Path]:
    return [
        write_picture(
            path_inside(folder, task.name, f"{name}.png"), task.color(result.tensors[task.name])
        )
        for task in result.tasks
    ]


def _overlays(
    result: PredictedImage, folder: Path, name: str, camera: Intrinsics | None
) -> list[Path]:
    return [
        write_picture(
            path_inside(folder, "overlays", task.name, f"{name}.png"),
            np.asarray(result.overlay(task.name)),
        )
        for task in result.tasks
    ]


def _arrays(
    result: PredictedImage, folder: Path, name: str, camera: Intrinsics | None
) -> list[Path]:
    files = []
    for task in result.tasks:
        stream = io.BytesIO()
        np.save(stream, result[task.name], allow_pickle=False)
        files.append(path_inside(folder, task.name, f"{name}.npy"))
        write_bytes(files[-1], stream.getvalue())
    return files


def _labels(
    result: PredictedImage, folder: Path, name: str, camera: Intrinsics | None
) -> list[Path]:
    """Numbers as label files hold them, and ``labels/labels.json``, which explains them."""
    files, described = [], {}
    for task in result.tasks:
        encoder, values = LabelEncoder(task), result.tensors[task.name]
        content = encoder.encode(values, torch.ones(1, *values.shape[-2:], dtype=torch.bool))
        storage = encoder.storage
        if not task.target_dtype.is_floating_point and storage is not None and storage.bits == 8:
            content = _with_palette(content)
        files.append(path_inside(folder, "labels", task.name, f"{name}.{encoder.ending}"))
        write_bytes(files[-1], content)
        described[task.name] = encoder.keys(f"{task.name}/{{name}}.{encoder.ending}")
        names = result.class_names.get(task.name)
        if names is not None:
            classes = path_inside(folder, "labels", task.name, "classes.json")
            _write_once(classes, {str(number): each for number, each in enumerate(names)})
    _write_once(folder / "labels" / "labels.json", described)
    return files


def _points(
    result: PredictedImage, folder: Path, name: str, camera: Intrinsics | None
) -> list[Path]:
    depths = [task for task in result.tasks if task.is_depth]
    if camera is None or not depths:
        raise InputError(
            "A point cloud needs the task depth and the intrinsics of the camera; leave points out "
            "of the outputs otherwise."
        )
    files = []
    for task in depths:
        file = f"{name}.ply" if len(depths) == 1 else f"{name}_{task.name}.ply"
        files.append(path_inside(folder, "points", file))
        write_bytes(files[-1], ply(result.tensors[task.name], result.image, camera))
    return files


def _write_once(file: Path, content: Any) -> None:
    if not file.is_file():
        write_json(file, content)


def _with_palette(png: bytes) -> bytes:
    """A PNG of class indices that viewers show in the colors of PASCAL VOC."""
    stream = io.BytesIO()
    with Image.open(io.BytesIO(png)) as opened:
        colored = opened.convert("L")
        colored.putpalette(class_palette().tobytes())
        colored.save(stream, format="png")
    return stream.getvalue()


#: Name -> function that writes these files of a result and returns them.
OUTPUTS: dict[str, Callable[[PredictedImage, Path, str, Intrinsics | None], list[Path]]] = {
    "panels": _panels,
    "pictures": _pictures,
    "overlays": _overlays,
    "arrays": _arrays,
    "labels": _labels,
    "points": _points,
}
