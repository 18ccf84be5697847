"""8-bit integers: static quantization of an ONNX file with ONNX Runtime."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from taskprism.atomic import write_bytes
from taskprism.errors import InputError
from taskprism.extras import import_extra

#: Operators that are computed with 8-bit integers; all others stay float32.
QUANTIZED = ("Conv", "MatMul", "Gemm")


def quantize_onnx(source: str | Path, target: str | Path, images: Iterable[np.ndarray]) -> int:
    """Convert the convolutions and matrix products of an ONNX file to 8-bit integers.

    Weights are quantized per channel. The ranges of activations are those on ``images``, without
    the outer 0.001 % of values. Inputs and outputs stay float32.

    Args:
        source: File of :func:`~taskprism.export.export_onnx`.
        target: File to write.
        images: Calibration images ``(1, 3, H, W)`` float32 as the file takes them: RGB in [0, 1]
            unless it was exported with ``normalize=False``. 50 to 200 images of the kind that the
            network will see are usual.

    Returns:
        Number of images that were read.

    Raises:
        InputError: ONNX Runtime is not installed, or there is no image.

    Example:
        >>> import tempfile
        >>> from taskprism import create_model
        >>> from taskprism.export import export_onnx
        >>> model = create_model("multi_task", ["depth"], backbone="test_resnet", neck="none")
        >>> photographs = np.random.default_rng(0).random((2, 1, 3, 32, 48), dtype=np.float32)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = f"{folder}/a.onnx"
        ...     _ = export_onnx(model, file, size=(32, 48), dynamic_size=False)
        ...     quantize_onnx(file, f"{folder}/a_int8.onnx", photographs)
        2
    """
    quantization = import_extra("onnxruntime.quantization", "onnx", "Quantization")
    preparation = import_extra("onnxruntime.quantization.shape_inference", "onnx", "Quantization")

    class Images(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.count = 0
            self._images: Iterator[np.ndarray] = iter(images)

        def get_next(self) -> Any:  # None ends the calibration
            image = next(self._images, None)
            if image is None:
                return None
            self.count += 1
            return {"images": np.ascontiguousarray(image, dtype=np.float32)}

    reader = Images()
    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.ERROR)  # it advises what is done here already
    try:
        with tempfile.TemporaryDirectory() as folder:
            prepared, finished = Path(folder) / "prepared.onnx", Path(folder) / "int8.onnx"
            preparation.quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
            try:
                quantization.quantize_static(
                    str(prepared),
                    str(finished),
                    reader,
                    quant_format=quantization.QuantFormat.QDQ,
                    op_types_to_quantize=list(QUANTIZED),
                    per_channel=True,
                    activation_type=quantization.QuantType.QUInt8,
                    weight_type=quantization.QuantType.QInt8,
                )
            except ValueError as error:
                if reader.count:
                    raise
                raise InputError(
                    "Quantization needs at least one calibration image, got none."
                ) from error
            write_bytes(Path(target), _with_metadata(finished, Path(source)))
    finally:
        logging.getLogger().setLevel(level)
    return reader.count


def _with_metadata(finished: Path, source: Path) -> bytes:
    """Content of ``finished`` with the metadata of ``source``, which preparation can lose."""
    onnx = import_extra("onnx", "onnx", "Quantization")
    properties = {each.key: each.value for each in onnx.load(str(source)).metadata_props}
    model = onnx.load(str(finished))
    onnx.helper.set_model_props(model, properties)
    return model.SerializeToString()
