r"""CTAL's attention as functions: affinities, grouped convolution and diffusion in one.

With F the normalized features of N source tasks, P the values of T target tasks, all maps of HW
positions, and w the grouped kernel with offsets d around 0:

.. math::
    A_t[p, q] &= \langle F_t[:, p], F_t[:, q] \rangle \\
    G_k[p, q] &= \sum_{t,d} w_k[p, t, d] \, A_t[p, q + d] \\
    out_k[:, p] &= \sum_q G_k[p, q] \, P_k[:, q]

:func:`direct_diffusion` computes just that, for a block of rows p at a time. Nothing in it is
non-linear, so the sums can change places (:func:`linear_diffusion`):

.. math::
    S_{k,t,d} &= P_k \, \mathrm{shift}_d(F_t)^T \qquad (C \times C) \\
    out_k[:, p] &= \sum_{t,d} S_{k,t,d} \, (w_k[p, t, d] \, F_t[:, p])

and no HW x HW matrix is ever formed: memory grows with HW and not with its square.

Shapes: ``features`` ``(B, N, C, H, W)``, ``values`` ``(B, T, C, H, W)`` and ``weight``
``(K, HW, N, f, f)``, where K is 1 for a kernel that all target tasks share and else T. The result
has the shape of ``values``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from taskprism.distillation.shifted_products import shifted_products, shifted_products_backward

# Values in one working block: what a processor's cache holds, or keeps an accelerator busy.
_BLOCK_ON_CPU = 2**19
_BLOCK_ELSEWHERE = 2**25
# Blocks begin at multiples of this, as matrix products of unaligned maps are slower by a fifth.
_ALIGNED = 64
# Values in one block of rows of the direct form's affinities.
_ROWS_BLOCK = 2**22


def linear_diffusion(features: Tensor, values: Tensor, weight: Tensor) -> Tensor:
    """The diffusion without any HW x HW matrix; once differentiable. Shapes as above."""
    if torch.is_grad_enabled():
        return _LinearDiffusion.apply(features, values, weight)
    return _linear(features, values, weight)[0]


def direct_diffusion(features: Tensor, values: Tensor, weight: Tensor) -> Tensor:
    """The diffusion as written, a block of rows at a time. Shapes as above."""
    positions = weight.shape[1]
    rows = max(1, _ROWS_BLOCK // (positions * features.shape[1]))
    parts = [slice(first, min(first + rows, positions)) for first in range(0, positions, rows)]
    if len(parts) > 1 and torch.is_grad_enabled():
        blocks = [
            checkpoint(_direct_rows, features, values, weight, part, use_reentrant=False)
            for part in parts
        ]
    else:
        blocks = [_direct_rows(features, values, weight, part) for part in parts]
    return torch.cat(blocks, dim=3).view_as(values)


def direct_is_faster(
    positions: int, channels: int, sources: int, targets: int, offsets: int, kernels: int
) -> bool:
    """Whether :func:`direct_diffusion` is the faster one, here and now: with or without gradients.

    Work is counted in multiply-adds of large matrix products. What only moves memory is counted as
    so many of those as it was measured to take, on one core: within a fifth over C = 32 to 128,
    N = 2 to 5, f = 1 to 7 and 192 to 6912 positions.
    """
    taps = offsets**2
    matrices = positions**2 * channels * (sources + targets)
    convolutions = positions**2 * sources * kernels * (125 + 2 * taps)
    share = 1.0 if offsets == 1 else 0.3  # of multiply-adds that Toom and Cook leave
    linear = positions * channels**2 * sources * targets * taps * (1 + share) * 1.2
    linear += positions * channels * sources * kernels * taps * 38 + 3e7
    if torch.is_grad_enabled():
        # Both passes together, against the forward pass alone.
        return 3 * matrices + max(3, 2 * offsets) * convolutions < 3.2 * linear
    return matrices + convolutions < linear


class _LinearDiffusion(torch.autograd.Function):
    """Keeps only the small products S; recomputes everything else in the backward pass."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, values: Tensor, weight: Tensor) -> Tensor:
        out, products = _linear(features, values, weight)
        ctx.save_for_backward(features, values, weight, products)
        return out

    @staticmethod
    @once_differentiable
    def backward(  # pyrefly: ignore[bad-override]
        ctx: Any, *grad_outputs: Any
    ) -> tuple[Tensor, Tensor, Tensor]:
        features, values, weight, products = ctx.saved_tensors
        source, kernel = _flat(features, weight)
        given = grad_outputs[0].reshape(*products.shape[:1], *products.shape[2:4], -1)
        grad_source = torch.zeros_like(source, memory_format=torch.contiguous_format)
        grad_kernel = torch.empty_like(kernel)
        grad_products = torch.zeros_like(products)
        for block in _blocks(source, kernel):
            x, g = source[..., block], given[..., block]
            for d in range(kernel.shape[1]):
                w = kernel[:, d, ..., block]
                grad_products[:, d] += g @ (w * x).flatten(2, 3).mT
                back = (products[:, d].mT @ g).unflatten(2, x.shape[2:4])
                grad_kernel[:, d, ..., block] = (back * x).sum((0, 3)).unsqueeze(2)
                for k in range(kernel.shape[0]):
                    grad_source[:, 0, ..., block].addcmul_(back[:, k], w[k])
        grad_values, grad_features = shifted_products_backward(
            grad_products.flatten(2, 3),
            values.flatten(1, 2),
            features.flatten(1, 2),
            weight.shape[-1],
        )
        grad_source = grad_source.view(features.shape).add_(grad_features.view_as(features))
        grad_weight = grad_kernel.squeeze(3).permute(0, 3, 2, 1).reshape(weight.shape)
        return grad_source, grad_values.reshape(values.shape), grad_weight


