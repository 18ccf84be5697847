"""Run an exported ONNX file without PyTorch: only NumPy, Pillow and ONNX Runtime are imported."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from taskprism.errors import CheckpointError, InputError, UnknownNameError
from taskprism.export.session import (
    DISPLAY_KEY,
    INPUT_SIZE_KEY,
    NORMALIZATION_KEY,
    OUTPUTS_KEY,
    SIZE_STEP_KEY,
    open_session,
)

_LEAST_SIDE = 32
_PERCENTILES = (1, 99)


@dataclass(frozen=True)
class Output:
    """One output of a file.

    Attributes:
        name: Name of the task.
        display: How its values become colors, see :func:`taskprism.export.display_of`.

    Example:
        >>> Output("albedo", {"kind": "rgb"}).color(np.ones((2, 2, 3), np.float32)).max()
        np.uint8(255)
    """

    name: str
    display: dict[str, Any]

    @property
    def class_names(self) -> list[str]:
        """Names of the classes; empty for other tasks."""
        return list(self.display.get("names", ()))

    def limits(self, values: np.ndarray) -> tuple[float, float] | None:
        """Values of the darkest and the brightest color; None if they are always the same."""
        if self.display["kind"] != "range":
            return None
        usable = values[np.isfinite(values) & (values > 0)]
        if not usable.size:
            return 0.0, 1.0
        low, high = np.percentile(usable, _PERCENTILES)
        return float(low), float(high)

    def color(self, values: np.ndarray, limits: tuple[float, float] | None = None) -> np.ndarray:
        """Picture ``(H, W, 3)`` uint8 of decoded values ``(H, W)`` or ``(H, W, 3)``.

        Args:
            values: As :meth:`OnnxPredictor.predict` returns them.
            limits: Values of the first and last color; by default :meth:`limits`.
        """
        kind = self.display["kind"]
        if kind == "classes":
            return np.asarray(self.display["colors"], np.uint8)[values]
        if kind == "directions":
            values = (values + 1) / 2
        if kind in ("directions", "rgb"):
            return (np.clip(np.nan_to_num(values), 0, 1) * 255).round().astype(np.uint8)
        low, high = limits or self.limits(values) or (0.0, 1.0)
        finite = np.isfinite(values)
        colors = np.asarray(self.display["colors"], np.uint8)
        unit = (np.where(finite, values, low) - low) / max(high - low, 1e-12)
        index = (np.clip(unit, 0, 1) * (len(colors) - 1)).round().astype(int)
        return np.where(finite[..., None], colors[index], np.uint8(0))


class OnnxPredictor:
    """Predictions of an ONNX file that was exported with ``decode=True``.

    Args:
        path: The file.
        providers: Execution providers of ONNX Runtime; by default the CPU.

    Attributes:
        outputs: What the file predicts, in order.
        input_size: ``(H, W)`` at which the network was trained.
        size_step: Accepted sizes are multiples of it; 0 if the file accepts ``input_size`` only.

    Raises:
        InputError: ONNX Runtime is not installed, or the file does not hold decoded predictions
            of this package.
        CheckpointError: The file cannot be read.

    Example:
        >>> import tempfile
        >>> from taskprism import create_model
        >>> from taskprism.export import OnnxPredictor, export_onnx
        >>> model = create_model("multi_task", ["depth"], backbone="test_resnet", neck="none")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = f"{folder}/a.onnx"
        ...     _ = export_onnx(model, file, (32, 48), decode=True, dynamic_size=False)
        ...     predictor = OnnxPredictor(file)
        >>> predictor.predict(np.zeros((60, 80, 3), np.uint8))["depth"].shape
        (60, 80)
    """

    def __init__(
        self, path: str | Path, providers: Sequence[str] = ("CPUExecutionProvider",)
    ) -> None:
        self.session, stated = open_session(path, providers)
        if stated.get(OUTPUTS_KEY) != "decoded":
            raise InputError(
                f"{path} does not hold decoded predictions of taskprism. Export the model again: "
                "taskprism export RUN --format onnx."
            )
        try:
            display = json.loads(stated[DISPLAY_KEY])
            height, width = json.loads(stated[INPUT_SIZE_KEY])
            normalization = json.loads(stated[NORMALIZATION_KEY])
            self.size_step = int(json.loads(stated[SIZE_STEP_KEY]))
            names = [output.name for output in self.session.get_outputs()]
            self.outputs = [Output(name, display[name]) for name in names]
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"The metadata of {path} are damaged ({error!r}). Export the model again."
            ) from error
        self.normalization: dict[str, list[float]] | None = normalization
        self.input_size = int(height), int(width)

    def predict(
        self, image: np.ndarray, tasks: Sequence[str] | None = None, native: bool = False
    ) -> dict[str, np.ndarray]:
        """Predict at the size of the image.

        The image is resized to about the pixels of the training size with its aspect ratio, or to
        the fixed size of the file. Predictions are resized back: class indices to the nearest
        pixel, unit vectors and other values bilinearly.

        Args:
            image: ``(H, W, 3)`` RGB, uint8 or float32 in [0, 1].
            tasks: Names of outputs; by default all.
            native: Run the network at the size of the image, if the file allows it.

        Returns:
            Task -> ``(H, W)``, or ``(H, W, C)`` if it has several channels.

        Raises:
            InputError: The image has another shape or type.
            UnknownNameError: The file has no such output.
        """
        channels = self.session.get_inputs()[0].shape[1]
        if (
            image.ndim != 3
            or image.shape[2] != channels
            or image.dtype not in (np.uint8, np.float32)
        ):
            raise InputError(
                f"Expected an image (H, W, {channels}), uint8 or float32 from 0 to 1, got "
                f"{image.shape} {image.dtype}. Convert it{' to RGB' if channels == 3 else ''}."
            )
        if image.dtype == np.uint8:
            image = image.astype(np.float32) / np.float32(255)
        chosen = self.choose(tasks)
        height, width = image.shape[:2]
        size = self._network_size(height, width, native)
        resized = np.asarray(_resize(image, size), np.float32)
        if self.normalization is not None:
            mean, std = self.normalization["mean"], self.normalization["std"]
            resized = (resized - np.array(mean, np.float32)) / np.array(std, np.float32)
        batch = np.ascontiguousarray(resized.transpose(2, 0, 1)[None])
        arrays = self.session.run([output.name for output in chosen], {"images": batch})
        return {
            output.name: self._at_size(
                output, np.asarray(array)[0].transpose(1, 2, 0), (height, width)
            )
            for output, array in zip(chosen, arrays, strict=True)
        }

    def choose(self, tasks: Sequence[str] | None = None) -> list[Output]:
        """Outputs by name; without names all.

        Raises:
            UnknownNameError: The file has no such output.
        """
        known = {output.name: output for output in self.outputs}
        for name in tasks or ():
            if name not in known:
                raise UnknownNameError("output of this file", name, known)
        return [known[name] for name in tasks or known]

    def _network_size(self, height: int, width: int, native: bool) -> tuple[int, int]:
        if not self.size_step:
            return self.input_size
        scale = 1.0
        if not native:
            scale = math.sqrt(self.input_size[0] * self.input_size[1] / (height * width))
        step = self.size_step
        least = -(-_LEAST_SIDE // step)
        rows, columns = (max(least, round(side * scale / step)) for side in (height, width))
        return rows * step, columns * step

    def _at_size(self, output: Output, values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        if np.issubdtype(values.dtype, np.integer):
            values = values[..., 0]
            rows = _nearest(values.shape[0], size[0])
            return values[rows][:, _nearest(values.shape[1], size[1])]
        resized = _resize(values, size)
        if output.display["kind"] == "directions":
            length = np.linalg.norm(resized, axis=-1, keepdims=True)
            resized = resized / np.where(length > 1e-6, length, 1)
        return resized[..., 0] if resized.shape[-1] == 1 else resized


def _nearest(source: int, target: int) -> np.ndarray:
    return np.minimum(((np.arange(target) + 0.5) * source / target).astype(int), source - 1)


def _resize(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """``(H, W, C)`` float32, bilinear with antialiasing, channel by channel."""
    if values.shape[:2] == tuple(size):
        return values
    channels = [
        np.asarray(
            Image.fromarray(np.ascontiguousarray(values[..., channel]), mode="F").resize(
                (size[1], size[0]), Image.Resampling.BILINEAR
            )
        )
        for channel in range(values.shape[2])
    ]
    return np.stack(channels, axis=-1)
