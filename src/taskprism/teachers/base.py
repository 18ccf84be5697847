"""The contract of a teacher: images in, labels with confidence out."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from taskprism.errors import InputError, UnknownNameError
from taskprism.layers import resize
from taskprism.models.inference import decode_at
from taskprism.options import read_options
from taskprism.registry import Registry, check_options, describe_part, import_parts, options_of
from taskprism.tasks.base import Task

#: Arguments of every teacher that are not its options.
_NOT_OPTIONS = ("source", "device", "imports")


@dataclass(frozen=True)
class Label:
    """A label that a teacher has made for one task of one image.

    Attributes:
        values: ``(target_channels, H, W)`` in the units of the task, on the CPU.
        confidence: ``(1, H, W)`` float32 in [0, 1], see
            :meth:`~taskprism.tasks.Task.confidence`.

    Example:
        >>> label = Label(torch.ones(1, 4, 6), torch.full((1, 4, 6), 0.9))
        >>> label.certain(0.5).all().item()
        True
    """

    values: Tensor
    confidence: Tensor

    def certain(self, threshold: float) -> Tensor:
        """``(1, H, W)`` boolean: pixels whose stored confidence reaches a threshold."""
        return (self.confidence.clamp(0, 1) * 255).round() / 255 >= threshold


class Teacher(ABC):
    """A trained network that labels images.

    A subclass is created as ``MyTeacher(source, device, imports, **options)``; options are flat
    keyword arguments with defaults. It sets :attr:`tasks` and returns raw outputs. Decoding,
    resizing and confidence are those of the tasks.

    Attributes:
        name: Name in :data:`TEACHERS`.
        tasks: What it can label.
        license: Terms of its weights and of the data it was trained on; empty if not known.
        input_size: ``(H, W)`` at which it sees images, if it is known.
        notes: What a user should know before labeling starts, one sentence each, or None.

    Example:
        >>> from taskprism.tasks import create_task
        >>> from taskprism.teachers import Teacher, register_teacher
        >>> @register_teacher
        ... class Luminance(Teacher):
        ...     name = "luminance"
        ...     def __init__(self, source, device="cpu", imports=()):
        ...         self.tasks = (create_task("saliency"),)
        ...     def outputs(self, images, tasks):
        ...         return [{"saliency": 8 * image.mean(0)[None, None] - 4} for image in images]
        ...     def fingerprint(self):
        ...         return "1"
        >>> teacher = Luminance("")
        >>> teacher.label([torch.ones(3, 4, 6)])[0]["saliency"].values.round().mean().item()
        1.0
    """

    name: ClassVar[str]
    tasks: tuple[Task, ...] = ()
    license: str = ""
    input_size: tuple[int, int] | None = None
    notes: list[str] | None = None

    @classmethod
    def accepts(cls, source: str) -> bool:
        """Whether ``source`` is a file or folder of this kind; must not load it."""
        return False

    @abstractmethod
    def outputs(self, images: Sequence[Tensor], tasks: Sequence[str]) -> list[dict[str, Tensor]]:
        """Raw outputs of any size for whole images.

        Args:
            images: Each ``(3, H, W)`` RGB in [0, 1] on the CPU; sizes differ.
            tasks: Names of tasks to predict.

        Returns:
            For each image task name -> ``(1, channels, h, w)``.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """Hash of everything that changes the labels: weights and configuration."""

    def decode(self, task: Task, output: Tensor, size: tuple[int, int]) -> Tensor:
        """Label ``(target_channels, H, W)`` at ``size``, from a raw output."""
        return decode_at(task, output, size)

    def confidence(self, task: Task, output: Tensor, flipped: Tensor | None) -> Tensor:
        """Confidence ``(1, 1, H, W)`` of raw outputs at the size of the image."""
        return task.confidence(output, flipped)

    @torch.inference_mode()
    def label(
        self, images: Sequence[Tensor], tasks: Sequence[str] | None = None
    ) -> list[dict[str, Label]]:
        """Label images.

        Tasks whose confidence is the agreement with the mirror image make the teacher see each
        image twice.

        Args:
            images: Each ``(3, H, W)`` RGB in [0, 1]; sizes may differ.
            tasks: Names of tasks; by default all.

        Returns:
            For each image task name -> label at the size of the image.
        """
        chosen = self.choose(tasks)
        outputs = self.outputs(images, [task.name for task in chosen])
        both = [task.name for task in chosen if task.confidence_by_flip]
        flipped: list[dict[str, Tensor]] = [{} for _ in images]
        if both:
            flipped = self.outputs([image.flip(-1) for image in images], both)
        return [
            {
                task.name: self._label(task, output[task.name], mirror.get(task.name), image)
                for task in chosen
            }
            for image, output, mirror in zip(images, outputs, flipped, strict=True)
        ]

    def _label(self, task: Task, output: Tensor, flipped: Tensor | None, image: Tensor) -> Label:
        height, width = image.shape[-2:]
        size = (height, width)
        values = self.decode(task, output, size)
        mirror = None if flipped is None else resize(flipped.float(), size)
        confidence = self.confidence(task, resize(output.float(), size), mirror)
        return Label(values, confidence[0].float().clamp(0, 1).cpu())

    def choose(self, names: Sequence[str] | None) -> list[Task]:
        """Tasks of these names, in this order; all of them for None.

        Raises:
            UnknownNameError: The teacher does not predict one of them.
        """
        known = {task.name: task for task in self.tasks}
        for name in names or ():
            if name not in known:
                raise UnknownNameError("task of this teacher", name, known)
        return [known[name] for name in (known if names is None else dict.fromkeys(names))]


