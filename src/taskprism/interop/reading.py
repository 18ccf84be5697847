"""A released checkpoint file -> tensors under the names that the network gave them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy._core import multiarray
from torch import Tensor

from taskprism.backbones.sources import from_file
from taskprism.errors import CheckpointError

# What wraps a network puts its own name in front: data parallelism, or a wrapper class.
_WRAPPERS = ("module.", "model.")
# Training code keeps scores beside the weights; as NumPy numbers they are harmless but refused by
# default. The second name is that of NumPy before version 2.
_NUMBERS: list[Any] = [
    (multiarray.scalar, "numpy._core.multiarray.scalar"),
    (multiarray.scalar, "numpy.core.multiarray.scalar"),
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("float64", "float32", "int64", "int32", "bool")),
]


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """Read a ``.pth``, ``.pth.tar`` or ``.safetensors`` file; no code in it is ever run.

    The network's state dict may be the whole file or its entry ``"model"``; names lose the prefixes
    ``module.`` and ``model.``.

    Raises:
        CheckpointError: If the file is missing, unreadable, or holds no tensors by name.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"There is no file {str(path)!r} to import.")
    with torch.serialization.safe_globals(_NUMBERS):
        state = from_file(path).state
    return {_unwrapped(name): tensor for name, tensor in state.items()}


def _unwrapped(name: str) -> str:
    while name.startswith(_WRAPPERS):
        name = name.split(".", 1)[1]
    return name
