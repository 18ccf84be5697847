"""Open an ONNX file and read what it says about itself; imports no PyTorch.

The metadata are strings. Values of all keys but ``taskprism.outputs`` and ``taskprism.license`` are
JSON; ``docs/export.md`` lists them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from taskprism.errors import CheckpointError
from taskprism.extras import import_extra

TASKS_KEY = "taskprism.tasks"
OUTPUTS_KEY = "taskprism.outputs"
NORMALIZATION_KEY = "taskprism.normalization"
INPUT_SIZE_KEY = "taskprism.input_size"
SIZE_STEP_KEY = "taskprism.size_step"
DISPLAY_KEY = "taskprism.display"
LICENSE_KEY = "taskprism.license"


def open_session(
    path: str | Path, providers: Sequence[str] = ("CPUExecutionProvider",)
) -> tuple[Any, dict[str, str]]:
    """Session of ONNX Runtime for a file, and the metadata of the file.

    Args:
        path: The file.
        providers: Execution providers of ONNX Runtime, in order of preference.

    Raises:
        InputError: ONNX Runtime is not installed.
        CheckpointError: The file cannot be read.
    """
    onnxruntime = import_extra("onnxruntime", "onnx", f"Reading {path}")
    try:
        session = onnxruntime.InferenceSession(str(path), providers=list(providers))
    except Exception as error:  # the errors of ONNX Runtime have no common base
        reason = str(error).strip().splitlines()[0]
        raise CheckpointError(
            f"Cannot read {path}: {reason}. Export the model again with `taskprism export`."
        ) from error
    return session, dict(session.get_modelmeta().custom_metadata_map)
