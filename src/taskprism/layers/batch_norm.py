"""Batch normalization over the images of several processes."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.nn import functional as differentiable
from torch.overrides import TorchFunctionMode

Module = TypeVar("Module", bound=nn.Module)
_BatchNorm = nn.modules.batchnorm._BatchNorm


def has_batch_norm(model: nn.Module) -> bool:
    """Whether statistics of the batch normalize features of ``model`` in training.

    Example:
        >>> has_batch_norm(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)))
        True
    """
    return any(isinstance(module, _BatchNorm) for module in model.modules())


def synchronize_batch_norm(model: Module) -> Module:
    """Let all batch normalization of a model use the images of all processes in training.

    Training on several processes then equals training on one with all images, also where each
    process has a single image. Other than :class:`torch.nn.SyncBatchNorm` it works on CPUs and with
    ``torch.autograd.grad(..., create_graph=True)``. Parameters, buffers and their names stay the
    same. Without other processes, and in evaluation mode, nothing changes.

    All processes must run the same layers in the same order, forward and backward.

    Args:
        model: Changed in place: each module of a class derived from PyTorch's batch normalization
            gets a subclass of that class.

    Returns:
        ``model``.

    Example:
        >>> norm = synchronize_batch_norm(nn.BatchNorm2d(4))
        >>> type(norm).__name__, isinstance(norm, nn.BatchNorm2d)
        ('SynchronizedBatchNorm2d', True)
    """
    for module in model.modules():
        if isinstance(module, _BatchNorm) and not isinstance(module, _Synchronized):
            module.__class__ = _synchronized_class(type(module))
    return model


class _Synchronized(_BatchNorm):
    """Calls ``functional.batch_norm``, wherever the class does it, over all processes."""

    def forward(self, input: Tensor, *arguments: Any) -> Tensor:
        connected = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
        if not self.training or not connected:
            return super().forward(input, *arguments)
        with _OverProcesses():
            return super().forward(input, *arguments)


_classes: dict[type[_BatchNorm], type[_BatchNorm]] = {}


def _synchronized_class(of: type[_BatchNorm]) -> type[_BatchNorm]:
    if of not in _classes:
        _classes[of] = type(f"Synchronized{of.__name__}", (_Synchronized, of), {})
    return _classes[of]


class _OverProcesses(TorchFunctionMode):
    """Replaces ``functional.batch_norm`` with :func:`_batch_norm`."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return (_batch_norm if func is F.batch_norm else func)(*args, **(kwargs or {}))


def _batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """``functional.batch_norm`` with mean and variance over the inputs of all processes."""
    if not training:
        return F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    values = input if input.dtype == torch.float64 else input.float()
    channels = values.shape[1]
    shape = (1, channels, *[1] * (values.ndim - 2))
    axes = [axis for axis in range(values.ndim) if axis != 1]
    count = values.numel() // channels
    # The variance of all processes follows from their means and sums of squares around them
    # (Chan et al., 1979), so one message is enough, without the cancellation of E[x^2] - E[x]^2.
    mean = values.mean(axes)
    squares = (values - mean.view(shape)).square().sum(axes)
    row = torch.cat([mean, squares, values.new_tensor([count])])
    rows = row.new_zeros(dist.get_world_size(), len(row))
    rows = torch.cat([rows[: dist.get_rank()], row[None], rows[dist.get_rank() + 1 :]])
    rows = differentiable.all_reduce(rows)
    means, all_squares = rows[:, :channels], rows[:, channels:-1]
    counts = rows[:, -1:].detach()
    total = counts.sum()  # at least 2, so the unbiased variance below exists
    mean = (means * counts).sum(0) / total
    variance = (all_squares.sum(0) + (counts * (means - mean).square()).sum(0)) / total
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            unbiased = variance * (total / (total - 1))
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            running_var.lerp_(unbiased.to(running_var.dtype), momentum)
    scale = torch.rsqrt(variance + eps)
    normalized = (values - mean.view(shape)) * scale.view(shape)
    if weight is not None:
        normalized = normalized * weight.view(shape)
    if bias is not None:
        normalized = normalized + bias.view(shape)
    return normalized.to(input.dtype)
