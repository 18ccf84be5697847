"""MTMamba: decoders of state-space scans, with scans across tasks at every stage."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from timm.layers import DropPath as RandomPath
from torch import Tensor, nn

from taskprism.backbones import Backbone
from taskprism.backbones.token_maps import DropPath
from taskprism.errors import InputError
from taskprism.layers import ModuleDict, ModuleList, resize
from taskprism.layers.selective_scan import Chunk, ImageScan
from taskprism.models.base import register_model
from taskprism.models.decoding import DecoderModel
from taskprism.models.predictions import Predictions
from taskprism.tasks.base import Task

_BLOCKS = 2  # of each task in a stage, before the block across tasks
_STD = 0.02

Variant = Literal["mtmamba", "mtmamba++"]
Maps = dict[str, Tensor]


@register_model
class MTMamba(DecoderModel):
    """MTMamba (Lin et al., ECCV 2024) and MTMamba++ (Lin et al., TPAMI 2025).

    From the deepest map to the finest, each task doubles its map, joins that of the backbone, and
    passes through two selective scans (:class:`~taskprism.layers.selective_scan.ImageScan`) and
    one across tasks. In ``"mtmamba"`` that one mixes, by a gate, the scan of the task with a scan
    of all tasks. In ``"mtmamba++"`` the coefficients of each task's scan come from all tasks.

    The published backbone is ``"swin_large_patch4_window12_384"``. Scans are exact and in plain
    PyTorch, and slower than a CUDA kernel. Parameters and results do not depend on ``chunk``.

    Args:
        tasks: Main tasks.
        auxiliary_tasks: Not supported.
        backbone: Any backbone with at least two maps at strides that double.
        variant: ``"mtmamba"`` or ``"mtmamba++"``.
        decoder_drop_path: Stochastic depth of the first block, that of the coarsest stage; it
            decreases linearly to 0.
        chunk: Steps of a scan that are computed together.

    Raises:
        InputError: The backbone has one map, or maps whose strides do not double.

    Example:
        >>> import torch
        >>> from taskprism import create_model
        >>> model = create_model("mtmamba", ["depth", "edge"], backbone="test_resnet")
        >>> tuple(model(torch.rand(1, 3, 64, 64))["depth"].shape)
        (1, 1, 64, 64)
    """

    name: ClassVar[str] = "mtmamba"
    depends_on_task_order: ClassVar[bool] = True

    def __init__(
        self,
        tasks: Sequence[Task],
        auxiliary_tasks: Sequence[Task],
        backbone: Backbone,
        variant: Variant = "mtmamba++",
        decoder_drop_path: DropPath = 0.2,
        chunk: Chunk = 512,
    ) -> None:
        super().__init__(tasks, auxiliary_tasks, backbone)
        strides = backbone.strides
        if len(strides) < 2 or any(
            2 * fine != coarse for fine, coarse in itertools.pairwise(strides)
        ):
            raise InputError(
                f"mtmamba doubles maps stage by stage, but the maps of this backbone have strides "
                f'{strides}; use a network such as Swin or ResNet, or neck="vit_pyramid" for a '
                "plain transformer."
            )
        self.backbone = backbone
        names = [task.name for task in self.tasks]
        widths = list(reversed(backbone.channels))
        self.norms = ModuleList(nn.LayerNorm(width) for width in reversed(widths))
        stages = len(widths) - 1
        blocks = stages * (_BLOCKS + 1)
        rates = [decoder_drop_path * (1 - n / max(1, blocks - 1)) for n in range(blocks)]
        self.stages = ModuleList(
            MambaStage(
                names,
                widths[stage],
                widths[stage + 1],
                variant,
                rates[stage * (_BLOCKS + 1) : (stage + 1) * (_BLOCKS + 1)],
                chunk,
            )
            for stage in range(stages)
        )
        finest = widths[-1]
        head = PlusHead if variant == "mtmamba++" else ExpandedHead
        self.heads = nn.ModuleDict({t.name: head(finest, t.channels) for t in self.tasks})

    def forward(self, images: Tensor) -> Predictions:
        """Decode all tasks stage by stage, predict."""
        maps = [
            norm(each.permute(0, 2, 3, 1))
            for norm, each in zip(self.norms, self.backbone(images), strict=True)
        ]
        x = {task.name: maps[-1] for task in self.tasks}
        for stage, skip in zip(self.stages, reversed(maps[:-1]), strict=True):
            x = stage(x, skip)
        size = images.shape[-2:]
        return Predictions({task: resize(head(x[task]), size) for task, head in self.heads.items()})


class MambaStage(nn.Module):
    """Doubles the maps of all tasks, joins the backbone's, and scans.

    All maps have their channels last.

    Args:
        tasks: Names of the tasks.
        in_channels: Channels of the maps of the stage before.
        channels: Channels of this stage, those of the backbone's map.
        variant: How tasks are scanned together.
        rates: Stochastic depth of each block.
        chunk: See :func:`~taskprism.layers.selective_scan.selective_scan`.

    Example:
        >>> import torch
        >>> from taskprism.models.mtmamba import MambaStage
        >>> stage = MambaStage(["depth"], 8, 4, "mtmamba", rates=[0.0] * 3)
        >>> tuple(stage({"depth": torch.rand(1, 2, 3, 8)}, torch.rand(1, 4, 6, 4))["depth"].shape)
        (1, 4, 6, 4)
    """

    def __init__(
        self,
        tasks: Sequence[str],
        in_channels: int,
        channels: int,
        variant: Variant,
        rates: Sequence[float],
        chunk: int = 512,
    ) -> None:
        super().__init__()
        self.grow = ModuleDict({task: PatchExpansion(in_channels, channels) for task in tasks})
        self.join = nn.ModuleDict({task: nn.Linear(2 * channels, channels) for task in tasks})
        self.scans = nn.ModuleDict(
            {
                task: nn.Sequential(*(ScanBlock(channels, rate, chunk) for rate in rates[:-1]))
                for task in tasks
            }
        )
        across = CrossScan if variant == "mtmamba++" else GatedScan
        self.across = across(tasks, channels, rates[-1], chunk)

    def forward(self, maps: Mapping[str, Tensor], skip: Tensor) -> Maps:
        """``(B, h, w, in_channels)`` per task and ``(B, H, W, C)`` -> ``(B, H, W, C)`` per task."""
        x: Maps = {}
        for task, each in maps.items():
            grown = self.grow[task](each, skip.shape[1:3])
            x[task] = self.scans[task](self.join[task](torch.cat([grown, skip], dim=-1)))
        return self.across(x)


class PatchExpansion(nn.Module):
    """Linear layer without bias, pixels instead of channels, layer norm.

    Args:
        in_channels: Channels of the input.
        channels: Channels of the result.
        factor: Growth of each side.

    Example:
        >>> import torch
        >>> from taskprism.models.mtmamba import PatchExpansion
        >>> tuple(PatchExpansion(8, 4)(torch.rand(1, 2, 3, 8), (3, 5)).shape)
        (1, 3, 5, 4)
    """

    def __init__(self, in_channels: int, channels: int, factor: int = 2) -> None:
        super().__init__()
        self.factor = factor
        self.expand = nn.Linear(in_channels, factor * factor * channels, bias=False)
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor, size: Sequence[int] | None = None) -> Tensor:
        """``(B, h, w, in_channels)`` -> ``(B, factor h, factor w, channels)``, cropped to size."""
        n = self.factor
        blocks = self.expand(x).unflatten(3, (n, n, -1))
        grown = blocks.permute(0, 1, 3, 2, 4, 5).flatten(3, 4).flatten(1, 2)
        if size is not None:
            grown = grown[:, : size[0], : size[1]]
        return self.norm(grown)


class ScanBlock(nn.Module):
    """Layer norm and a gated scan, with a residual path.

    Example:
        >>> import torch
        >>> from taskprism.models.mtmamba import ScanBlock
        >>> tuple(ScanBlock(8)(torch.rand(1, 3, 4, 8)).shape)
        (1, 3, 4, 8)
    """

    def __init__(self, channels: int, rate: float = 0.0, chunk: int = 512) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.scan = ImageScan(channels, 2 * channels, chunk=chunk)
        self.path = RandomPath(rate)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, H, W, C)`` -> the same shape."""
        return x + self.path(self.scan(self.norm(x)))


