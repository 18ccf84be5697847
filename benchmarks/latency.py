"""Time per image of PyTorch, torch.compile, ONNX Runtime and 8-bit integers, and their parity.

    python benchmarks/latency.py                                   # every model, 192 x 256
    python benchmarks/latency.py --models mti_net ctal --size 288 384 --threads 2
    python benchmarks/latency.py --parity                          # exports only: no times

Every model predicts four tasks from one random image of the given size. In each round all variants
run one after the other; the table holds the median time of PyTorch, and the medians of the other
times divided by it. The last columns are the largest differences between the ONNX file and PyTorch,
relative to the largest output, at the given size and at a larger, odd one. Models that are built
for one size are exported for each of the two.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from taskprism import create_model
from taskprism.backbones import ModulatedBackbone
from taskprism.backbones.residual_stages import ResidualStages
from taskprism.errors import InputError
from taskprism.export import export_onnx, quantize_onnx
from taskprism.models import MultiTaskModel, find_model, list_models

TASKS = {"semseg": 20, "depth": 1, "normals": 3, "edge": 1}


def parse() -> argparse.Namespace:
    """Read the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="*", default=list_models())
    parser.add_argument("--backbone", default="resnet18", help="of models that take any")
    parser.add_argument("--size", nargs=2, type=int, default=[192, 256], help="height and width")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--parity", action="store_true", help="only export and compare")
    return parser.parse_args()


def build(name: str, backbone: str, size: tuple[int, int]) -> MultiTaskModel:
    """A network with random weights, and with running statistics that are not 0 and 1."""
    kind = find_model(name).backbone_type
    if issubclass(kind, ModulatedBackbone):
        backbone = "se_resnet26"
    elif issubclass(kind, ResidualStages):
        backbone = "resnet18"
    torch.manual_seed(0)
    options = {} if find_model(name).any_input_size else {"size": size}
    model = create_model(name, TASKS, backbone=backbone, **options)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, 0, 0.1)
            torch.nn.init.uniform_(module.running_var, 0.8, 1.2)
    return model.eval()


def seconds(run: Callable[[], object]) -> float:
    """Time of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def runner(path: Path, image: np.ndarray, threads: int) -> Callable[[], object]:
    """Function that runs an ONNX file."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"images": image})


def measure(name: str, options: argparse.Namespace, folder: Path) -> str:
    """Row of the table."""
    size = tuple(options.size)
    larger = (size[0] + 11, size[1] + 21)
    model = build(name, options.backbone, size)
    exact = folder / f"{name}.onnx"
    report = export_onnx(model, exact, size)
    differences = {shape[1:]: 0.0 for shape in report.differences}
    for shape, by_task in report.differences.items():
        differences[shape[1:]] = max(differences[shape[1:]], *by_task.values())
    if not model.any_input_size:
        # Its parts are built for sizes that its backbone's levels divide.
        second = (size[0] + 32, size[1] + 64)
        other = build(name, options.backbone, second)
        differences[second] = export_onnx(other, folder / "other.onnx", second).largest
    elif len(differences) < 2:
        raise InputError(f"{name} was exported for {size} only, not for {larger}.")
    parity = [f"{value:.1e}" for value in differences.values()]
    if options.parity:
        return f"| {name} | {' | '.join(parity)} |"
    images = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(1))
    array = images.numpy()
    rounded = folder / f"{name}_int8.onnx"
    quantize_onnx(exact, rounded, [array] * 2)
    normalized = model.normalize(images)
    compiled = torch.compile(model)
    variants: dict[str, Callable[[], object]] = {
        "torch": lambda: model(normalized),
        "compiled": lambda: compiled(normalized),
        "onnx": runner(exact, array, options.threads),
        "int8": runner(rounded, array, options.threads),
    }
    times: dict[str, list[float]] = {variant: [] for variant in variants}
    with torch.inference_mode():
        for run in variants.values():
            run()
        for _ in range(options.rounds):
            for variant, run in variants.items():
                times[variant].append(seconds(run))
    medians = {variant: statistics.median(each) for variant, each in times.items()}
    ratios = [f"{medians[variant] / medians['torch']:.2f}" for variant in list(variants)[1:]]
    cells = [name, f"{1000 * medians['torch']:.0f} ms", *ratios, *parity]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Export and time all models, and print the table."""
    options = parse()
    warnings.simplefilter("ignore")
    torch.set_num_threads(options.threads)
    height, width = options.size
    print(
        f"{height} x {width}, batch 1, {len(TASKS)} tasks, {options.threads} thread(s), "
        f"{options.rounds} rounds, torch {torch.__version__}, ONNX Runtime "
        f"{onnxruntime.__version__}.\n"
    )
    times = [] if options.parity else ["PyTorch", "compiled", "ONNX", "ONNX int8"]
    titles = ["model", *times, "difference at the size", "at a second size"]
    print(f"| {' | '.join(titles)} |\n|---|{'---:|' * (len(titles) - 1)}")
    with tempfile.TemporaryDirectory() as folder:
        for name in options.models:
            print(measure(name, options, Path(folder)), flush=True)


if __name__ == "__main__":
    main()
