"""Comparisons for the tests of cross-task modules."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def make_features(names, shape, dtype=torch.float64, seed=0, grad=True):
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(shape, dtype=dtype, generator=generator).requires_grad_(grad)
        for name in names
    }


def gradients(outputs: dict[str, Tensor], inputs: list[Tensor]) -> list[Tensor]:
    """Gradients of one fixed weighted sum of all outputs; zeros for inputs that are not used."""
    generator = torch.Generator().manual_seed(7)
    total = sum(
        (out.double() * torch.randn(out.shape, dtype=torch.float64, generator=generator)).sum()
        for out in outputs.values()
    )
    return list(torch.autograd.grad(total, inputs, allow_unused=True, materialize_grads=True))


def assert_same(module: nn.Module, ours, theirs, features, tolerance=1e-10):
    """Check that outputs and all gradients agree, relative to the largest."""
    assert list(ours) == list(theirs)
    for task in theirs:
        assert_close(ours[task], theirs[task], tolerance, task)
    inputs = [*features.values(), *module.parameters()]
    names = [*features, *(name for name, _ in module.named_parameters())]
    pairs = zip(names, gradients(ours, inputs), gradients(theirs, inputs), strict=True)
    for name, mine, other in pairs:
        assert_close(mine, other, tolerance, f"gradient of {name}")


def assert_close(mine: Tensor, other: Tensor, tolerance: float, what: str = ""):
    assert mine.shape == other.shape, what
    scale = other.abs().max().clamp(min=1e-3)
    error = ((mine - other).abs().max() / scale).item()
    assert error <= tolerance, f"{what}: relative error {error:.2e}"


class LargestTensor(TorchDispatchMode):
    """Size of the largest tensor that any operation returns inside the context."""

    def __init__(self):
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self.numel = max(self.numel, leaf.numel())
        return out