class GatedScan(nn.Module):
    """Scan of all tasks together, mixed into that of each task by a gate (MTMamba).

    Example:
        >>> import torch
        >>> from taskprism.models.mtmamba import GatedScan
        >>> block = GatedScan(["depth", "edge"], channels=8)
        >>> maps = {task: torch.rand(1, 3, 4, 8) for task in ("depth", "edge")}
        >>> tuple(block(maps)["edge"].shape)
        (1, 3, 4, 8)
    """

    def __init__(
        self, tasks: Sequence[str], channels: int, rate: float = 0.0, chunk: int = 512
    ) -> None:
        super().__init__()
        inner, rank = 2 * channels, -(-channels // 16)
        together = len(tasks) * channels
        self.norm_all = nn.LayerNorm(together)
        self.scan_all = ImageScan(together, inner, gated=False, rank=rank, chunk=chunk)
        self.norms = nn.ModuleDict({task: nn.LayerNorm(channels) for task in tasks})
        self.scans = nn.ModuleDict(
            {task: ImageScan(channels, inner, gated=False, chunk=chunk) for task in tasks}
        )
        self.gates = nn.ModuleDict({t: nn.Linear(channels, inner, bias=False) for t in tasks})
        self.leave = nn.ModuleDict({t: nn.Linear(inner, channels, bias=False) for t in tasks})
        self.path = RandomPath(rate)

    def forward(self, maps: Mapping[str, Tensor]) -> Maps:
        """``(B, H, W, C)`` per task -> the same shapes."""
        shared = self.scan_all(self.norm_all(torch.cat(list(maps.values()), dim=-1)))
        results: Maps = {}
        for task, x in maps.items():
            normed = self.norms[task](x)
            gate = self.gates[task](normed).sigmoid()
            mixed = gate * shared + (1 - gate) * self.scans[task](normed)
            results[task] = x + self.path(self.leave[task](mixed))
        return results


class CrossScan(nn.Module):
    """Scan of each task with coefficients that come from all tasks (MTMamba++).

    Example:
        >>> import torch
        >>> from taskprism.models.mtmamba import CrossScan
        >>> block = CrossScan(["depth", "edge"], channels=8)
        >>> maps = {task: torch.rand(1, 3, 4, 8) for task in ("depth", "edge")}
        >>> tuple(block(maps)["edge"].shape)
        (1, 3, 4, 8)
    """

    def __init__(
        self, tasks: Sequence[str], channels: int, rate: float = 0.0, chunk: int = 512
    ) -> None:
        super().__init__()
        together = len(tasks) * channels
        self.norm_all = nn.LayerNorm(together)
        self.mix = nn.Sequential(
            nn.Conv2d(together, channels, kernel_size=1),
            nn.Conv2d(channels, channels, kernel_size=3, padding=1),
        )
        self.norms = nn.ModuleDict({task: nn.LayerNorm(channels) for task in tasks})
        self.scans = nn.ModuleDict(
            {
                task: ImageScan(channels, 2 * channels, context_channels=channels, chunk=chunk)
                for task in tasks
            }
        )
        self.path = RandomPath(rate)

    def forward(self, maps: Mapping[str, Tensor]) -> Maps:
        """``(B, H, W, C)`` per task -> the same shapes."""
        together = self.norm_all(torch.cat(list(maps.values()), dim=-1))
        shared = self.mix(together.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return {
            task: x + self.path(self.scans[task](self.norms[task](x), shared))
            for task, x in maps.items()
        }


class ExpandedHead(nn.Module):
    """Expansion by 4 and a 1x1 convolution (MTMamba).

    Example:
        >>> import torch
        >>> from taskprism.models.mtmamba import ExpandedHead
        >>> tuple(ExpandedHead(8, 3)(torch.rand(1, 2, 3, 8)).shape)
        (1, 3, 8, 12)
    """

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.expand = PatchExpansion(channels, channels, factor=4)
        self.predict = nn.Conv2d(channels, out_channels, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, h, w, C)`` -> ``(B, out_channels, 4 h, 4 w)``."""
        return self.predict(self.expand(x).permute(0, 3, 1, 2))


class PlusHead(nn.Module):
    """3x3 convolution to half the channels, batch norm, ReLU, 1x1 convolution (MTMamba++).

    Example:
        >>> import torch
        >>> from taskprism.models.mtmamba import PlusHead
        >>> tuple(PlusHead(8, 3)(torch.rand(2, 2, 3, 8)).shape)
        (2, 3, 2, 3)
    """

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        half = max(1, channels // 2)
        convolution = nn.Conv2d(channels, half, kernel_size=3, padding=1)
        nn.init.trunc_normal_(convolution.weight, std=_STD)
        self.refine = nn.Sequential(convolution, nn.BatchNorm2d(half))
        self.predict = nn.Conv2d(half, out_channels, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, h, w, C)`` -> ``(B, out_channels, h, w)``."""
        return self.predict(F.relu(self.refine(x.permute(0, 3, 1, 2))))
