"""Means over the data of all processes that train together.

A result has the same value on all processes, and as gradient the share of each: the mean of the
gradients over processes, which ``DistributedDataParallel`` computes, is the gradient of the value.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor


def count_processes() -> int:
    """Number of processes that ``torch.distributed`` connects.

    Example:
        >>> count_processes()
        1
    """
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def mean_over_processes(shares: Sequence[Tensor]) -> list[Tensor]:
    """Mean over processes of each of these scalars, in one message.

    Example:
        >>> mean_over_processes([torch.tensor(2.0)])
        [tensor(2.)]
    """
    processes = count_processes()
    if processes == 1 or not shares:
        return list(shares)
    values = torch.stack([share.detach() for share in shares])
    dist.all_reduce(values)
    # The difference is exactly 0, so that all processes have exactly the same values.
    return [
        value + (share - share.detach())
        for value, share in zip(values / processes, shares, strict=True)
    ]


def ratio_over_processes(total: Tensor, count: Tensor | float) -> Tensor:
    """Sum of ``total`` over processes, divided by the sum of ``count``, at least 1.

    Args:
        total: Scalar, such as the sum of the losses of all images.
        count: Such as the number of images; it gets no gradient.

    Example:
        >>> ratio_over_processes(torch.tensor(6.0), 3).item()
        2.0
    """
    processes = count_processes()
    count = torch.as_tensor(count, dtype=total.dtype, device=total.device)
    if processes == 1:
        return total / count.clamp(min=1)
    both = torch.stack([total.detach(), count])
    dist.all_reduce(both)
    whole = both[1].clamp(min=1)
    return both[0] / whole + (total - total.detach()) * (processes / whole)
