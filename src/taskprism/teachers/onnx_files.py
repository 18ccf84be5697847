"""ONNX files as teachers."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from taskprism.errors import InputError
from taskprism.export.session import (
    LICENSE_KEY,
    NORMALIZATION_KEY,
    OUTPUTS_KEY,
    TASKS_KEY,
    open_session,
)
from taskprism.layers import resize
from taskprism.options import Size
from taskprism.tasks import resolve_tasks
from taskprism.teachers.base import Teacher, register_teacher


@register_teacher
class OnnxTeacher(Teacher):
    """An ONNX file with one named output per task.

    The graph has one input, RGB images ``(B, 3, H, W)`` float32; the batch, H and W may be fixed.
    Each output has the name of its task and holds the *raw* output ``(B, channels, h, w)`` before
    decoding. What the numbers mean is in the metadata of the file:

    =========================== ===============================================================
    ``taskprism.tasks``         JSON list of task configs (:meth:`~taskprism.tasks.Task.to_config`)
    ``taskprism.normalization`` JSON ``{"mean": [r, g, b], "std": [r, g, b]}`` that is applied to
                                images in [0, 1] first; ``null`` or no key if the graph does it
    ``taskprism.outputs``       ``"raw"``, or no key
    ``taskprism.license``       terms of weights and data
    =========================== ===============================================================

    Args:
        source: The file.
        device: ``cpu``, or ``cuda`` with a build of ``onnxruntime`` for it.
        imports: Modules that define the tasks, if they are your own.
        size: ``(H, W)`` at which the network sees images, if the file does not fix it; by default
            the size of each image.

    Raises:
        CheckpointError: The file cannot be read.
        InputError: ``onnxruntime`` is not installed, or the file does not say what its outputs
            are.

    Example:
        >>> teacher = OnnxTeacher("street.onnx", size=(512, 1024))  # doctest: +SKIP
    """

    name = "onnx"

    def __init__(
        self,
        source: str,
        device: torch.device | str = "cpu",
        imports: Iterable[str | Path] = (),
        size: Size | None = None,
    ) -> None:
        self.path = Path(source)
        is_cuda = torch.device(device).type == "cuda"
        providers = [*(["CUDAExecutionProvider"] if is_cuda else []), "CPUExecutionProvider"]
        self.session, metadata = open_session(self.path, providers)
        self.tasks = resolve_tasks(_read_json(self.path, metadata, TASKS_KEY), trusted=False)
        self.mean, self.std = self._normalization(metadata)
        self.license = metadata.get(LICENSE_KEY, "")
        if metadata.get(OUTPUTS_KEY, "raw") != "raw":
            raise InputError(
                f"{self.path}: {OUTPUTS_KEY} is {metadata[OUTPUTS_KEY]!r}. A teacher needs raw "
                "outputs, from which the confidence is computed; export the model without "
                "post-processing."
            )
        names = [output.name for output in self.session.get_outputs()]
        missing = [task.name for task in self.tasks if task.name not in names]
        if missing:
            raise InputError(
                f"{self.path}: there is no output for {', '.join(missing)}; the outputs are "
                f"{', '.join(names)}. Name each output like its task in {TASKS_KEY}."
            )
        self.batch, self.input_size = self._shape(size)

    @classmethod
    def accepts(cls, source: str) -> bool:
        """Whether the name ends in ``.onnx``."""
        return source.endswith(".onnx")

    def outputs(self, images: Sequence[Tensor], tasks: Sequence[str]) -> list[dict[str, Tensor]]:
        """Raw outputs; images of one size pass together, unless the file fixes the batch."""
        sizes = [self.input_size or (image.shape[-2], image.shape[-1]) for image in images]
        resized = [
            resize(image[None].float(), size, antialias=True)
            for image, size in zip(images, sizes, strict=True)
        ]
        groups: dict[tuple[int, int], list[int]] = defaultdict(list)
        for index, size in enumerate(sizes):
            groups[size].append(index)
        results: list[dict[str, Tensor]] = [{} for _ in images]
        for members in groups.values():
            step = self.batch or len(members)
            for start in range(0, len(members), step):
                part = members[start : start + step]
                found = self._run(torch.cat([resized[index] for index in part]), tasks)
                for position, index in enumerate(part):
                    results[index] = {
                        name: values[position : position + 1] for name, values in found.items()
                    }
        return results

    def fingerprint(self) -> str:
        """Hash of the file and its external weights, and of the size."""
        digest = hashlib.sha256(str(self.input_size).encode())
        for path in [self.path, *sorted(self.path.parent.glob(f"{self.path.name}.data"))]:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()

    def _run(self, batch: Tensor, tasks: Sequence[str]) -> dict[str, Tensor]:
        count = len(batch)
        if self.batch is not None and count < self.batch:  # the graph takes no smaller batch
            batch = torch.cat([batch, batch[-1:].expand(self.batch - count, -1, -1, -1)])
        values = ((batch - self.mean) / self.std).numpy().astype(np.float32)
        entry = self.session.get_inputs()[0].name
        found = self.session.run(list(tasks), {entry: values})
        return {
            name: torch.from_numpy(np.asarray(array))[:count].float()
            for name, array in zip(tasks, found, strict=True)
        }

    def _normalization(self, metadata: dict[str, str]) -> tuple[Tensor, Tensor]:
        stated = None
        if NORMALIZATION_KEY in metadata:
            stated = _read_json(self.path, metadata, NORMALIZATION_KEY)
        stated = {"mean": [0.0] * 3, "std": [1.0] * 3} if stated is None else stated
        try:
            mean, std = (
                torch.tensor(stated[key], dtype=torch.float32).view(1, 3, 1, 1)
                for key in ("mean", "std")
            )
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise InputError(
                f"{self.path}: {NORMALIZATION_KEY} is {stated!r}. Write "
                '{"mean": [r, g, b], "std": [r, g, b]}.'
            ) from error
        return mean, std

    def _shape(self, size: tuple[int, int] | None) -> tuple[int | None, tuple[int, int] | None]:
        """Batch and ``(H, W)`` that the graph fixes; names stand for what it leaves open."""
        shape = self.session.get_inputs()[0].shape
        if len(shape) != 4 or shape[1] not in (3, "channels"):
            raise InputError(
                f"{self.path}: the input has the shape {shape}; expected images (B, 3, H, W)."
            )
        batch, _, height, width = shape
        fixed = isinstance(height, int) and isinstance(width, int)
        if fixed and size is not None and (height, width) != tuple(size):
            raise InputError(
                f"{self.path} takes images of {height}x{width} only. Leave out the option size."
            )
        fixed_size = (height, width) if fixed else size
        return (batch if isinstance(batch, int) else None), fixed_size


def _read_json(path: Path, metadata: dict[str, str], key: str) -> Any:
    if key not in metadata:
        raise InputError(
            f"{path} does not say what its outputs are: its metadata lack the key {key!r}, a JSON "
            'list of task configs such as [{"kind": "depth", "name": "depth"}]. Add it with '
            "onnx.helper.set_model_props."
        )
    try:
        return json.loads(metadata[key])
    except ValueError as error:
        raise InputError(f"{path}: the value of {key} is not JSON ({error}).") from error
