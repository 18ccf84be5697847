"""ONNX files: write a network, and compare the file with the network."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timm.layers import padding as timm_padding
from torch import nn

from taskprism.atomic import write_bytes
from taskprism.checks import check_integer, check_size
from taskprism.errors import InputError
from taskprism.export.metadata import describe_file
from taskprism.export.network import TaskNetwork
from taskprism.extras import import_extra
from taskprism.models.base import MultiTaskModel

#: Oldest operator set whose Resize and normalization operators torch's exporter uses.
OLDEST_OPSET = 18
_STEP = 32  # pixels; networks that halve maps exactly take sizes that are multiples of it
_ODD = (7, 13)  # pixels; added to a size so that it has no common divisor with strides
_TOLERANCE = 1e-3  # relative; rounding differs by 1e-6 to 1e-5
_LARGEST_FILE = 2**31 - 2**20  # bytes; a protocol buffer holds less than 2 GiB


@dataclass(frozen=True)
class ExportReport:
    """What was written, and how far its outputs are from those of the network.

    Attributes:
        path: The file.
        opset: Version of the ONNX operator set.
        operators: Operator -> number of nodes; operators of other domains as ``domain::name``.
        size_rule: Sizes of images that the file accepts, in words.
        differences: ``(batch, H, W)`` -> task -> largest difference to the network, relative to
            the largest output. Class indices: share of pixels that differ.

    Example:
        >>> report = ExportReport(Path("a.onnx"), 18, {"Conv": 2}, "any", {(1, 8, 8): {"a": 1e-7}})
        >>> report.largest
        1e-07
    """

    path: Path
    opset: int
    operators: Mapping[str, int]
    size_rule: str
    differences: Mapping[tuple[int, int, int], Mapping[str, float]]

    @property
    def largest(self) -> float:
        """Largest difference of all tasks and sizes."""
        return max(each for by_task in self.differences.values() for each in by_task.values())

    def lines(self) -> list[str]:
        """The report as text."""
        operators = ", ".join(f"{name} {count}" for name, count in self.operators.items())
        lines = [
            f"Wrote {self.path} (ONNX operator set {self.opset}; image sizes: {self.size_rule}).",
            f"Operators: {operators}.",
        ]
        for (batch, height, width), by_task in self.differences.items():
            words = ", ".join(f"{task} {value:.1e}" for task, value in by_task.items())
            lines.append(
                f"Largest relative difference to PyTorch at {batch} x 3 x {height} x {width}: "
                f"{words}."
            )
        return lines


def export_onnx(
    model: MultiTaskModel,
    path: str | Path,
    size: tuple[int, int],
    tasks: Sequence[str] | None = None,
    normalize: bool = True,
    decode: bool = False,
    dynamic_size: bool | None = None,
    opset: int = OLDEST_OPSET,
    license_terms: str = "",
) -> ExportReport:
    """Write a model as an ONNX file and compare the file with the model.

    The input ``images`` is ``(B, 3, H, W)`` float32 with any B. The outputs have the names of the
    tasks. The file is run with ONNX Runtime at two batch sizes, and at two image sizes if it
    accepts several. An existing file is replaced only after this has succeeded.

    Args:
        model: Any model of this package.
        path: The file to write.
        size: ``(H, W)`` for which the network was trained.
        tasks: Names of main tasks to export, in the order of the outputs; by default all.
        normalize: Take RGB in [0, 1]; otherwise normalized images, see
            :meth:`~taskprism.models.MultiTaskModel.normalize`.
        decode: Return decoded predictions: class indices, meters, unit vectors, probabilities.
            Otherwise raw outputs, from which :meth:`taskprism.tasks.Task.decode` computes them.
        dynamic_size: Accept images of other sizes. None: if the model allows it.
        opset: Version of the ONNX operator set, at least 18.
        license_terms: Terms of weights and data, which are written into the file.

    Returns:
        Operators, accepted sizes and the differences.

    Raises:
        InputError: An extra is not installed, the model works at one size only and
            ``dynamic_size`` is True, the graph cannot be exported, or the file computes something
            else than the network.
        UnknownNameError: The model has no such task.

    Example:
        >>> import tempfile
        >>> from taskprism import create_model
        >>> model = create_model("multi_task", ["depth"], backbone="test_resnet", neck="none")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = f"{folder}/depth.onnx"
        ...     report = export_onnx(model, file, size=(32, 48), dynamic_size=False)
        >>> report.size_rule, report.largest < 1e-4
        ('32 x 48 only', True)
    """
    height, width = check_size("export_onnx", "size", size)
    check_integer("export_onnx", "opset", opset, low=OLDEST_OPSET)
    for module in ("onnx", "onnxruntime", "onnxscript"):
        import_extra(module, "onnx", "Exporting to ONNX")
    if dynamic_size and not model.any_input_size:
        raise InputError(
            f"This {model.name} works at {height} x {width} pixels only, so its file cannot accept "
            "other sizes. Leave out dynamic_size."
        )
    network = TaskNetwork(model, tasks, normalize, decode)
    wants_sizes = model.any_input_size if dynamic_size is None else dynamic_size
    steps = [1, _STEP, 0] if wants_sizes else [0]
    if any(side % _STEP for side in (height, width)):
        steps = [step for step in steps if step != _STEP]
    describe = partial(
        describe_file,
        model,
        network.tasks,
        (height, width),
        normalize=normalize,
        decode=decode,
        license_terms=license_terms,
    )
    while True:
        step = steps.pop(0)
        try:
            with _evaluation(network):
                program = _trace(network, (height, width), step, opset)
                program.model.metadata_props.update(describe(size_step=step))
                content = _serialize(program)
                differences = _compare(network, content, (height, width), step)
            break
        except InputError:
            if not steps:
                raise
            # Fewer sizes may work: some networks round sizes in ways that the exporter cannot.
    write_bytes(Path(path), content)
    operators = Counter(
        node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}::{node.op_type}"
        for node in program.model.graph.all_nodes()
    )
    return ExportReport(
        Path(path),
        program.model.opset_imports[""],
        dict(operators.most_common()),
        _size_rule((height, width), step),
        differences,
    )


@contextlib.contextmanager
def _evaluation(network: nn.Module) -> Iterator[None]:
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes.items():
            module.training = training


def _trace(
    network: TaskNetwork, size: tuple[int, int], step: int, opset: int
) -> torch.onnx.ONNXProgram:
    """The ONNX program for sizes that are multiples of ``step``; 0: only for ``size``."""
    device, dtype = network.model.image_mean.device, network.model.image_mean.dtype
    # At a multiple of 32, maps of different levels have sizes that are equal or fit by chance, and
    # the exporter would take this for a rule. It needs a size at which they differ.
    height, width = (size[0] + _ODD[0], size[1] + _ODD[1]) if step == 1 else size
    channels = network.model.in_channels
    images = torch.rand(2, channels, height, width, device=device, dtype=dtype)
    shapes: dict[int, Any] = {0: torch.export.Dim("batch")}
    if step == 1:
        shapes |= {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    elif step:
        shapes |= {2: step * torch.export.Dim("rows"), 3: step * torch.export.Dim("columns")}
    try:
        with _silence(), _integer_padding():
            program = torch.onnx.export(
                network,
                (images,),
                dynamo=True,
                dynamic_shapes=(shapes,),
                input_names=["images"],
                output_names=[task.name for task in network.tasks],
                opset_version=opset,
                verbose=False,
            )
    except Exception as error:  # every part of the exporter has its own errors
        raise InputError(
            f"torch.onnx cannot export this {network.model.name}: {_first_line(error)} If the "
            "model is your own, rewrite the operation that it names; see the PyTorch "
            "documentation of torch.export."
        ) from error
    assert program is not None
    return program


@contextlib.contextmanager
def _integer_padding() -> Iterator[None]:
    """Let timm compute "same" padding of any size in integers.

    It divides and rounds up, with which EfficientNet-Lite0 takes over five times as long to trace.
    """
    before = timm_padding.get_same_padding
    timm_padding.get_same_padding = same_padding
    try:
        yield
    finally:
        timm_padding.get_same_padding = before


def same_padding(x: int, kernel_size: int, stride: int, dilation: int) -> int:
    """Pixels that are added so that a convolution gives ``ceil(x / stride)`` values.

    Example:
        >>> same_padding(7, kernel_size=3, stride=2, dilation=1)
        2
    """
    reach = (kernel_size - 1) * dilation + 1
    total = -x % stride + reach - stride
    return total if reach >= stride else max(total, 0)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Hide the exporter's log, which names internal steps and no file of the user."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _serialize(program: torch.onnx.ONNXProgram) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        program.save(file, external_data=False)
        if file.stat().st_size > _LARGEST_FILE:
            raise InputError(
                "The network is larger than 2 GiB, which one ONNX file cannot hold. Use "
                "export_torch, or a smaller backbone."
            )
        return file.read_bytes()


def _compare(
    network: TaskNetwork, content: bytes, size: tuple[int, int], step: int
) -> dict[tuple[int, int, int], dict[str, float]]:
    onnxruntime = import_extra("onnxruntime", "onnx", "Exporting to ONNX")
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    image = network.model.image_mean
    generator = torch.Generator().manual_seed(0)
    shapes = [(1, *size), (3, *size)]
    if step:
        # Without a common divisor: maps are rounded up at every level of the network.
        more = (_ODD[0] + 4, _ODD[1] + 8) if step == 1 else (_STEP, 2 * _STEP)
        shapes.append((1, size[0] + more[0], size[1] + more[1]))
    found: dict[tuple[int, int, int], dict[str, float]] = {}
    for batch, height, width in shapes:
        images = torch.rand(batch, network.model.in_channels, height, width, generator=generator)
        expected = network(images.to(image.device, image.dtype))
        actual = session.run(None, {"images": images.numpy()})
        found[batch, height, width] = {
            task.name: difference(ours.float().cpu().numpy(), np.asarray(theirs))
            if ours.is_floating_point()
            else float(np.mean(ours.cpu().numpy() != theirs))
            for task, ours, theirs in zip(network.tasks, expected, actual, strict=True)
        }
    for shape, by_task in found.items():
        wrong = {task: value for task, value in by_task.items() if not value <= _TOLERANCE}
        if wrong:
            raise InputError(
                f"The exported file does not compute what the network computes: at "
                f"{' x '.join(map(str, shape))} (batch, height, width) the outputs differ by "
                f"{wrong}. It was not written. Report this with the options of the model."
            )
    return found


def difference(expected: np.ndarray, actual: np.ndarray) -> float:
    """Largest absolute difference, relative to the largest absolute expected value.

    Example:
        >>> difference(np.array([1.0, 2.0]), np.array([1.0, 2.5]))
        0.25
    """
    return float(np.abs(expected - actual).max() / max(np.abs(expected).max(), 1e-12))


def _size_rule(size: tuple[int, int], step: int) -> str:
    if step == 1:
        return "any"
    return f"multiples of {step}" if step else f"{size[0]} x {size[1]} only"


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    causes = [line for line in lines if line.startswith("<class") or "Error" in line]
    return (causes or lines or [type(error).__name__])[-1]
