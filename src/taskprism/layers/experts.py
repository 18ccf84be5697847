"""A mixture of low-rank convolutions per task, which merges into one convolution (MLoRE)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from taskprism.errors import InputError
from taskprism.layers.containers import ModuleDict, ModuleList

_STD = 0.02
_HIDDEN = -1e10  # logit of an expert that is not used


class LowRankExperts(nn.Module):
    """Mixture of low-rank experts for every task (Yang et al., "MLoRE", CVPR 2024).

    For a task, a 1x1 convolution gives z, from which a router computes a weight per expert and
    image, and a factor m. The result is the sum of the weighted experts (low-rank 3x3 convolutions,
    shared by all tasks) after a batch norm, m times the task's own low-rank convolution, and a 3x3
    convolution shared by all tasks that reads z without gradient. Batch norm, GELU and a 1x1
    convolution follow.

    All that is before the second batch norm is linear in z, so in evaluation it equals one 3x3
    convolution per image (:meth:`kernel`).

    Args:
        tasks: Names of the tasks.
        channels: Channels of all maps, a multiple of 4.
        ranks: Rank of each expert.
        task_rank: Rank of the task's own convolution.
        kept: Experts that each image uses.
        size: ``(H, W)`` of the maps; the router has a weight per position.
        softmax_first: Softmax over all experts, of which the weights of those that are kept are not
            normalized again (PASCAL-Context). Otherwise softmax over those that are kept (NYUD).
        noise: Add random numbers to the logits in training, by which experts take turns.

    Raises:
        InputError: ``channels`` is not a multiple of 4, or ``kept`` is not in 1 to the number of
            experts.

    Example:
        >>> import torch
        >>> from taskprism.layers.experts import LowRankExperts
        >>> block = LowRankExperts(["depth"], 8, ranks=[1, 2], task_rank=1, kept=1, size=(3, 4))
        >>> outputs, weights = block({"depth": torch.rand(2, 8, 3, 4)})
        >>> outputs["depth"].shape, weights["depth"].shape
        (torch.Size([2, 8, 3, 4]), torch.Size([2, 2]))
    """

    def __init__(
        self,
        tasks: Sequence[str],
        channels: int,
        ranks: Sequence[int],
        task_rank: int,
        kept: int,
        size: tuple[int, int],
        softmax_first: bool = False,
        noise: bool = True,
    ) -> None:
        super().__init__()
        if channels % 4:
            raise InputError(f"mlore: channels={channels} must be a multiple of 4.")
        if not 1 <= kept <= len(ranks):
            raise InputError(
                f"mlore: kept={kept} must be in 1 to {len(ranks)}, the number of experts."
            )
        self.kept = kept
        self.softmax_first = softmax_first
        self.noise = noise
        self.experts = ModuleList(
            LowRankConvolution(channels, rank, is_expert=True) for rank in ranks
        )
        self.shared = nn.Conv2d(channels, channels, kernel_size=3, padding=1)
        self.enter = ModuleDict({task: nn.Conv2d(channels, channels, 1) for task in tasks})
        self.routers = ModuleDict({task: Router(channels, len(ranks), size) for task in tasks})
        self.own = ModuleDict({task: LowRankConvolution(channels, task_rank) for task in tasks})
        self.norm = ModuleDict({task: nn.BatchNorm2d(channels) for task in tasks})
        self.norm_all = ModuleDict({task: nn.BatchNorm2d(channels) for task in tasks})
        self.leave = ModuleDict({task: nn.Conv2d(channels, channels, 1) for task in tasks})

    def forward(
        self, maps: Mapping[str, Tensor], merge: bool = False
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Maps of the tasks, and the weights of the experts.

        Args:
            maps: ``(B, channels, H, W)`` per task.
            merge: Compute with one convolution per image; only in evaluation.

        Returns:
            ``(B, channels, H, W)`` and ``(B, experts)`` per task.
        """
        outputs, weights = {}, {}
        for task, each in maps.items():
            z = self.enter[task](each)
            routed = self.route(task, z)
            weights[task] = routed.weights
            if merge:
                mixed = _convolve_each(z, *self.kernel(task, routed))
            else:
                mixed = (
                    self.norm[task](self._mix(z, routed.weights))
                    + routed.own * self.own[task](z)
                    + self.shared(z.detach())
                )
            outputs[task] = self.leave[task](F.gelu(self.norm_all[task](mixed)))
        return outputs, weights

    def route(self, task: str, z: Tensor) -> Routing:
        """Weights of the experts and the factor of the own convolution, for each image."""
        logits, scales, own = self.routers[task](z)
        if self.training and self.noise:
            logits = logits + torch.randn_like(scales) * scales
        kept = logits.topk(self.kept, dim=1).indices
        used = torch.zeros_like(logits).scatter(1, kept, 1.0)
        if self.softmax_first:
            weights = logits.softmax(dim=1) * used
        else:
            weights = torch.where(used > 0, logits, _HIDDEN).softmax(dim=1)
        return Routing(weights, own[:, :, None, None])

    def kernel(self, task: str, routed: Routing) -> tuple[Tensor, Tensor]:
        """Kernels ``(B, C, C, 3, 3)`` and biases ``(B, C)`` that replace all parallel paths.

        Raises:
            InputError: The block is in training mode, where batch norm depends on the batch.
        """
        if self.training:
            raise InputError(
                "The experts merge into one convolution in evaluation mode only, because batch "
                "norm depends on the batch in training; call eval() first."
            )
        kernels, biases = zip(*(expert.merged() for expert in self.experts), strict=True)
        kernel = torch.einsum("be,eoikl->boikl", routed.weights, torch.stack(kernels))
        bias = routed.weights @ torch.stack(biases)
        norm = self.norm[task]
        assert norm.running_mean is not None and norm.running_var is not None
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        kernel = kernel * scale[:, None, None, None]
        bias = (bias - norm.running_mean) * scale + norm.bias
        own_kernel, own_bias = self.own[task].merged()
        kernel = kernel + routed.own[..., None] * own_kernel + self.shared.weight
        assert self.shared.bias is not None
        return kernel, bias + routed.own[:, 0, 0] * own_bias + self.shared.bias

    def _mix(self, z: Tensor, weights: Tensor) -> Tensor:
        """Weighted sum of the experts, which are two convolutions if they are concatenated."""
        reduce = [expert.reduce for expert in self.experts]
        expand = [expert.expand for expert in self.experts]
        inner = F.conv2d(
            z,
            torch.cat([layer.weight for layer in reduce]),
            torch.cat([_bias(layer) for layer in reduce]),
            padding=1,
        )
        factors = torch.cat(
            [
                weights[:, index : index + 1].expand(-1, layer.out_channels)
                for index, layer in enumerate(reduce)
            ],
            dim=1,
        )
        outer = F.conv2d(
            inner * factors[:, :, None, None], torch.cat([layer.weight for layer in expand], dim=1)
        )
        bias = weights @ torch.stack([_bias(layer) for layer in expand])
        return outer + bias[:, :, None, None]