def _linear(features: Tensor, values: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Result, and the products S as ``(B, f f, K, T C / K, N C)``."""
    offsets = weight.shape[-1]
    products = shifted_products(values.flatten(1, 2), features.flatten(1, 2), offsets)
    products = products.unflatten(2, (weight.shape[0], -1))
    source, kernel = _flat(features, weight)
    matrices = products.transpose(0, 1).flatten(1, 2)
    blocks = []
    for block in _blocks(source, kernel):
        x = source[..., block]
        shape = (matrices.shape[1], matrices.shape[2], x.shape[-1])
        total = values.new_zeros(shape)
        for d, matrix in enumerate(matrices):
            weighted = (kernel[:, d, ..., block] * x).flatten(2, 3)
            total.baddbmm_(matrix, weighted.flatten(0, 1))
        blocks.append(total)
    return torch.cat(blocks, dim=2).view(values.shape), products


def _flat(features: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Features as ``(B, 1, N, C, HW)`` and kernel as ``(K, f f, N, 1, HW)``."""
    kernel = weight.flatten(3).permute(0, 3, 2, 1).unsqueeze(3)
    return features.flatten(3).unsqueeze(1), kernel.contiguous()


def _blocks(source: Tensor, kernel: Tensor) -> Iterator[slice]:
    """Blocks of positions. They do not depend on the batch, whose size may be unknown."""
    limit = _BLOCK_ON_CPU if source.device.type == "cpu" else _BLOCK_ELSEWHERE
    positions = source.shape[-1]
    size = limit // (kernel.shape[0] * source.shape[2] * source.shape[3])
    size = max(_ALIGNED, size - size % _ALIGNED)
    for first in range(0, positions, size):
        yield slice(first, min(first + size, positions))


def _direct_rows(features: Tensor, values: Tensor, weight: Tensor, rows: slice) -> Tensor:
    """``(B, T, C, rows)``."""
    height, width = features.shape[-2:]
    flat = features.flatten(3)
    affinity = flat[..., rows].mT @ flat  # (B, N, rows, HW)
    # The interleaved grouped convolution, as one depthwise convolution per source task: nothing
    # has to be interleaved, and depthwise kernels are faster.
    images = [plane.unflatten(2, (height, width)) for plane in affinity.unbind(1)]
    fused = []
    for kernel in weight[:, rows]:
        each = [_depthwise(image, kernel[:, task : task + 1]) for task, image in enumerate(images)]
        fused.append(sum(each[1:], each[0]).flatten(2).mT)
    return values.flatten(3) @ torch.stack(fused, dim=1)


def _depthwise(image: Tensor, kernel: Tensor) -> Tensor:
    """``(B, rows, H, W)`` with ``(rows, 1, f, f)``, zeros outside."""
    if kernel.shape[-1] == 1:
        return image * kernel.squeeze(1)
    return F.conv2d(image, kernel, padding="same", groups=kernel.shape[0])
