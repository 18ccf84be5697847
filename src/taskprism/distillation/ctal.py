r"""CTAL: affinities of all tasks, fused by a grouped convolution, diffused into each task.

With F the normalized features of N source tasks, P the values of T target tasks, all maps of HW
positions, and w the grouped kernel with offsets d around 0:

.. math::
    A_t[p, q] &= \langle F_t[:, p], F_t[:, q] \rangle \\
    G_k[p, q] &= \sum_{t,d} w_k[p, t, d] \, A_t[p, q + d] \\
    out_k[:, p] &= \sum_q G_k[p, q] \, P_k[:, q]

:func:`direct_diffusion` computes this as written, for a block of rows p at a time. All of it is
linear, so the sums can be reordered (:func:`linear_diffusion`):

.. math::
    S_{k,t,d} &= P_k \, \mathrm{shift}_d(F_t)^T \qquad (C \times C) \\
    out_k[:, p] &= \sum_{t,d} S_{k,t,d} \, (w_k[p, t, d] \, F_t[:, p])

No HW x HW matrix is ever formed, so memory grows with HW and not with its square.

Shapes in both functions: ``features`` ``(B, N, C, H, W)``, ``values`` ``(B, T, C, H, W)`` and
``weight`` ``(K, HW, N, f, f)``, where K is 1 for a kernel that all target tasks share, otherwise T.
The result has the shape of ``values``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from taskprism.checks import check_choice, check_flag, check_integer, check_number, check_size
from taskprism.distillation.base import Distillation, register_distillation
from taskprism.distillation.shifted_products import shifted_products, shifted_products_backward
from taskprism.errors import InputError
from taskprism.layers import ModuleDict, resize

CTALMethod = Literal["auto", "linear", "direct"]
OtherSize = Literal["error", "resample"]

# Values in one working block: as many as fit a processor's cache, or keep an accelerator busy.
_BLOCK_ON_CPU = 2**19
_BLOCK_ELSEWHERE = 2**25
# Blocks start at multiples of this, because products of unaligned matrices are a fifth slower.
_ALIGNED = 64
# Values in one block of rows of the direct form's affinities.
_ROWS_BLOCK = 2**22
# Largest f, and largest number of weights of the kernel (4 GiB in single precision).
_LARGEST_KERNEL = 63
_MOST_WEIGHTS = 2**30


@register_distillation
class CTAL(Distillation):
    r"""Cross-Task Affinity Learning (Sinodinos and Armanfard, "Cross-Task Affinity Learning").

    For N source tasks with features F of C channels at HW positions:

    1. affinity :math:`A_t = \hat F_t^T \hat F_t`, with each position's feature at unit length;
    2. interleaving: channel j N + t is row j of A_t as a map, so group j holds the affinities of
       position j with every position, in all tasks;
    3. :math:`G_k`, a grouped f x f convolution of the result: HW groups, N channels to 1 each;
    4. :math:`F_k' = \gamma (V_k * F_k) G_k^T + (1 - \gamma) F_k`, V 3x3 convolutions (eq. 1, 2).

    By default the sums are reordered, so memory grows with HW and not with its square
    (:mod:`taskprism.distillation.ctal`). The result is the same.

    Where paper and released code differ, the defaults follow the code, which produced the published
    model sizes: the paper draws one grouped convolution per target task, the code has one for all
    of them (only this fits the published parameter ratios 0.513 and 0.944). The 1x1 convolutions
    before this module and the upsampling after it, which only the code has, belong to the model.

    Args:
        tasks: Names of the tasks whose features are refined.
        channels: C.
        size: ``(H, W)`` of the feature maps. The kernel has separate weights for each position.
        kernel_size: f, odd.
        gamma: Share of the diffused features, a constant from 0 to 1. At 0 the features pass
            unchanged.
        shared_kernel: One grouped convolution for all target tasks, or one for each.
        sources: Names of the tasks whose affinities are read, in order of interleaving.
        method: ``"direct"`` forms HW x HW matrices in blocks of rows, ``"linear"`` never does, and
            ``"auto"`` selects the faster one for this size.
        other_size: What to do with maps of another size: raise (``"error"``), or interpolate the
            kernel as a map of weights (``"resample"``) and divide it by the growth in positions,
            over which the diffusion sums.
        bias: Whether the grouped convolution has a bias.

    Parameters: ``kernel`` ``(HW, N, f, f)`` and ``kernel_bias`` ``(HW,)``, with a first dimension
    for the target task unless shared; ``values``, one 3x3 convolution per target task.

    Raises:
        InputError: An option has the wrong type or is out of range.
        UnknownNameError: ``method`` or ``other_size`` does not exist.

    Example:
        >>> import torch
        >>> from taskprism.distillation import CTAL
        >>> module = CTAL(["depth"], channels=8, size=(6, 5), sources=["depth", "edge"])
        >>> features = {"depth": torch.rand(1, 8, 6, 5), "edge": torch.rand(1, 8, 6, 5)}
        >>> module(features)["depth"].shape
        torch.Size([1, 8, 6, 5])
    """

    name: ClassVar[str] = "ctal"
    needs_size: ClassVar[bool] = True

    def __init__(
        self,
        tasks: Sequence[str],
        channels: int,
        size: Sequence[int],
        kernel_size: int = 3,
        gamma: float = 0.05,
        shared_kernel: bool = True,
        sources: Sequence[str] | None = None,
        method: CTALMethod = "auto",
        other_size: OtherSize = "error",
        bias: bool = True,
    ) -> None:
        super().__init__(tasks, channels, sources)
        check_integer("CTAL", "kernel_size", kernel_size, 1, _LARGEST_KERNEL)
        if kernel_size % 2 == 0:
            raise InputError(f"CTAL: kernel_size must be odd, got {kernel_size}.")
        self.gamma = check_number("CTAL", "gamma", gamma, 0, 1)
        self.method = check_choice("CTAL", "method", method, get_args(CTALMethod))
        self.other_size = check_choice("CTAL", "other_size", other_size, get_args(OtherSize))
        self.size = height, width = check_size("CTAL", "size", size)
        shared = check_flag("CTAL", "shared_kernel", shared_kernel)
        targets = () if shared else (len(self.tasks),)
        inputs = len(self.sources)
        shape = (*targets, height * width, inputs, kernel_size, kernel_size)
        if math.prod(shape) > _MOST_WEIGHTS:
            raise InputError(
                f"CTAL: a kernel for size={self.size} and kernel_size={kernel_size} has "
                f"{math.prod(shape)} weights, more than {_MOST_WEIGHTS}. Give smaller feature maps."
            )
        limit = (inputs * kernel_size**2) ** -0.5  # PyTorch's initialization of convolutions
        self.kernel = nn.Parameter(torch.empty(shape).uniform_(-limit, limit))
        has_bias = check_flag("CTAL", "bias", bias)
        offset = torch.empty(shape[:-3]).uniform_(-limit, limit) if has_bias else None
        self.kernel_bias = nn.Parameter(offset) if offset is not None else None
        self.values = ModuleDict(
            {task: nn.Conv2d(channels, channels, kernel_size=3, padding=1) for task in self.tasks}
        )

    @property
    def any_size(self) -> bool:
        """Whether maps of any size can be refined."""
        return self.other_size == "resample"

    def forward(
        self, features: Mapping[str, Tensor], predictions: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Refine ``(B, C, H, W)`` per source into the same per task.

        Raises:
            InputError: The maps are not of the kernel's size and ``other_size`` is ``"error"``.
        """
        size = self._checked(features[self.sources[0]])
        values = torch.stack([self.values[task](features[task]) for task in self.tasks], dim=1)
        units = torch.stack([_unit(features[source]) for source in self.sources], dim=1)
        kernel, bias = self._kernel_at(size)
        diffuse = direct_diffusion if self._use_direct(kernel) else linear_diffusion
        diffused = diffuse(units.to(values), values, kernel.to(values))
        if bias is not None:
            total = values.sum((3, 4), keepdim=True)
            diffused = torch.addcmul(diffused, total, bias.to(values).unflatten(1, (1, *size)))
        return {
            task: self.gamma * new + (1 - self.gamma) * features[task]
            for task, new in zip(self.tasks, diffused.unbind(1), strict=True)
        }

    def _checked(self, maps: Tensor) -> tuple[int, int]:
        height, width = maps.shape[-2:]
        if self.other_size == "error" and (height, width) != self.size:
            raise InputError(
                f"CTAL was built for feature maps of {self.size[0]}x{self.size[1]}, but got "
                f"{height}x{width}. It has separate weights for each position: resize the images, "
                f"build it with size=({height}, {width}), or interpolate its weights with "
                'other_size="resample".'
            )
        return height, width

    def _kernel_at(self, size: tuple[int, int]) -> tuple[Tensor, Tensor | None]:
        """Kernel ``(K, HW, N, f, f)`` and bias ``(K, HW)`` for maps of ``size``."""
        kernel, bias = self.kernel, self.kernel_bias
        if kernel.dim() == 4:
            kernel, bias = kernel.unsqueeze(0), None if bias is None else bias.unsqueeze(0)
        if size == self.size:
            return kernel, bias
        kernel = self._resampled(kernel.flatten(2), size).unflatten(2, kernel.shape[2:])
        bias = None if bias is None else self._resampled(bias.unsqueeze(2), size).squeeze(2)
        return kernel, bias

    def _resampled(self, weights: Tensor, size: tuple[int, int]) -> Tensor:
        """Interpolate weights ``(K, HW, any)`` to the positions of a map of another size."""
        maps = resize(weights.mT.unflatten(2, self.size), size)
        growth = size[0] * size[1] / (self.size[0] * self.size[1])
        return maps.flatten(2).mT / growth

    def _use_direct(self, kernel: Tensor) -> bool:
        if self.method != "auto":
            return self.method == "direct"
        kernels, positions, sources, offsets, _ = kernel.shape
        return direct_is_faster(
            positions, self.channels, sources, len(self.tasks), offsets, kernels
        )


