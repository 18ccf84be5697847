"""DPT: a convolutional decoder that reassembles and fuses the maps of any backbone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from taskprism.backbones import Backbone, TokenMaps
from taskprism.backbones.token_maps import TapNorm, TapRule
from taskprism.distillation import Distillation, create_distillation
from taskprism.errors import InputError
from taskprism.layers import ModuleDict, ModuleList, ceil_divide
from taskprism.models.base import register_model
from taskprism.models.decoding import DecoderModel
from taskprism.models.predictions import Predictions
from taskprism.options import Channels, Size
from taskprism.tasks.base import Task

#: Width of a transformer -> channels of the fusion and of the four levels, as in Depth Anything V2.
WIDTHS: dict[int, tuple[int, tuple[int, int, int, int]]] = {
    384: (64, (48, 96, 192, 384)),
    768: (128, (96, 192, 384, 768)),
    1024: (256, (256, 512, 1024, 1024)),
    1536: (384, (1536, 1536, 1536, 1536)),
}
_CHANNELS = 128


@register_model
class DPT(DecoderModel):
    """Dense Prediction Transformer decoder (Ranftl et al., "DPT", ICCV 2021), one head per task.

    Four maps are reassembled into a pyramid and fused from coarse to fine. Layers and widths are
    those of Depth Anything V2 (Yang et al., NeurIPS 2024), whose head predicts depth only. On a
    backbone with maps at several strides (ResNet, Swin, HRNet), the maps are the pyramid. The
    reassembly is shared by the tasks. Every task has its own fusion path and output layers.

    Args:
        tasks: Main tasks.
        auxiliary_tasks: Not supported; there is no front end.
        backbone: A plain transformer, or any backbone with at least two maps.
        channels: Channels of the fusion path. By default those of Depth Anything V2 for
            transformers of 384, 768, 1024 and 1536 channels (:data:`WIDTHS`), and 128 for others.
        level_channels: Channels of the reassembled maps, finest first. By default those of Depth
            Anything V2, and the channels of the backbone for others.
        readout: What the class token of a plain transformer is used for: ``"ignore"``, or
            ``"project"``: concatenated with every patch token and projected (DPT, section 3).
        shared_fusion: One fusion path for all tasks; only the output layers are per task.
        distillation: A name of :func:`taskprism.distillation.list_distillations`,
            ``"module:Class"``, or a subclass of :class:`taskprism.distillation.Distillation`. It
            refines the tasks' features at every scale of the fusion. By default there is none.
        distillation_options: Options of the distillation.
        size: ``(H, W)`` of the input image; only for distillations that are built for one size.

    Raises:
        InputError: The backbone has one map only, ``readout`` needs a class token that it lacks,
            ``level_channels`` does not fit, or a distillation is asked for on a shared fusion path.

    Example:
        >>> import torch
        >>> from taskprism import create_model
        >>> model = create_model("dpt", ["depth", "edge"], backbone="test_vit", channels=8)
        >>> {task: tuple(x.shape) for task, x in model(torch.rand(1, 3, 40, 56)).items()}
        {'depth': (1, 1, 40, 56), 'edge': (1, 1, 40, 56)}
    """

    name: ClassVar[str] = "dpt"
    tap_rule: ClassVar[TapRule] = "depth_anything"
    tap_norm: ClassVar[TapNorm] = "all"

    def __init__(
        self,
        tasks: Sequence[Task],
        auxiliary_tasks: Sequence[Task],
        backbone: Backbone,
        channels: Channels | None = None,
        level_channels: Sequence[Channels] | None = None,
        readout: Literal["ignore", "project"] = "ignore",
        shared_fusion: bool = False,
        distillation: str | type[Distillation] | None = None,
        distillation_options: Mapping[str, Any] | None = None,
        size: Size | None = None,
    ) -> None:
        super().__init__(tasks, auxiliary_tasks, backbone)
        self.backbone = backbone
        self.readouts = _readouts(backbone, readout)
        known = WIDTHS.get(backbone.channels[-1]) if isinstance(backbone, TokenMaps) else None
        width = channels or (known[0] if known else _CHANNELS)
        widths = level_channels or (known[1] if known else backbone.channels)
        self.reassembly = Reassembly(backbone.channels, backbone.strides, widths, width)
        names = [task.name for task in self.tasks]
        self.paths = ModuleDict(
            {
                name: FusionPath(len(widths), width)
                for name in ([_SHARED] if shared_fusion else names)
            }
        )
        self.distillations = ModuleList[Distillation]()
        self.initial_heads = nn.ModuleList()
        if distillation is not None:
            self._add_distillation(distillation, distillation_options, width, size, shared_fusion)
        self.heads = ModuleDict({t.name: DPTHead(width, t.channels) for t in self.tasks})

    def _add_distillation(
        self,
        distillation: str | type[Distillation],
        options: Mapping[str, Any] | None,
        width: int,
        size: tuple[int, int] | None,
        shared: bool,
    ) -> None:
        if shared:
            raise InputError(
                "dpt: a distillation refines the features of each task, but shared_fusion gives "
                "all tasks the same; set shared_fusion to False, or distillation to null."
            )
        names = [task.name for task in self.tasks]
        sizes = self.reassembly.sizes(self.backbone.feature_sizes(size)) if size else None
        for level, stride in enumerate(self.reassembly.strides):
            module = create_distillation(
                distillation,
                names,
                width,
                size=sizes[level] if sizes else None,
                stride=stride,
                **(options or {}),
            )
            self.distillations.append(module)
            if module.needs_predictions:
                heads = {t.name: nn.Conv2d(width, t.channels, kernel_size=1) for t in self.tasks}
                self.initial_heads.append(nn.ModuleDict(heads))
        self._fit_size(size, *self.distillations)

    def forward(self, images: Tensor) -> Predictions:
        """Reassemble, fuse from coarse to fine, distill at every scale if asked to, predict."""
        levels = self.reassembly(self._maps(images))
        fused: dict[str, Tensor | None] = dict.fromkeys(self.paths)
        initial: list[dict[str, Tensor]] = []
        for level in range(len(levels) - 1, -1, -1):
            features = {
                name: path.merge(fused[name], levels[level], level)
                for name, path in self.paths.items()
            }
            if self.distillations:
                predicted = None
                if self.initial_heads:
                    heads = self.initial_heads[level]
                    assert isinstance(heads, nn.ModuleDict)
                    predicted = {name: head(features[name]) for name, head in heads.items()}
                    initial.insert(0, predicted)
                features = self.distillations[level](features, predicted)
            height, width = levels[level].shape[-2:]
            grid = levels[level - 1].shape[-2:] if level else (2 * height, 2 * width)
            for name, path in self.paths.items():
                fused[name] = path.grow(features[name], grid, level)
        size = images.shape[-2:]
        final: dict[str, Tensor] = {}
        for task, head in self.heads.items():
            features = fused[task if task in fused else _SHARED]
            assert features is not None
            final[task] = head(features, size)
        return Predictions(final, initial)

    def _maps(self, images: Tensor) -> list[Tensor]:
        if not self.readouts:
            return self.backbone(images)
        assert isinstance(self.backbone, TokenMaps)
        maps, classes = self.backbone.with_class_tokens(images)
        return [
            readout(each, token)
            for readout, each, token in zip(self.readouts, maps, classes, strict=True)
        ]


_SHARED = "all_tasks"


def _readouts(backbone: Backbone, readout: str) -> nn.ModuleList:
    if readout == "ignore":
        return nn.ModuleList()
    if not isinstance(backbone, TokenMaps) or not backbone.has_class_token:
        raise InputError(
            'dpt: readout="project" needs a plain transformer with a class token; choose another '
            'backbone, or readout="ignore".'
        )
    return nn.ModuleList(ClassReadout(width) for width in backbone.channels)


class ClassReadout(nn.Module):
    """Concatenates the class token with every patch token, linear layer, GELU.

    Example:
        >>> import torch
        >>> from taskprism.models.dpt import ClassReadout
        >>> tuple(ClassReadout(8)(torch.rand(2, 8, 3, 4), torch.rand(2, 8)).shape)
        (2, 8, 3, 4)
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.project = nn.Linear(2 * channels, channels)

    def forward(self, x: Tensor, token: Tensor) -> Tensor:
        """``(B, C, H, W)`` and ``(B, C)`` -> ``(B, C, H, W)``."""
        both = torch.cat([x, token[:, :, None, None].expand_as(x)], dim=1)
        return F.gelu(self.project(both.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)


class Reassembly(nn.Module):
    """Maps of a backbone -> a pyramid of maps with equal channels.

    A 1x1 convolution per map; for maps of equal stride, transposed convolutions (x4, x2) and a
    convolution of stride 2 that make a pyramid of them; a 3x3 convolution without bias.

    Args:
        in_channels: Channels of the maps.
        in_strides: Strides of the maps: four equal ones, or increasing ones.
        widths: Channels after the 1x1 convolutions.
        channels: Channels of the result.

    Attributes:
        strides: Strides of the pyramid, rounded down to integers.

    Raises:
        InputError: There are fewer than two maps, equal strides of other than four maps, or
            ``widths`` of another length.

    Example:
        >>> import torch
        >>> from taskprism.models.dpt import Reassembly
        >>> reassembly = Reassembly([8] * 4, [16] * 4, widths=[4] * 4, channels=6)
        >>> [tuple(x.shape) for x in reassembly([torch.rand(1, 8, 4, 5)] * 4)]
        [(1, 6, 16, 20), (1, 6, 8, 10), (1, 6, 4, 5), (1, 6, 2, 3)]
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        in_strides: Sequence[int],
        widths: Sequence[int],
        channels: int,
    ) -> None:
        super().__init__()
        count = len(in_channels)
        self.is_plain = len(set(in_strides)) == 1 and count > 1
        if count < 2 or (self.is_plain and count != 4):
            raise InputError(
                f"dpt fuses four maps of a plain transformer or at least two maps of increasing "
                f'stride; this backbone has {count} of strides {tuple(in_strides)}. Use neck="none"'
                ", and four taps for a transformer."
            )
        if len(widths) != count:
            raise InputError(
                f"dpt: level_channels={list(widths)} must have {count} values, one per map of the "
                "backbone, finest first."
            )
        first = in_strides[0]
        self.strides = (
            (max(1, first // 4), max(1, first // 2), first, 2 * first)
            if self.is_plain
            else tuple(in_strides)
        )
        self.project = nn.ModuleList(
            nn.Conv2d(each, width, kernel_size=1)
            for each, width in zip(in_channels, widths, strict=True)
        )
        self.scale = nn.ModuleList(nn.Identity() for _ in widths)
        if self.is_plain:
            self.scale[0] = nn.ConvTranspose2d(widths[0], widths[0], kernel_size=4, stride=4)
            self.scale[1] = nn.ConvTranspose2d(widths[1], widths[1], kernel_size=2, stride=2)
            self.scale[3] = nn.Conv2d(widths[3], widths[3], kernel_size=3, stride=2, padding=1)
        self.refine = nn.ModuleList(
            nn.Conv2d(width, channels, kernel_size=3, padding=1, bias=False) for width in widths
        )

    def sizes(self, sizes: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        """Sizes of the pyramid for maps of these sizes."""
        if not self.is_plain:
            return list(sizes)
        height, width = sizes[0]
        coarsest = ceil_divide(height, 2), ceil_divide(width, 2)
        return [(4 * height, 4 * width), (2 * height, 2 * width), (height, width), coarsest]

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Project, scale, refine; finest first."""
        return [
            refine(scale(project(each)))
            for each, project, scale, refine in zip(
                maps, self.project, self.scale, self.refine, strict=True
            )
        ]


class FusionPath(nn.Module):
    """The fusion blocks of one task, from coarse to fine.

    Args:
        levels: Number of maps.
        channels: Channels of all maps.

    Example:
        >>> import torch
        >>> from taskprism.models.dpt import FusionPath
        >>> path = FusionPath(levels=2, channels=4)
        >>> coarse = path.grow(path.merge(None, torch.rand(1, 4, 3, 3), level=1), (5, 6), level=1)
        >>> tuple(path.merge(coarse, torch.rand(1, 4, 5, 6), level=0).shape)
        (1, 4, 5, 6)
    """

    def __init__(self, levels: int, channels: int) -> None:
        super().__init__()
        self.skips = nn.ModuleList(ResidualUnit(channels) for _ in range(levels - 1))
        self.units = nn.ModuleList(ResidualUnit(channels) for _ in range(levels))
        self.outputs = nn.ModuleList(
            nn.Conv2d(channels, channels, kernel_size=1) for _ in range(levels)
        )

    def merge(self, coarser: Tensor | None, skip: Tensor, level: int) -> Tensor:
        """Add the map of a level to what was fused so far, and refine: same shape as ``skip``."""
        x = skip if coarser is None else coarser + self.skips[level](skip)
        return self.units[level](x)

    def grow(self, x: Tensor, size: Sequence[int], level: int) -> Tensor:
        """Resize to the next finer level and mix channels: ``(B, C, h, w) -> (B, C, *size)``."""
        return self.outputs[level](aligned(x, size))


class ResidualUnit(nn.Module):
    """ReLU, 3x3 convolution, ReLU, 3x3 convolution, plus the input; no norm.

    Example:
        >>> import torch
        >>> from taskprism.models.dpt import ResidualUnit
        >>> tuple(ResidualUnit(4)(torch.rand(1, 4, 5, 6)).shape)
        (1, 4, 5, 6)
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, kernel_size=3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` -> the same shape."""
        return x + self.conv2(F.relu(self.conv1(F.relu(x))))


class DPTHead(nn.Module):
    """3x3 convolution, bilinear to the image, 3x3 convolution to 32, ReLU, 1x1 convolution.

    There is no ReLU after the last layer, as tasks other than depth have negative outputs.

    Example:
        >>> import torch
        >>> from taskprism.models.dpt import DPTHead
        >>> tuple(DPTHead(8, out_channels=3)(torch.rand(1, 8, 5, 6), (17, 19)).shape)
        (1, 3, 17, 19)
    """

    def __init__(self, channels: int, out_channels: int, hidden: int = 32) -> None:
        super().__init__()
        half = max(1, channels // 2)
        self.reduce = nn.Conv2d(channels, half, kernel_size=3, padding=1)
        self.refine = nn.Conv2d(half, hidden, kernel_size=3, padding=1)
        self.predict = nn.Conv2d(hidden, out_channels, kernel_size=1)

    def forward(self, x: Tensor, size: Sequence[int]) -> Tensor:
        """``(B, channels, h, w) -> (B, out_channels, *size)``."""
        return self.predict(F.relu(self.refine(aligned(self.reduce(x), size))))


def aligned(x: Tensor, size: Sequence[int]) -> Tensor:
    """Resize bilinearly with aligned corners: ``(B, C, h, w) -> (B, C, *size)``.

    Example:
        >>> import torch
        >>> from taskprism.models.dpt import aligned
        >>> aligned(torch.tensor([[[[0.0, 2.0]]]]), (1, 3)).flatten().tolist()
        [0.0, 1.0, 2.0]
    """
    height, width = size
    return F.interpolate(x, size=(height, width), mode="bilinear", align_corners=True)