@dataclass(frozen=True)
class Routing:
    """What a router decides for each image.

    Attributes:
        weights: Weights of the experts ``(B, experts)``, 0 for those that are not used.
        own: Factor of the task's own convolution ``(B, 1, 1, 1)``.
    """

    weights: Tensor
    own: Tensor


class LowRankConvolution(nn.Module):
    """3x3 convolution to few channels and 1x1 convolution back, nothing between.

    Args:
        channels: Channels of the input and the output.
        rank: Channels between.
        is_expert: Start with Kaiming uniform weights and zero biases, as the experts do.

    Example:
        >>> import torch
        >>> from taskprism.layers.experts import LowRankConvolution
        >>> tuple(LowRankConvolution(8, rank=2)(torch.rand(1, 8, 5, 6)).shape)
        (1, 8, 5, 6)
    """

    def __init__(self, channels: int, rank: int, is_expert: bool = False) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, rank, kernel_size=3, padding=1)
        self.expand = nn.Conv2d(rank, channels, kernel_size=1)
        if is_expert:
            for layer in (self.reduce, self.expand):
                nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5))
                nn.init.zeros_(_bias(layer))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` -> the same shape."""
        return self.expand(self.reduce(x))

    def merged(self) -> tuple[Tensor, Tensor]:
        """Kernel ``(C, C, 3, 3)`` and bias ``(C,)`` of one convolution that computes the same."""
        outer = self.expand.weight[:, :, 0, 0]
        kernel = torch.einsum("or,rikl->oikl", outer, self.reduce.weight)
        return kernel, outer @ _bias(self.reduce) + _bias(self.expand)


class Router(nn.Module):
    """Logits and noise scales of the experts, and one factor, from a map.

    Two paths are concatenated: 1x1 convolutions averaged over positions, and a learned weight per
    position.

    Args:
        channels: Channels of the map, a multiple of 4.
        experts: Number of experts.
        size: ``(H, W)`` of the map.

    Example:
        >>> import torch
        >>> from taskprism.layers.experts import Router
        >>> [tuple(x.shape) for x in Router(8, experts=3, size=(2, 4))(torch.rand(5, 8, 2, 4))]
        [(5, 3), (5, 3), (5, 1)]
    """

    def __init__(self, channels: int, experts: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.experts = experts
        self.size = size
        quarter = channels // 4
        self.mean_in = nn.Conv2d(channels, quarter, kernel_size=1)
        self.mean_norm = nn.LayerNorm(quarter)
        self.mean_out = nn.Conv2d(quarter, quarter, kernel_size=1)
        self.positions = nn.Linear(size[0] * size[1], 1)
        self.position_norm = nn.LayerNorm(channels)
        self.position_out = nn.Conv2d(channels, quarter, kernel_size=1)
        self.decide = nn.Conv2d(2 * quarter, 2 * experts + 1, kernel_size=1)
        nn.init.trunc_normal_(self.positions.weight, std=_STD)
        nn.init.zeros_(self.positions.bias)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``(B, C, H, W)`` -> logits and noise scales ``(B, experts)``, factor ``(B, 1)``."""
        mean = self.mean_norm(self.mean_in(z).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        mean = self.mean_out(F.gelu(mean)).mean(dim=(2, 3), keepdim=True)
        weight = at_positions(self.positions.weight, self.size, z.shape[-2:])
        summed = F.linear(z.flatten(2), weight, self.positions.bias)[:, :, 0]
        summed = self.position_out(F.gelu(self.position_norm(summed))[:, :, None, None])
        decided = self.decide(torch.cat([mean, summed], dim=1)).flatten(1)
        return (
            decided[:, : self.experts],
            decided[:, self.experts : 2 * self.experts],
            decided[:, 2 * self.experts :],
        )


def at_positions(weight: Tensor, size: Sequence[int], other: Sequence[int]) -> Tensor:
    """Weights per position for maps of another size: interpolated, with the same sum.

    Args:
        weight: ``(..., H * W)``.
        size: ``(H, W)``.
        other: ``(h, w)``; weights for the size itself are returned unchanged.

    Example:
        >>> import torch
        >>> from taskprism.layers.experts import at_positions
        >>> at_positions(torch.ones(1, 6), (2, 3), (4, 6))[0, :3].tolist()
        [0.25, 0.25, 0.25]
    """
    height, width = other
    if (height, width) == (size[0], size[1]):
        return weight
    images = weight.reshape(1, -1, size[0], size[1])
    resized = F.interpolate(images, size=(height, width), mode="bilinear", align_corners=False)
    scaled = resized * (size[0] * size[1]) / (height * width)
    return scaled.reshape(*weight.shape[:-1], height * width)


def balance_penalty(weights: Sequence[Mapping[str, Tensor]]) -> Tensor:
    """Squared coefficient of variation of the use of experts, summed over blocks.

    The use of an expert is its mean weight over images and tasks; the standard deviation is the
    unbiased one.

    Args:
        weights: ``(B, experts)`` per task, for each block.

    Example:
        >>> import torch
        >>> from taskprism.layers.experts import balance_penalty
        >>> balance_penalty([{"depth": torch.tensor([[1.0, 1.0]])}]).item()
        0.0
    """
    total = []
    for by_task in weights:
        use = torch.stack(list(by_task.values())).mean(dim=(0, 1))
        total.append(use.var(unbiased=True) / use.mean().square().clamp(min=1e-12))
    return torch.stack(total).sum()


def _convolve_each(x: Tensor, kernels: Tensor, biases: Tensor) -> Tensor:
    """3x3 convolution with another kernel for each image."""
    channels = x.shape[1]
    grouped = F.conv2d(
        x.flatten(0, 1)[None],
        kernels.flatten(0, 1),
        biases.flatten(),
        padding=1,
        groups=kernels.shape[0],
    )
    return grouped[0].unflatten(0, (-1, channels))


def _bias(layer: nn.Conv2d) -> Tensor:
    assert layer.bias is not None
    return layer.bias