def _unit(maps: Tensor) -> Tensor:
    """Normalize the feature of each position to unit length, in float32 or better."""
    return F.normalize(maps.to(torch.promote_types(maps.dtype, torch.float32)), dim=1)


def linear_diffusion(features: Tensor, values: Tensor, weight: Tensor) -> Tensor:
    """Compute the diffusion without any HW x HW matrix; shapes as above. Differentiable once."""
    if torch.is_grad_enabled():
        return _LinearDiffusion.apply(features, values, weight)
    return _linear(features, values, weight)[0]


def direct_diffusion(features: Tensor, values: Tensor, weight: Tensor) -> Tensor:
    """Compute the diffusion as written, a block of rows at a time; shapes as above."""
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
    """Whether :func:`direct_diffusion` is the faster one, with gradients if they are enabled now.

    Work is counted in multiply-adds of large matrix products. Memory traffic is converted to
    multiply-adds of the same duration, as measured on one core: accurate to a fifth for C = 32 to
    128, N = 2 to 5, f = 1 to 7 and 192 to 6912 positions.
    """
    taps = offsets**2
    matrices = positions**2 * channels * (sources + targets)
    convolutions = positions**2 * sources * kernels * (125 + 2 * taps)
    share = 1.0 if offsets == 1 else 0.3  # of multiply-adds that remain after Toom-Cook
    linear = positions * channels**2 * sources * targets * taps * (1 + share) * 1.2
    linear += positions * channels * sources * kernels * taps * 38 + 3e7
    if torch.is_grad_enabled():
        # Factors of both passes relative to the forward pass.
        return 3 * matrices + max(3, 2 * offsets) * convolutions < 3.2 * linear
    return matrices + convolutions < linear


class _LinearDiffusion(torch.autograd.Function):
    """Saves only the small products S and recomputes everything else in the backward pass."""

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
        grad_out = grad_outputs[0].reshape(*products.shape[:1], *products.shape[2:4], -1)
        grad_source = torch.zeros_like(source, memory_format=torch.contiguous_format)
        grad_kernel = torch.empty_like(kernel)
        grad_products = torch.zeros_like(products)
        for block in _blocks(source, kernel):
            x, g = source[..., block], grad_out[..., block]
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
    """Blocks of positions. They do not depend on the batch size, which may be unknown."""
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
    # One depthwise convolution per source task instead of the interleaved grouped convolution:
    # nothing has to be interleaved, and depthwise kernels are faster.
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
