"""Time and memory of CTAL: the textbook form, blocks of rows ("direct"), and linear memory.

    python benchmarks/ctal.py                                    # seconds: small maps
    python benchmarks/ctal.py --sizes 18x24 36x48 72x96 144x192  # the published sizes and beyond
    python benchmarks/ctal.py --sizes 72x96 --device cuda --dtype bfloat16

Each measurement runs in a separate process, and the forms alternate, so that neither memory nor
other load favors one. Time is the minimum over all turns. Memory is what the first pass adds to the
memory of the process. The textbook form runs only if its matrices fit (``--limit-gb``). On a busy
machine use ``--clock cpu --threads 1``: processor time does not include waiting.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from taskprism.distillation import CTAL
from taskprism.distillation.ctal import direct_is_faster

TESTS = Path(__file__).resolve().parents[1] / "tests"
FORMS = ("textbook", "direct", "linear")
COLUMNS = (*FORMS, "auto")
PASSES = ("inference", "training")
PROCESS = Path("/proc/self")
NAMES = ["semseg", "depth", "normals", "edge", "saliency"]


def parse() -> argparse.Namespace:
    """Read the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=["18x24", "30x40"], help="HxW of the maps")
    parser.add_argument("--tasks", nargs="+", type=int, default=[3])
    parser.add_argument("--channels", nargs="+", type=int, default=[128])
    parser.add_argument("--kernel-size", type=int, default=3)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--per-task", action="store_true", help="a kernel for each target task")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=["float32", "float64", "bfloat16"])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--clock", default="wall", choices=["wall", "cpu"])
    parser.add_argument("--turns", type=int, default=2, help="measurements of each form")
    parser.add_argument("--limit-gb", type=float, default=8.0, help="limit of the textbook form")
    parser.add_argument("--plot", type=Path, help="file for a plot of time and memory over size")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(case: dict) -> dict[str, float]:
    """Measure time (s) and added memory (MB) of one form and pass; runs in a new process."""
    torch.set_num_threads(case["threads"])
    device, dtype = torch.device(case["device"]), getattr(torch, case["dtype"])
    names = NAMES[: case["tasks"]]
    run = CTAL.forward
    if case["form"] == "textbook":
        sys.path.insert(0, str(TESTS))
        from reference.distillation_ctal import ctal_direct as run

    def step(height: int, width: int) -> Callable[[], None]:
        module = CTAL(
            names,
            case["channels"],
            (height, width),
            case["kernel_size"],
            shared_kernel=not case["per_task"],
            method="direct" if case["form"] == "textbook" else case["form"],
        ).to(device, dtype)
        shape = (case["batch"], case["channels"], height, width)
        features = {name: torch.randn(shape, device=device, dtype=dtype) for name in names}
        inputs = [x.requires_grad_() for x in (*features.values(), *module.parameters())]

        def infer() -> None:
            with torch.no_grad():
                run(module, features)

        def train() -> None:
            refined = run(module, features)
            torch.autograd.grad([x.sum() for x in refined.values()], inputs)

        return infer if case["pass"] == "inference" else train

    step(6, 8)()  # the first call loads libraries and starts threads
    under_test = step(*case["size"])
    before = reset_peak(device)
    under_test()
    memory = peak(device) - before
    clock = time.perf_counter if case["clock"] == "wall" else time.process_time
    times: list[float] = []
    while len(times) < 3 or (len(times) < 50 and sum(times) < 1):
        wait(device)
        start = clock()
        under_test()
        wait(device)
        times.append(clock() - start)
    return {"seconds": min(times), "megabytes": memory}


def wait(device: torch.device) -> None:
    """Wait until the accelerator has finished."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def reset_peak(device: torch.device) -> float:
    """Reset the peak and return the memory in use, in MB."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated() / 1e6
    if PROCESS.is_dir():
        (PROCESS / "clear_refs").write_text("5")  # resets the peak of resident memory on Linux
    return peak(device)


