"""Tensors under their released names, created when a reference first reads them.

A reference forward pass reads tensors by name. Running it once creates its checkpoint: every name
that it reads, in the shape in which it reads it.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


class Released(dict[str, Tensor]):
    """A float32 checkpoint that grows when it is read; it computes in the type of the images."""

    def __init__(self, seed: int = 0, device: str = "cpu") -> None:
        super().__init__()
        self.device = device
        self.generator = torch.Generator().manual_seed(seed)

    def param(self, name: str, shape: tuple[int, ...], mean: float, spread: float) -> Tensor:
        """Uniform random values in mean ± spread."""
        if name not in self:
            if self.device == "meta":
                self[name] = torch.empty(shape, device="meta")
            else:
                self[name] = mean + spread * (2 * torch.rand(shape, generator=self.generator) - 1)
        assert self[name].shape == shape, f"{name} is read in two shapes"
        return self[name]

    def conv(
        self,
        name: str,
        x: Tensor,
        out: int,
        kernel: int = 1,
        stride: int = 1,
        dilation: int = 1,
        bias: bool = False,
    ) -> Tensor:
        """Convolution that keeps the size, except for its stride."""
        entering = x.shape[1]
        spread = math.sqrt(4.0 / (entering * kernel * kernel))
        weight = self.param(f"{name}.weight", (out, entering, kernel, kernel), 0.0, spread)
        offset = self.param(f"{name}.bias", (out,), 0.0, 0.2).to(x) if bias else None
        padding = dilation * (kernel // 2)
        return F.conv2d(x, weight.to(x), offset, stride, padding, dilation)

    def norm(self, name: str, x: Tensor) -> Tensor:
        """Batch norm in evaluation mode."""
        shape = (x.shape[1],)
        weight = self.param(f"{name}.weight", shape, 0.5, 0.3).to(x)
        bias = self.param(f"{name}.bias", shape, 0.0, 0.2).to(x)
        mean = self.param(f"{name}.running_mean", shape, 0.0, 0.3).to(x)
        variance = self.param(f"{name}.running_var", shape, 1.0, 0.5).to(x)
        counter = f"{name}.num_batches_tracked"
        self.setdefault(counter, torch.zeros((), dtype=torch.long, device=self.device))
        parts = (each.view(1, -1, 1, 1) for each in (mean, variance, weight, bias))
        mean, variance, weight, bias = parts
        return (x - mean) / (variance + 1e-5).sqrt() * weight + bias

    def linear(self, name: str, x: Tensor, out: int) -> Tensor:
        """Dense layer with bias."""
        weight = self.param(f"{name}.weight", (out, x.shape[1]), 0.0, x.shape[1] ** -0.5)
        bias = self.param(f"{name}.bias", (out,), 0.0, 0.2)
        return x @ weight.to(x).T + bias.to(x)


def basic(p: Released, name: str, x: Tensor, out: int) -> Tensor:
    """Basic block that keeps the size."""
    return residual(p, name, x, out, [(3, out, 1, 1), (3, out, 1, 1)])


def bottleneck(p: Released, name: str, x: Tensor, out: int) -> Tensor:
    """Bottleneck of a quarter of ``out``, which keeps the size."""
    inner = out // 4
    return residual(p, name, x, out, [(1, inner, 1, 1), (3, inner, 1, 1), (1, out, 1, 1)])


def residual(
    p: Released, name: str, x: Tensor, out: int, layers: list[tuple[int, int, int, int]]
) -> Tensor:
    """Block of layers (kernel, channels, stride, dilation) with a shortcut."""
    y = x
    stride = 1
    for number, (kernel, channels, step, dilation) in enumerate(layers, start=1):
        y = p.conv(f"{name}.conv{number}", y, channels, kernel, step, dilation)
        y = p.norm(f"{name}.bn{number}", y)
        y = y.relu() if number < len(layers) else y
        stride *= step
    if stride != 1 or x.shape[1] != out:
        x = p.norm(f"{name}.downsample.1", p.conv(f"{name}.downsample.0", x, out, stride=stride))
    return (x + y).relu()


def upsample(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)
