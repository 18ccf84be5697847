"""What an exported file says about itself, so that it can be used without this package.

All values are strings; those of tasks, normalization, input size and display are JSON.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import metadata
from typing import Any

import numpy as np
import torch

from taskprism.export.session import (
    DISPLAY_KEY,
    INPUT_SIZE_KEY,
    LICENSE_KEY,
    NORMALIZATION_KEY,
    OUTPUTS_KEY,
    SIZE_STEP_KEY,
    TASKS_KEY,
)
from taskprism.models.base import MultiTaskModel
from taskprism.tasks.base import Task
from taskprism.tasks.colors import ColorScale, DirectionBall, Swatches

_SHADES = 256


def describe_file(
    model: MultiTaskModel,
    tasks: Sequence[Task],
    size: tuple[int, int],
    size_step: int,
    normalize: bool,
    decode: bool,
    license_terms: str,
) -> dict[str, str]:
    """Metadata of an exported file.

    Args:
        model: The exported model.
        tasks: Tasks in the order of the outputs.
        size: ``(H, W)`` at which the network was trained.
        size_step: Accepted sizes are multiples of it; 0 if the file accepts only ``size``.
        normalize: Whether the graph normalizes its input.
        decode: Whether the outputs are decoded.
        license_terms: Terms of weights and data, if known.
    """
    statistics = {"mean": model.image_mean.flatten().tolist()}
    statistics["std"] = model.image_std.flatten().tolist()
    stated = {
        "taskprism.version": metadata.version("taskprism"),
        "taskprism.model": model.name,
        TASKS_KEY: json.dumps([task.to_config() for task in tasks]),
        DISPLAY_KEY: json.dumps({task.name: display_of(task) for task in tasks}),
        NORMALIZATION_KEY: json.dumps(None if normalize else statistics),
        OUTPUTS_KEY: "decoded" if decode else "raw",
        INPUT_SIZE_KEY: json.dumps(list(size)),
        SIZE_STEP_KEY: json.dumps(size_step),
    }
    return stated | ({LICENSE_KEY: license_terms} if license_terms else {})


def display_of(task: Task) -> dict[str, Any]:
    """How the predictions of a task become colors, as plain values.

    Returns:
        ``kind`` and what it needs: ``classes`` (``names``, ``colors``), ``range`` (256 ``colors``
        from the 1st to the 99th percentile, ``unit``), ``unit_range`` (256 ``colors`` from 0 to 1),
        ``directions`` (RGB from -1 to 1) or ``rgb`` (RGB from 0 to 1).

    Example:
        >>> from taskprism.tasks import create_task
        >>> display_of(create_task("depth"))["kind"], display_of(create_task("albedo"))["kind"]
        ('range', 'rgb')
    """
    sample = torch.linspace(0, 1, _SHADES).view(1, 1, _SHADES)
    sample = sample.expand(task.target_channels, -1, -1)
    if not task.target_dtype.is_floating_point:
        sample = (torch.arange(_SHADES) % task.channels).view(1, 1, -1)
    legend = task.legend(sample)
    if isinstance(legend, Swatches):
        colors, names = zip(*legend.entries, strict=True)
        return {"kind": "classes", "names": list(names), "colors": [list(c) for c in colors]}
    if isinstance(legend, ColorScale):
        return {"kind": "range", "colors": np.asarray(legend.colors).tolist(), "unit": legend.unit}
    if isinstance(legend, DirectionBall):
        return {"kind": "directions"}
    if task.target_channels == 1:
        return {"kind": "unit_range", "colors": task.color(sample)[0].tolist()}
    return {"kind": "rgb"}
