"""InvPT: a transformer decoder in which all tasks attend to each other at growing resolution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from taskprism.backbones import Backbone
from taskprism.errors import InputError
from taskprism.layers import ModuleDict, ModuleList, ceil_divide, resize
from taskprism.models.base import register_model
from taskprism.models.decoding import DecoderModel
from taskprism.models.predictions import Predictions
from taskprism.options import Channels
from taskprism.tasks.base import Task

_HEADS = 2
_STAGES = 3
_RATIO = 4  # width of the hidden layer of the MLPs / width of the stage
_STD = 0.02

Maps = dict[str, Tensor]


@register_model
class InvPT(DecoderModel):
    """Inverted Pyramid multi-task Transformer (Ye and Xu, "InvPT", ECCV 2022).

    Preliminary decoders predict each task at half the resolution of the transformer's grid. Three
    stages follow, each twice as fine and half as wide as the one before. In each, all tokens of all
    tasks attend to each other, and the attention scores of the stage before are mixed into those of
    the next. The maps of all stages are summed per task.

    The published networks are ``backbone="vit_base_patch16_384"`` and
    ``"vit_large_patch16_384"`` with ``drop_path_rate=0.15``. A backbone with maps at several
    strides works too, which was not published: the deepest map is the input of the decoders, and
    the two maps before it are added at the finer stages.

    Four layers of the released code never influence its output and are left out; they are a
    convolution of the third map, a mixing layer and a projection of the first stage, and a norm
    (:func:`unused_parameters`).

    Args:
        tasks: Main tasks; each is predicted initially too.
        auxiliary_tasks: Not supported.
        backbone: A plain transformer, or any backbone with at least three maps.
        channels: Channels of the preliminary decoders.
        prediction_channels: Channels that the decoder adds for the preliminary prediction. With
            ``channels`` they make the width of the first stage, a multiple of 8.

    Raises:
        InputError: The width is not a multiple of 8, or the backbone has fewer than three maps.

    Example:
        >>> import torch
        >>> from taskprism import create_model
        >>> small = {"backbone": "test_vit", "channels": 8, "prediction_channels": 8}
        >>> outputs = create_model("invpt", ["depth", "edge"], **small)(torch.rand(2, 3, 64, 128))
        >>> tuple(outputs["depth"].shape), tuple(outputs.initial[0]["depth"].shape)
        ((2, 1, 64, 128), (2, 1, 2, 4))
    """

    name: ClassVar[str] = "invpt"
    depends_on_task_order: ClassVar[bool] = True
    has_initial_predictions: ClassVar[bool] = True

    def __init__(
        self,
        tasks: Sequence[Task],
        auxiliary_tasks: Sequence[Task],
        backbone: Backbone,
        channels: Channels = 512,
        prediction_channels: Annotated[int, Field(ge=0, le=4096)] = 64,
    ) -> None:
        super().__init__(tasks, auxiliary_tasks, backbone)
        if len(backbone.channels) < _STAGES:
            raise InputError(
                f"invpt reads three maps of the backbone, but this one has "
                f'{len(backbone.channels)}; use neck="none" and a backbone with more maps.'
            )
        width = channels + prediction_channels
        if width % 8:
            raise InputError(
                f"invpt: channels + prediction_channels is {width}, but the stages are {width}, "
                f"{width}/2 and {width}/4 channels wide with two heads; make it a multiple of 8."
            )
        self.backbone = backbone
        names = [task.name for task in self.tasks]
        self.is_plain = len(set(backbone.strides)) == 1
        # A plain transformer is read at its first, second and last tap, as published.
        self.read = (0, 1, -1) if self.is_plain else (-3, -2, -1)
        fine, middle, last = (backbone.channels[index] for index in self.read)
        self.skips = nn.ModuleList(
            [
                nn.Conv2d(middle, width // 2, kernel_size=3, padding=1),
                nn.ConvTranspose2d(
                    fine, width // 4, kernel_size=3, stride=2, padding=1, output_padding=1
                )
                if self.is_plain
                else nn.Conv2d(fine, width // 4, kernel_size=3, padding=1),
            ]
        )
        self.preliminary = nn.ModuleDict(
            {
                name: nn.Sequential(_convolution(last, last), _convolution(last, channels))
                for name in names
            }
        )
        self.initial_heads = nn.ModuleDict(
            {t.name: nn.Conv2d(channels, t.channels, kernel_size=1) for t in self.tasks}
        )
        self.mix = nn.ModuleDict(
            {t.name: nn.Conv2d(channels + t.channels, width, kernel_size=1) for t in self.tasks}
        )
        self.stages = ModuleList(
            Stage(names, width >> index, width, index) for index in range(_STAGES)
        )
        self.refine = nn.ModuleDict({name: _refinement(width) for name in names})
        self.heads = nn.ModuleDict(
            {t.name: nn.Conv2d(width, t.channels, kernel_size=1) for t in self.tasks}
        )

    def forward(self, images: Tensor) -> Predictions:
        """Predict initially, run the stages, sum their maps, predict."""
        maps = self.backbone(images)
        fine, middle, last = (maps[index] for index in self.read)
        if self.is_plain:
            last = resize(last, [ceil_divide(side, 2) for side in last.shape[-2:]])
        rows, columns = last.shape[-2:]
        initial: Maps = {}
        x: Maps = {}
        for task, decode in self.preliminary.items():
            features = decode(last)
            initial[task] = self.initial_heads[task](features)
            x[task] = self.mix[task](torch.cat([features, initial[task]], dim=1))
        skips: list[Tensor | None] = [None]
        for level, (skip, each) in enumerate(zip(self.skips, (middle, fine), strict=True), 1):
            skips.append(resize(skip(each), (rows * 2**level, columns * 2**level)))
        finest = (rows * 2**_STAGES, columns * 2**_STAGES)
        scores: Tensor | None = None
        total: dict[str, list[Tensor]] = {task: [] for task in x}
        for stage, skip in zip(self.stages, skips, strict=True):
            x, scores, summands = stage(x, skip, scores)
            for task, each in summands.items():
                total[task].append(resize(each, finest))
        size = images.shape[-2:]
        final = {
            task: resize(self.heads[task](self.refine[task](torch.stack(each).sum(dim=0))), size)
            for task, each in total.items()
        }
        return Predictions(final, [initial])


class Stage(nn.Module):
    """Up-embedding of every task, one transformer block over all tasks, summand of the result.

    Args:
        tasks: Names of the tasks.
        channels: Width of this stage.
        out_channels: Width of the summands, that of the first stage.
        index: Number of the stage, from 0; the first one has no up-embedding.

    Example:
        >>> import torch
        >>> from taskprism.models.invpt import Stage
        >>> stage = Stage(["depth"], channels=8, out_channels=16, index=1)
        >>> skip = torch.rand(2, 8, 6, 8)
        >>> x, scores, summands = stage({"depth": torch.rand(2, 16, 3, 4)}, skip)
        >>> x["depth"].shape[1:], summands["depth"].shape[1:]
        (torch.Size([8, 6, 8]), torch.Size([16, 6, 8]))
    """

    def __init__(self, tasks: Sequence[str], channels: int, out_channels: int, index: int) -> None:
        super().__init__()
        self.tasks = list(tasks)
        self.embed = nn.ModuleDict(
            {
                task: nn.Sequential(
                    _convolution(2 * channels, channels, dilation=2),
                    _convolution(channels, channels, dilation=2),
                )
                for task in (tasks if index else ())
            }
        )
        self.norm1 = nn.LayerNorm(channels)
        self.attention = CrossTaskAttention(tasks, channels, index)
        self.norm2 = nn.LayerNorm(channels)
        self.expand = nn.Linear(channels, _RATIO * channels)
        self.reduce = nn.Linear(_RATIO * channels, channels)
        self.norm = nn.LayerNorm(len(self.tasks) * channels)
        self.project = nn.ModuleDict(
            {task: nn.Conv2d(channels, out_channels, 1) for task in (tasks if index else ())}
        )
        for linear in (self.expand, self.reduce):
            _start_linear(linear)

    def forward(
        self, maps: Mapping[str, Tensor], skip: Tensor | None, scores: Tensor | None = None
    ) -> tuple[Maps, Tensor, Maps]:
        """Maps of this stage, attention scores, and what the result gets from this stage.

        Args:
            maps: Maps of the stage before, ``(B, C, H, W)`` per task.
            skip: Embedded map of the backbone at the grid of this stage; None at the first.
            scores: Scores of the stage before, see :class:`CrossTaskAttention`.
        """
        x = dict(maps)
        if skip is not None:
            size = skip.shape[-2:]
            x = {task: self.embed[task](resize(each, size)) + skip for task, each in x.items()}
        normed = {task: _over_channels(self.norm1, each) for task, each in x.items()}
        attended, scores = self.attention(normed, scores)
        for task, each in x.items():
            each = each + resize(attended[task], each.shape[-2:])
            tokens = self.norm2(each.permute(0, 2, 3, 1))
            tokens = self.reduce(F.gelu(self.expand(tokens)))
            x[task] = each + tokens.permute(0, 3, 1, 2)
        together = _over_channels(self.norm, torch.cat([x[task] for task in self.tasks], dim=1))
        parts = together.chunk(len(self.tasks), dim=1)
        summands = dict(zip(self.tasks, parts, strict=True))
        if self.project:
            summands = {task: self.project[task](part) for task, part in summands.items()}
        return x, scores, summands


class CrossTaskAttention(nn.Module):
    """Every token of every task attends to pooled tokens of all tasks; scores are passed on.

    Queries come from depth-wise convolutions of stride 2, keys and values from average pooling to
    half the grid of the first stage. Scores are scaled with the full width, not that of a head. The
    scores of the stage before, upsampled as maps over the queries, are mixed with the own ones by a
    1x1 convolution over the heads of both.

    Args:
        tasks: Names of the tasks.
        channels: Width.
        index: Number of the stage, from 0.

    Example:
        >>> import torch
        >>> from taskprism.models.invpt import CrossTaskAttention
        >>> attention = CrossTaskAttention(["depth", "edge"], channels=8, index=0)
        >>> maps = {"depth": torch.rand(1, 8, 4, 6), "edge": torch.rand(1, 8, 4, 6)}
        >>> attended, scores = attention(maps)
        >>> tuple(attended["depth"].shape), tuple(scores.shape)
        ((1, 8, 2, 3), (1, 2, 2, 2, 3, 12))
    """

    def __init__(self, tasks: Sequence[str], channels: int, index: int) -> None:
        super().__init__()
        self.pooling = 2 ** (index + 1)
        self.scale = channels**-0.5
        self.queries = ModuleDict(
            {
                task: nn.Sequential(
                    nn.Conv2d(channels, channels, 3, 2, 1, groups=channels, bias=False),
                    nn.BatchNorm2d(channels),
                )
                for task in tasks
            }
        )
        self.to_query = nn.Linear(channels, channels)
        self.to_key = nn.Linear(channels, channels)
        self.to_value = nn.Linear(channels, channels)
        self.project = nn.Linear(channels, channels)
        self.pass_on = nn.Conv2d(2 * _HEADS, _HEADS, kernel_size=1) if index else None
        for linear in (self.to_query, self.to_key, self.to_value, self.project):
            _start_linear(linear)

    def forward(
        self, maps: Mapping[str, Tensor], before: Tensor | None = None
    ) -> tuple[Maps, Tensor]:
        """Attended maps at half the grid, and the scores before the softmax.

        Args:
            maps: ``(B, C, H, W)`` per task.
            before: Scores of the stage before.

        Returns:
            ``(B, C, ceil(H / 2), ceil(W / 2))`` per task; scores ``(B, heads, tasks, ceil(H / 2),
            ceil(W / 2), keys)``.
        """
        asked = torch.stack([self.queries[task](each) for task, each in maps.items()], dim=1)
        rows, columns = asked.shape[-2:]
        pooled = [
            F.avg_pool2d(each, self.pooling, self.pooling, ceil_mode=True).flatten(2)
            for each in maps.values()
        ]
        tokens = torch.cat(pooled, dim=2).transpose(1, 2)
        query = _split(self.to_query(asked.flatten(3).transpose(2, 3).flatten(1, 2)))
        key, value = _split(self.to_key(tokens)), _split(self.to_value(tokens))
        scores = (query @ key.transpose(2, 3) * self.scale).unflatten(2, (len(maps), rows, columns))
        if self.pass_on is not None and before is not None:
            scores = self._mix(scores, before)
        mixed = scores.flatten(2, 4).softmax(dim=-1) @ value
        out = self.project(mixed.transpose(1, 2).flatten(2)).transpose(1, 2)
        out = out.unflatten(2, (len(maps), rows, columns))
        return {task: out[:, :, index] for index, task in enumerate(maps)}, scores

    def _mix(self, scores: Tensor, before: Tensor) -> Tensor:
        assert self.pass_on is not None
        tasks, rows, columns = scores.shape[2:5]
        images = before.permute(0, 1, 2, 5, 3, 4).flatten(0, 2)
        images = resize(images, (rows, columns)).unflatten(0, (-1, _HEADS, tasks))
        both = torch.cat([scores, images.permute(0, 1, 2, 4, 5, 3)], dim=1)
        return self.pass_on(both.flatten(2, 4)).unflatten(2, (tasks, rows, columns))


def unused_parameters(channels: int, width: int, tasks: int) -> int:
    """Number of parameters of the released network that never influence its output.

    Args:
        channels: Channels of the transformer.
        width: Width of the first stage.
        tasks: Number of tasks.

    Example:
        >>> from taskprism.models.invpt import unused_parameters
        >>> unused_parameters(channels=1024, width=576, tasks=4)
        6639562
    """
    third_map = 9 * channels * width + width
    mixing = 2 * _HEADS * _HEADS + _HEADS
    projections = tasks * (width * width + width)
    norm = 2 * tasks * width // 4
    return third_map + mixing + projections + norm


def _convolution(in_channels: int, out_channels: int, dilation: int = 1) -> nn.Sequential:
    """3x3 convolution without bias, batch norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=dilation, dilation=dilation, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


def _refinement(channels: int) -> nn.Sequential:
    convolution = nn.Conv2d(channels, channels, kernel_size=3, padding=1)
    nn.init.trunc_normal_(convolution.weight, std=_STD)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels), nn.ReLU(inplace=True))


def _start_linear(linear: nn.Linear) -> None:
    nn.init.trunc_normal_(linear.weight, std=_STD)
    nn.init.zeros_(linear.bias)


def _over_channels(norm: nn.Module, x: Tensor) -> Tensor:
    """Layer norm over the channels of every pixel of ``(B, C, H, W)``."""
    return norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def _split(tokens: Tensor) -> Tensor:
    """``(B, N, C) -> (B, heads, N, C / heads)``."""
    return tokens.unflatten(2, (_HEADS, -1)).transpose(1, 2)