def peak(device: torch.device) -> float:
    """Highest memory in MB since :func:`reset_peak`."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 1e6
    if PROCESS.is_dir():
        lines = (PROCESS / "status").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) / 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def fits(case: dict, limit_gb: float) -> bool:
    """Whether the matrices of the textbook form fit into the limit; other forms always fit."""
    if case["form"] != "textbook":
        return True
    positions = case["size"][0] * case["size"][1]
    number = getattr(torch, case["dtype"]).itemsize
    matrices = 4 * case["tasks"] + 2  # affinities and their interleaved copy, with gradients
    return case["batch"] * matrices * positions**2 * number / 1e9 <= limit_gb


def in_turns(case: dict, turns: int, limit_gb: float) -> dict[str, dict]:
    """Measure all forms in turns: ``{form: {pass: {"seconds": s, "megabytes": MB}}}``, minima."""
    best: dict[str, dict] = {}
    for _ in range(turns):
        for kind in PASSES:
            for form in FORMS:
                one = {**case, "form": form, "pass": kind}
                if not fits(one, limit_gb):
                    continue
                command = [sys.executable, __file__, "--worker", json.dumps(one)]
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                found = json.loads(done.stdout.splitlines()[-1])
                kept = best.setdefault(form, {}).setdefault(kind, found)
                best[form][kind] = {key: min(found[key], kept[key]) for key in found}
    return best


def chosen(case: dict, kind: str) -> str:
    """The form that ``method="auto"``, the default, selects."""
    sizes = (case["size"][0] * case["size"][1], case["channels"], case["tasks"], case["tasks"])
    with torch.set_grad_enabled(kind == "training"):
        direct = direct_is_faster(
            *sizes, case["kernel_size"], case["tasks"] if case["per_task"] else 1
        )
    return "direct" if direct else "linear"


def row(case: dict, best: dict[str, dict]) -> str:
    """One line of the table."""
    height, width = case["size"]
    cells = [f"{height}x{width}", f"{case['tasks']}", f"{case['channels']}"]
    for kind in PASSES:
        ours = chosen(case, kind)
        for key, digits in (("seconds", 3), ("megabytes", 0)):
            values = {form: best[form][kind][key] for form in best}
            cells += [f"{values[f]:.{digits}f}" if f in values else "-" for f in FORMS]
            known = "textbook" in values and values[ours] > 0
            cells.append(f"{ours} {values['textbook'] / values[ours]:.1f}x" if known else ours)
    return "| " + " | ".join(cells) + " |"


def plot(results: list[tuple[dict, dict]], path: Path) -> None:
    """Plot time and memory over the number of positions, for both passes."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(10, 7), sharex=True, layout="constrained")
    for column, name in enumerate(PASSES):
        for line, (key, unit) in enumerate((("seconds", "s"), ("megabytes", "MB"))):
            axis = axes[line, column]
            for form in FORMS:
                points = sorted(
                    (case["size"][0] * case["size"][1], max(best[form][name][key], 1e-4))
                    for case, best in results
                    if form in best
                )
                axis.loglog(*zip(*points, strict=True), "o-", label=form)
            axis.set(title=f"{name}: {key}", xlabel="positions", ylabel=unit)
            axis.grid(alpha=0.3)
    axes[0, 0].legend()
    figure.savefig(path, dpi=120)


def main() -> None:
    """Measure all cases and print the table line by line."""
    options = parse()
    if options.worker:
        print(json.dumps(measure(json.loads(options.worker))))
        return
    print(f"{options.dtype} on {options.device}, {options.threads} threads, batch {options.batch},")
    print(f"f = {options.kernel_size}, kernel {'per task' if options.per_task else 'shared'}.")
    print("auto: the form that method='auto' selects, and textbook divided by it.\n")
    heads = [
        f"{kind} {unit}: {form}" for kind in PASSES for unit in ("s", "MB") for form in COLUMNS
    ]
    print("| " + " | ".join(["size", "N", "C", *heads]) + " |")
    print("|" + "---|" * (3 + len(heads)))
    results = []
    for tasks in options.tasks:
        for channels in options.channels:
            for size in options.sizes:
                case = {
                    "size": [int(side) for side in size.split("x")],
                    "tasks": tasks,
                    "channels": channels,
                    "kernel_size": options.kernel_size,
                    "batch": options.batch,
                    "per_task": options.per_task,
                    "device": options.device,
                    "dtype": options.dtype,
                    "threads": options.threads,
                    "clock": options.clock,
                }
                best = in_turns(case, options.turns, options.limit_gb)
                results.append((case, best))
                print(row(case, best), flush=True)
    if options.plot:
        plot(results, options.plot)


if __name__ == "__main__":
    main()