#: Every kind of teacher by :attr:`Teacher.name`.
TEACHERS: Registry[Teacher] = Registry("teacher", Teacher, package="taskprism.teachers")
register_teacher = TEACHERS.register


def find_kind(source: str) -> str:
    """Name of the kind of teacher that a file, folder or hub id is.

    Raises:
        InputError: It is none.

    Example:
        >>> find_kind("depth.onnx")
        'onnx'
    """
    for entry in TEACHERS.entries():
        if entry.part.accepts(source):
            return entry.name
    raise InputError(
        f"{source!r} is no teacher: there is no such run directory, model folder or .onnx file, "
        "and no such model on the hub can be reached. Check the path, or give the kind of teacher "
        f"({', '.join(TEACHERS.names())}, or 'module:Class')."
    )


def create_teacher(
    source: str | Path,
    kind: str | type[Teacher] | None = None,
    device: torch.device | str = "cpu",
    options: Mapping[str, Any] | None = None,
    imports: Iterable[str | Path] = (),
) -> Teacher:
    """Load a teacher.

    Args:
        source: A run directory, a saved model, an ``.onnx`` file, a folder of a ``transformers``
            model, a hub id, or whatever a kind of your own reads.
        kind: A name of :data:`TEACHERS`, ``"module:Class"`` or a class; by default what
            ``source`` is.
        device: Where it runs.
        options: Options of the kind.
        imports: Modules or Python files that define your own parts.

    Raises:
        InputError: The source is no teacher, or an option has a wrong value.
        UnknownNameError: There is no such kind or option.

    Example:
        >>> teacher = create_teacher("runs/osd", options={"checkpoint": "last"})  # doctest: +SKIP
        >>> label = teacher.label([torch.rand(3, 480, 640)])[0]["normals"]  # doctest: +SKIP
    """
    import_parts(imports)
    part = TEACHERS.find(find_kind(str(source)) if kind is None else kind)
    name = getattr(part, "name", describe_part(part))
    known = [option for option in options_of(part.__init__) if option not in _NOT_OPTIONS]
    check_options(f"teacher {name!r}", options or {}, known)
    checked = read_options(f"Teacher {name!r}", options or {}, part)
    return part(str(source), device=device, imports=tuple(imports), **checked)


def hash_weights(module: nn.Module, config: Any) -> str:
    """Hash of the tensors of a network and of its configuration.

    Example:
        >>> layer = nn.Linear(2, 1)
        >>> hash_weights(layer, {"size": 1}) == hash_weights(layer, {"size": 2})
        False
    """
    digest = hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode())
    for name, tensor in sorted(module.state_dict().items()):
        plain = tensor.detach().cpu().contiguous()
        digest.update(f"\n{name} {plain.dtype} {tuple(plain.shape)}\n".encode())
        digest.update(plain.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
