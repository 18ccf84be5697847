"""Programs of ``torch.export``, which run in PyTorch without this package."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import torch

from taskprism.atomic import write_bytes
from taskprism.checks import check_size
from taskprism.errors import InputError
from taskprism.export.metadata import describe_file
from taskprism.export.network import TaskNetwork
from taskprism.models.base import MultiTaskModel


def export_torch(
    model: MultiTaskModel,
    path: str | Path,
    size: tuple[int, int],
    tasks: Sequence[str] | None = None,
    normalize: bool = True,
    decode: bool = False,
    license_terms: str = "",
) -> None:
    """Write a model as a program of ``torch.export`` for images of one size and any batch.

    Load it with ``torch.export.load(path).module()``. It returns a tuple with one tensor per task.
    The metadata of :func:`export_onnx` are in the extra file ``taskprism.json``.

    Args:
        model: Any model of this package.
        path: The file to write, usually ``.pt2``.
        size: ``(H, W)`` of the images.
        tasks: Names of main tasks, in the order of the outputs; by default all.
        normalize: Take RGB in [0, 1]; otherwise normalized images.
        decode: Return decoded predictions instead of raw outputs.
        license_terms: Terms of weights and data, which are written into the file.

    Raises:
        InputError: The graph cannot be exported.
        UnknownNameError: The model has no such task.

    Example:
        >>> import tempfile, torch
        >>> from taskprism import create_model
        >>> model = create_model("multi_task", ["depth"], backbone="test_resnet", neck="none")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     export_torch(model, f"{folder}/depth.pt2", size=(32, 48))
        ...     program = torch.export.load(f"{folder}/depth.pt2").module()
        >>> [tuple(output.shape) for output in program(torch.rand(5, 3, 32, 48))]
        [(5, 1, 32, 48)]
    """
    height, width = check_size("export_torch", "size", size)
    network = TaskNetwork(model, tasks, normalize, decode)
    was_training = model.training
    network.eval()
    images = torch.rand(2, model.in_channels, height, width).to(model.image_mean)
    try:
        program = torch.export.export(
            network, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},)
        )
    except Exception as error:  # the exporter has no common base class of errors
        raise InputError(
            f"torch.export cannot export this {model.name}: {error} If the model is your own, "
            "rewrite the operation that it names; see the PyTorch documentation of torch.export."
        ) from error
    finally:
        model.train(was_training)
    metadata = describe_file(
        model, network.tasks, (height, width), 0, normalize, decode, license_terms
    )
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={"taskprism.json": json.dumps(metadata)})
    write_bytes(Path(path), buffer.getvalue())
