"""Resources of a model: parameters, operations, time and memory."""

from __future__ import annotations

import copy
import statistics
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry


@dataclass(frozen=True)
class Resources:
    """Resources of one forward pass without gradients.

    Attributes:
        parameters: Number of learned values.
        macs: Multiply-adds of convolutions and matrix products for the whole batch. The papers'
            "FLOPs" are usually these.
        latency_s: Median seconds of a forward pass, or None if it was not measured.
        peak_memory_bytes: Bytes of the weights, and of activations at the peak.

    Example:
        >>> Resources(4_019_300, 12_772_000_000, None, 90_000_000).parameters
        4019300
    """

    parameters: int
    macs: int
    latency_s: float | None
    peak_memory_bytes: int


def profile(model: nn.Module, size: tuple[int, int], batch: int = 1, repeats: int = 5) -> Resources:
    """Measure a model in evaluation mode on the device where it is.

    Operations and memory are counted, not measured, so they do not depend on the machine. The model
    is not changed.

    Args:
        model: Model that takes ``(batch, 3, H, W)``.
        size: ``(H, W)`` of the input.
        batch: Number of images.
        repeats: Number of timed forward passes, after one warm-up pass; 0 measures no time.

    Example:
        >>> profile(nn.Conv2d(3, 8, 3, padding=1, bias=False), (4, 4), repeats=0).macs
        3456
    """
    shape = (batch, getattr(model, "in_channels", 3), *size)
    macs, activations = _count(copy.deepcopy(model).to("meta").eval(), shape)
    weights = sum(t.nbytes for t in (*model.parameters(), *model.buffers()))
    return Resources(
        parameters=count_parameters(model),
        macs=macs,
        latency_s=_latency(model, shape, repeats) if repeats else None,
        peak_memory_bytes=weights + activations,
    )


def count_parameters(model: nn.Module) -> int:
    """Number of learned values.

    Example:
        >>> count_parameters(nn.Linear(3, 2))
        8
    """
    return sum(parameter.numel() for parameter in model.parameters())


def count_macs(model: nn.Module, size: tuple[int, int]) -> int:
    """Multiply-adds for one image of ``size`` ``(H, W)`` in evaluation mode; computes no values.

    Example:
        >>> count_macs(nn.Conv2d(3, 8, 1, bias=False), (4, 4))
        384
    """
    return profile(model, size, repeats=0).macs


def _count(model: nn.Module, shape: tuple[int, ...]) -> tuple[int, int]:
    """Multiply-adds and peak bytes of a model without data."""
    images = torch.empty(shape, device="meta")
    with torch.no_grad(), PeakMemory() as memory, _Operations() as operations:
        model(images)
    return operations.flops // 2, images.nbytes + memory.peak


def _latency(model: nn.Module, shape: tuple[int, ...], repeats: int) -> float:
    device = next(model.parameters()).device
    images = torch.zeros(shape, device=device)
    modes = {module: module.training for module in model.modules()}
    model.eval()
    seconds = []
    with torch.inference_mode():
        for _ in range(repeats + 1):
            _finish(device)
            start = time.perf_counter()
            model(images)
            _finish(device)
            seconds.append(time.perf_counter() - start)
    for module, training in modes.items():
        module.training = training
    return statistics.median(seconds[1:])


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class _Operations(TorchDispatchMode):
    """Counts floating-point operations with PyTorch's formulas.

    ``torch.utils.flop_counter.FlopCounterMode`` gives the same sum in twice the time, because it
    also keeps the sums of every module.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run the operation and add its cost."""
        result = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func.overloadpacket)
        if formula is not None:
            self.flops += int(formula(*args, **(kwargs or {}), out_val=result))
        return result


class PeakMemory(TorchDispatchMode):
    """Counts the bytes of tensors that operations allocate inside this context, on any device.

    Unlike the resident memory of the process, the number is exact and the same on every machine.
    Temporary memory inside an operation is not counted.

    Attributes:
        current: Bytes in use.
        peak: Largest number of bytes in use so far.

    Example:
        >>> with PeakMemory() as memory:
        ...     doubled = torch.ones(256) * 2
        >>> memory.peak
        2048
    """

    def __init__(self) -> None:
        super().__init__()
        self.current = 0
        self.peak = 0
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run the operation and count the memory of its results."""
        inputs = {
            id(leaf.untyped_storage()) for leaf in tree_leaves(args) if isinstance(leaf, Tensor)
        }
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._count(leaf.untyped_storage(), inputs)
        return result

    def _count(self, storage: Any, inputs: set[int]) -> None:
        if id(storage) in inputs or storage in self._known:
            return  # a view, or an in-place operation
        self._known.add(storage)
        size = storage.nbytes()
        self.current += size
        self.peak = max(self.peak, self.current)
        weakref.finalize(storage, self._release, size)

    def _release(self, size: int) -> None:
        self.current -= size
