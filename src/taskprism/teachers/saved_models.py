"""Trained runs, saved models and models of the hub as teachers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from taskprism.errors import TaskprismError
from taskprism.models.hub import (
    find_model_folder,
    load,
    read_config,
    run_manifest,
    training_size,
)
from taskprism.models.inference import raw_outputs
from taskprism.options import Size
from taskprism.teachers.base import Teacher, hash_weights, register_teacher
from taskprism.teachers.model_cards import license_of_card


@register_teacher
class SavedModelTeacher(Teacher):
    """A run directory, a folder of ``save_pretrained``, or a hub id of a taskprism model.

    Args:
        source: As for :func:`taskprism.load`.
        device: Where it runs.
        imports: Modules or Python files that define own parts of the model.
        checkpoint: Weights of the last epoch of a run directory, or of its best.
        size: ``(H, W)`` at about which the network sees images; by default that of its training,
            if the run directory records it, otherwise the size of each image.

    Example:
        >>> import tempfile
        >>> from taskprism import create_model
        >>> model = create_model("multi_task", {"depth": 1}, backbone="test_resnet", neck="none")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = model.save_pretrained(folder)
        ...     teacher = SavedModelTeacher(folder)
        >>> teacher.label([torch.rand(3, 40, 50)])[0]["depth"].values.shape
        torch.Size([1, 40, 50])
    """

    name = "model"

    def __init__(
        self,
        source: str,
        device: torch.device | str = "cpu",
        imports: Iterable[str | Path] = (),
        checkpoint: Literal["last", "best"] = "last",
        size: Size | None = None,
    ) -> None:
        folder = find_model_folder(source, checkpoint)
        self.model = load(folder, device, imports)
        self.tasks = tuple(self.model.tasks)
        self.input_size = size or self.model.input_size or training_size(source)
        licenses = run_manifest(source).get("licenses")
        stated = licenses.items() if isinstance(licenses, dict) else ()
        self.license = "; ".join(f"{key}: {value}" for key, value in stated if value)
        self.license = self.license or license_of_card(folder)

    @classmethod
    def accepts(cls, source: str) -> bool:
        """Whether :func:`taskprism.load` finds a model there."""
        if source.endswith(".onnx"):
            return False
        try:
            return "model_type" not in read_config(find_model_folder(source))
        except TaskprismError:
            return False

    def outputs(self, images: Sequence[Tensor], tasks: Sequence[str]) -> list[dict[str, Tensor]]:
        """Raw outputs at the size of the network."""
        return raw_outputs(self.model, images, self.input_size, tasks)

    def fingerprint(self) -> str:
        """Hash of weights, configuration and size."""
        return hash_weights(self.model, {"model": self.model.config, "size": self.input_size})
