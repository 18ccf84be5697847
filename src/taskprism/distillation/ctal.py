"""CTAL: affinities of all tasks, fused by a grouped convolution, diffused into each task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from taskprism.distillation.base import Distillation, register_distillation
from taskprism.distillation.ctal_diffusion import (
    direct_diffusion,
    direct_is_faster,
    linear_diffusion,
)
from taskprism.errors import InputError, UnknownNameError
from taskprism.layers.containers import ModuleDict

CTALMethod = Literal["auto", "linear", "direct"]
OtherSize = Literal["error", "resample"]


@register_distillation
class CTAL(Distillation):
    r"""Cross-Task Affinity Learning (Sinodinos and Armanfard, "Cross-Task Affinity Learning").

    For N source tasks with features F of C channels at HW positions:

    1. affinity :math:`A_t = \hat F_t^T \hat F_t`, with each position's feature of unit length;
    2. interleaving: channel j N + t is row j of A_t as a map, so that group j holds what position
       j has in common with every other position, in all tasks;
    3. :math:`G_k` = grouped f x f convolution of that, HW groups of N channels to one each;
    4. :math:`F_k' = \gamma (V_k * F_k) G_k^T + (1 - \gamma) F_k`, V 3x3 convolutions (eq. 1, 2).

    The default computes the same numbers in memory that grows with HW and not with its square, by
    changing the order of the sums (:mod:`~taskprism.distillation.ctal_diffusion`).

    Where paper and released code differ, the defaults are the code's, which gave the published
    sizes: the paper draws one grouped convolution per target task, the code has one for all (only
    that fits the published parameter ratios 0.513 and 0.944). The 1x1 convolutions before and the
    upsampling tail after, which only the code has, belong to the model.

    Args:
        tasks: Names of the tasks whose features are refined.
        channels: C.
        size: ``(H, W)`` of the feature maps. The kernel has weights of its own for each position.
        kernel_size: f, odd.
        gamma: Share of the diffused features; a constant. At 0 the features pass unchanged.
        shared_kernel: One grouped convolution for all target tasks, or one for each.
        sources: Names of the tasks whose affinities are read, in order of interleaving.
        method: How to compute it. ``"auto"`` takes what is faster at this size; ``"direct"``
            multiplies HW x HW matrices out, in blocks of rows; ``"linear"`` never forms them.
        other_size: What to do with maps of another size: raise (``"error"``), or interpolate the
            kernel as a map of weights (``"resample"``) and divide it by the growth in positions,
            over which the diffusion sums.
        bias: Whether the grouped convolution has one.

    Parameters: ``kernel`` ``(HW, N, f, f)`` and ``kernel_bias`` ``(HW,)``, with the target task in
    front unless shared; ``values`` one 3x3 convolution per target task.
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
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise InputError(f"CTAL: kernel_size={kernel_size} must be odd and positive.")
        if method not in get_args(CTALMethod):
            raise UnknownNameError("method of CTAL", method, get_args(CTALMethod))
        if other_size not in get_args(OtherSize):
            raise UnknownNameError("other_size of CTAL", other_size, get_args(OtherSize))
        height, width = size
        self.size = (height, width)
        self.gamma, self.method, self.other_size = gamma, method, other_size
        targets = () if shared_kernel else (len(self.tasks),)
        inputs = len(self.sources)
        shape = (*targets, height * width, inputs, kernel_size, kernel_size)
        limit = (inputs * kernel_size**2) ** -0.5  # as any convolution begins in PyTorch
        self.kernel = nn.Parameter(torch.empty(shape).uniform_(-limit, limit))
        offset = torch.empty(shape[:-3]).uniform_(-limit, limit) if bias else None
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
            InputError: For maps of another size than the kernel's, unless it may be resampled.
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
            task: self.gamma * own + (1 - self.gamma) * features[task]
            for task, own in zip(self.tasks, diffused.unbind(1), strict=True)
        }

    def _checked(self, maps: Tensor) -> tuple[int, int]:
        height, width = maps.shape[-2:]
        if self.other_size == "error" and (height, width) != self.size:
            raise InputError(
                f"CTAL was built for feature maps of {self.size[0]}x{self.size[1]}, but got "
                f"{height}x{width}: it has weights of its own for each position. Resize the "
                f"images, build it with size=({height}, {width}), or let it interpolate its "
                'weights with other_size="resample".'
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
        """Weights of each position, ``(K, HW, any)``, at the positions of another map."""
        maps = weights.mT.unflatten(2, self.size)
        maps = F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
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
    """Each position's feature at unit length, computed in float32 or better."""
    return F.normalize(maps.to(torch.promote_types(maps.dtype, torch.float32)), dim=1)
