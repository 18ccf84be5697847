"""An ONNX file as a model: scored and used like the network that it was exported from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from taskprism.errors import CheckpointError, InputError
from taskprism.export.session import (
    INPUT_SIZE_KEY,
    NORMALIZATION_KEY,
    OUTPUTS_KEY,
    SIZE_STEP_KEY,
    TASKS_KEY,
    open_session,
)
from taskprism.models.base import MultiTaskModel
from taskprism.models.predictions import Predictions
from taskprism.tasks import resolve_tasks


class OnnxModel(MultiTaskModel):
    """Model whose forward pass is an ONNX file with raw outputs (``decode=False``).

    It runs on the CPU, cannot be trained or saved, and works wherever a model is only evaluated:
    :func:`taskprism.predict`, :func:`taskprism.scoring.score`.

    Args:
        path: File of :func:`~taskprism.export.export_onnx`.

    Raises:
        InputError: ONNX Runtime is not installed, the outputs are decoded, or a task is not
            registered.
        CheckpointError: The file cannot be read.

    Example:
        >>> import tempfile
        >>> from taskprism import create_model
        >>> from taskprism.export import OnnxModel, export_onnx
        >>> model = create_model("multi_task", ["depth"], backbone="test_resnet", neck="none")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = f"{folder}/a.onnx"
        ...     _ = export_onnx(model, file, size=(32, 48), dynamic_size=False)
        ...     outputs = OnnxModel(file)(torch.rand(1, 3, 32, 48))
        >>> tuple(outputs["depth"].shape)
        (1, 1, 32, 48)
    """

    name: ClassVar[str] = "onnx"

    def __init__(self, path: str | Path) -> None:
        session, stated = open_session(path)
        if stated.get(OUTPUTS_KEY) != "raw":
            raise InputError(
                f"{path} does not hold raw outputs of taskprism, from which metrics are computed. "
                "Export the model with decode=False (--raw)."
            )
        try:
            tasks = resolve_tasks(json.loads(stated[TASKS_KEY]), trusted=False)
            size = json.loads(stated[INPUT_SIZE_KEY])
            normalization = json.loads(stated[NORMALIZATION_KEY])
            is_fixed = not json.loads(stated[SIZE_STEP_KEY])
        except (KeyError, ValueError) as error:
            raise CheckpointError(
                f"The metadata of {path} are damaged ({error!r}). Export the model again."
            ) from error
        super().__init__(tasks)
        self.session = session
        self.input_size = int(size[0]), int(size[1])
        self.any_input_size = not is_fixed
        channels = session.get_inputs()[0].shape[1]
        statistics = normalization or {"mean": [0.0] * channels, "std": [1.0] * channels}
        self.image_mean = torch.tensor(statistics["mean"]).view(-1, 1, 1)
        self.image_std = torch.tensor(statistics["std"]).view(-1, 1, 1)

    def forward(self, images: Tensor) -> Predictions:
        """Run the file on ``(B, 3, H, W)`` from :meth:`normalize`."""
        names = [task.name for task in self.tasks]
        arrays = self.session.run(names, {"images": images.cpu().float().numpy()})
        return Predictions(
            {
                name: torch.from_numpy(np.array(array))
                for name, array in zip(names, arrays, strict=True)
            }
        )
