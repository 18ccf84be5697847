"""Draw ``docs/images/linear_ctal.png``: time of both forms of CTAL over the number of positions.

Run ``python -m docs.generate.linear_ctal`` in the repository root; it takes about a minute.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from taskprism.distillation.ctal import direct_diffusion, linear_diffusion
from taskprism.visualization.plotting import LINES, plot_style, save_figure, tidy

PICTURE = Path(__file__).parents[1] / "images" / "linear_ctal.png"
CHANNELS, TASKS, OFFSETS = 64, 3, 3
SIZES = [(9, 12), (12, 16), (18, 24), (24, 32), (36, 48), (48, 64), (72, 96)]


def seconds(form: Callable[[Tensor, Tensor, Tensor], Tensor], height: int, width: int) -> float:
    """Least time of three forward and backward passes."""
    generator = torch.Generator().manual_seed(0)
    shape = (1, TASKS, CHANNELS, height, width)
    features = torch.randn(shape, generator=generator).div(CHANNELS**0.5).requires_grad_()
    values = torch.randn(shape, generator=generator).requires_grad_()
    kernel = (1, height * width, TASKS, OFFSETS, OFFSETS)
    weight = torch.randn(kernel, generator=generator).requires_grad_()
    times = []
    for _ in range(3):
        start = time.perf_counter()
        form(features, values, weight).sum().backward()
        times.append(time.perf_counter() - start)
        if times[-1] > 8:
            break
    return min(times)


def main() -> None:
    """Draw the plot to the path on the command line, by default ``docs/images``."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURE
    torch.set_num_threads(1)
    positions = [height * width for height, width in SIZES]
    forms = {"direct": direct_diffusion, "linear": linear_diffusion}
    times = {name: [seconds(form, *size) for size in SIZES] for name, form in forms.items()}
    with plot_style():
        figure = Figure(figsize=(7.6, 2.9), layout="constrained")
        left, right = figure.subplots(1, 2)
        for index, (name, line) in enumerate(times.items()):
            left.loglog(positions, line, color=LINES[1 - index], marker="o", ms=3.5, label=name)
        left.set_ylabel("seconds, forward and backward")
        gigabytes = 4e-9  # single precision
        matrices = [(TASKS + 1) * p**2 * gigabytes for p in positions]
        products = [(TASKS * OFFSETS * CHANNELS) ** 2 * gigabytes for _ in positions]
        right.loglog(positions, matrices, color=LINES[1], label="matrices, as published")
        right.loglog(positions, products, color=LINES[0], label="products S, reordered")
        right.set_ylabel("gigabytes for one image")
        for axis in (left, right):
            axis.set_xlabel("positions H W")
            tidy(axis)
            axis.legend(frameon=False)
        save_figure(figure, path)
    for name, line in times.items():
        print(name, *(f"{p}: {t:.4f} s" for p, t in zip(positions, line, strict=True)))


if __name__ == "__main__":
    main()
