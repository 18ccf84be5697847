"""TaskPrompter: a transformer in which a prompt per task attends to the pixels, and they to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from taskprism.backbones import TokenMaps
from taskprism.errors import InputError
from taskprism.layers import ModuleDict, ceil_divide, resize
from taskprism.models.base import register_model
from taskprism.models.mlore import TokenHead, TokenModel, enlarge, needed_size
from taskprism.models.predictions import Predictions
from taskprism.options import Channels, Size
from taskprism.tasks.base import Task

Maps = dict[str, Tensor]


@register_model
class TaskPrompter(TokenModel):
    """Spatial-channel task prompting (Ye and Xu, "TaskPrompter", ICLR 2023).

    A learned prompt per task passes through all blocks of a plain transformer together with the
    pixels. Scores of prompts over pixels (spatial), and over channels in windows of the image
    (channel), select features of each task at four blocks. These are summed over the blocks and
    enlarged four times; a head predicts.

    The layers are those of the released code, which differs from the paper: the result of the
    attention over channels is not used, only its scores. One layer of the last block never
    influences the output and is left out.

    The network is built for one image size, because linear layers map prompts to positions.

    Args:
        tasks: Main tasks.
        auxiliary_tasks: Not supported.
        backbone: A ViT of timm; its class token is left out.
        size: ``(H, W)`` of the input image.
        embed_channels: Channels of the spatial and of the channel features (published: 768 on
            NYUD-v2; 300 for ViT-L and 780 for ViT-B on PASCAL-Context).
        channels: Channels of the task features (768; 350 and 1024).
        windows: Windows of the channel scores along each side; they divide the grid of patches (4;
            1 for ViT-L and 4 for ViT-B on PASCAL-Context).
        reweigh: Whether the scores between prompts weigh the features of all tasks in each of them
            (False on NYUD-v2, True on PASCAL-Context).
        other_size: What to do with images of another size: raise (``"error"``), or interpolate the
            scores per position (``"resample"``).

    Raises:
        InputError: The backbone is no ViT, there is no size, or windows do not divide the grid.

    Example:
        >>> import torch
        >>> from taskprism import create_model
        >>> small = {"backbone": "test_vit", "size": (32, 64), "windows": 2, "channels": 8}
        >>> model = create_model("taskprompter", ["depth"], embed_channels=4, **small)
        >>> tuple(model(torch.rand(2, 3, 32, 64))["depth"].shape)
        (2, 1, 32, 64)
    """

    name: ClassVar[str] = "taskprompter"
    depends_on_task_order: ClassVar[bool] = True

    def __init__(
        self,
        tasks: Sequence[Task],
        auxiliary_tasks: Sequence[Task],
        backbone: TokenMaps,
        size: Size | None = None,
        embed_channels: Channels = 780,
        channels: Channels = 1024,
        windows: Annotated[int, Field(ge=1, le=256)] = 4,
        reweigh: bool = True,
        other_size: Literal["error", "resample"] = "error",
    ) -> None:
        super().__init__(tasks, auxiliary_tasks, backbone)
        blocks = backbone.model.blocks
        if not hasattr(blocks[0].attn, "qkv") or backbone.model.num_prefix_tokens:
            raise InputError(
                "taskprompter needs a ViT of timm without register tokens, such as "
                "vit_base_patch16_384."
            )
        self.input_size = needed_size(self.name, size)
        self.any_input_size = other_size == "resample"
        self.other_size = other_size
        self.windows = windows
        self.backbone = backbone
        names = [task.name for task in self.tasks]
        width, depth = backbone.channels[0], len(blocks)
        self.grid = backbone.feature_sizes(self.input_size)[0]
        self._check_grid(self.grid)
        self.prompts = nn.Parameter(torch.empty(len(names), width))
        nn.init.trunc_normal_(self.prompts, mean=1.0, std=1.0)
        positions = self.grid[0] * self.grid[1]
        self.to_positions = nn.ModuleList(nn.Linear(width, positions) for _ in range(depth))
        self.from_positions = nn.ModuleList(nn.Linear(positions, width) for _ in range(depth - 1))
        levels = range(len(backbone.taps))
        heads: int = blocks[0].attn.num_heads

        def per_level(create: Any) -> nn.ModuleList:
            return nn.ModuleList(nn.ModuleDict({name: create() for name in names}) for _ in levels)

        self.spatial = per_level(lambda: nn.Conv2d(width, embed_channels, kernel_size=1))
        self.channel = per_level(lambda: nn.Conv2d(width, embed_channels, kernel_size=1))
        self.fuse = per_level(lambda: _fusion(2 * embed_channels, channels))
        self.reweigh = nn.ModuleList()
        if reweigh:
            self.reweigh = per_level(
                lambda: nn.Sequential(
                    nn.Conv2d(heads, heads, kernel_size=1), nn.GELU(), nn.Conv2d(heads, 1, 1)
                )
            )
        self.heads = ModuleDict({t.name: TokenHead(channels, t.channels) for t in self.tasks})

    def check_input_size(self, size: tuple[int, int]) -> None:
        """Check that windows divide the grid of patches, in addition to the size itself."""
        super().check_input_size(size)
        self._check_grid(self.backbone.feature_sizes(size)[0])

    def forward(self, images: Tensor) -> Predictions:
        """Run the transformer with prompts, select features at four blocks, predict."""
        self._check_size(images, self.other_size)
        rows, columns = (ceil_divide(side, self.backbone.patch) for side in images.shape[-2:])
        if self.any_input_size:
            self._check_grid((rows, columns))
        model = self.backbone.model
        pixels = self._embed(images)
        prompts = self.prompts.expand(pixels.shape[0], -1, -1)
        total: dict[str, list[Tensor]] = {task.name: [] for task in self.tasks}
        for number, block in enumerate(model.blocks):
            prompts, pixels, scores = self._run(number, block, prompts, pixels, (rows, columns))
            if number in self.backbone.taps:
                level = self.backbone.taps.index(number)
                is_last = level == len(self.backbone.taps) - 1
                tokens = model.norm(pixels) if is_last else pixels
                x = tokens.transpose(1, 2).unflatten(2, (rows, columns))
                x = self.backbone.last(x) if is_last else x
                for task, features in self._select(level, x, scores).items():
                    total[task].append(features)
        size = images.shape[-2:]
        final = {
            task: resize(self.heads[task](enlarge(torch.stack(each).sum(dim=0))), size)
            for task, each in total.items()
        }
        return Predictions(final)

    def _embed(self, images: Tensor) -> Tensor:
        """Tokens of the patches ``(B, N, D)``, with position embeddings."""
        model, patch = self.backbone.model, self.backbone.patch
        right, below = -images.shape[-1] % patch, -images.shape[-2] % patch
        padded = F.pad(images, (0, right, 0, below)) if right or below else images
        return model.norm_pre(model.patch_drop(model._pos_embed(model.patch_embed(padded))))

    def _run(
        self, number: int, block: Any, prompts: Tensor, pixels: Tensor, grid: tuple[int, int]
    ) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor, Tensor]]:
        """One block; its scores are those of :meth:`_scores`."""
        count = prompts.shape[1]
        normed_prompts, normed = block.norm1(prompts), block.norm1(pixels)
        attention = block.attn
        both = torch.cat([normed_prompts, normed], dim=1)
        mixed = attention.qkv(both).unflatten(2, (3, attention.num_heads, -1))
        query, key, value = mixed.permute(2, 0, 3, 1, 4)
        query, key = attention.q_norm(query), attention.k_norm(key)
        raw = query[:, :, :count] @ key.transpose(2, 3)
        attended = F.scaled_dot_product_attention(query, key, value, scale=attention.scale)
        attended = attention.proj(attended.transpose(1, 2).flatten(2))
        positions = self.to_positions[number](normed_prompts)
        own, rest = attended[:, :count], attended[:, count:]
        if number < len(self.from_positions):
            own = own + self.from_positions[number](positions)
        prompts = prompts + block.drop_path1(block.ls1(own))
        pixels = pixels + block.drop_path1(block.ls1(rest))
        prompts = prompts + block.drop_path2(block.ls2(block.mlp(block.norm2(prompts))))
        pixels = pixels + block.drop_path2(block.ls2(block.mlp(block.norm2(pixels))))
        return prompts, pixels, self._scores(raw, positions, normed, grid)

    def _scores(
        self, raw: Tensor, positions: Tensor, normed: Tensor, grid: tuple[int, int]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Scores of a block, before any softmax and not scaled.

        Returns:
            Of prompts over pixels ``(B, heads, T, h, w)``, over channels in windows ``(B, T, D,
            windows, windows)``, and over prompts ``(B, heads, T, T)``.
        """
        count = raw.shape[2]
        rows, columns = grid
        weights = positions.unflatten(2, self.grid)
        if grid != self.grid:
            ratio = self.grid[0] * self.grid[1] / (rows * columns)
            weights = resize(weights, grid) * ratio
        n = self.windows
        cut = (n, rows // n, n, columns // n)
        x = normed.transpose(1, 2).unflatten(2, cut)
        weights = weights.flatten(2).unflatten(2, cut)
        channel = torch.einsum("btixjy,bdixjy->btdij", weights, x)
        return raw[..., count:].unflatten(3, grid), channel, raw[..., :count]

    def _select(self, level: int, x: Tensor, scores: tuple[Tensor, Tensor, Tensor]) -> Maps:
        """Features of every task at one level."""
        spatial, channel, between = scores
        heads, count = spatial.shape[1:3]
        rows, columns = x.shape[-2:]
        grouped = x.unflatten(1, (heads, -1))
        n = self.windows
        cut = x.unflatten(3, (n, columns // n)).unflatten(2, (n, rows // n))
        features: list[Tensor] = []
        for place, task in enumerate(self.tasks):
            by_head = (grouped * spatial[:, :, None, place]).flatten(1, 2) + x
            by_window = (cut * channel[:, place, :, :, None, :, None]).flatten(4, 5)
            by_window = by_window.flatten(2, 3) + x
            both = [
                self._layer(self.spatial, level, task.name)(by_head),
                self._layer(self.channel, level, task.name)(by_window),
            ]
            features.append(self._layer(self.fuse, level, task.name)(torch.cat(both, dim=1)))
        names = [task.name for task in self.tasks]
        if not self.reweigh:
            return dict(zip(names, features, strict=True))
        stacked = torch.stack(features, dim=1)
        results: Maps = {}
        for place, name in enumerate(names):
            weights = self._layer(self.reweigh, level, name)(between[:, :, place, :, None])
            results[name] = torch.einsum("bt,btchw->bchw", weights.view(-1, count), stacked)
        return results

    def _layer(self, levels: nn.ModuleList, level: int, task: str) -> nn.Module:
        by_task = levels[level]
        assert isinstance(by_task, nn.ModuleDict)
        return by_task[task]

    def _check_grid(self, grid: tuple[int, int]) -> None:
        """Raise an error with sizes that work if windows do not divide the grid of patches."""
        if any(side % self.windows for side in grid):
            step = self.windows * self.backbone.patch
            rows, columns = (ceil_divide(side, self.windows) for side in grid)
            raise InputError(
                f"taskprompter cuts {grid[0]} x {grid[1]} patches into {self.windows} x "
                f"{self.windows} windows, which does not come out even; use images whose sides are "
                f"multiples of {step} pixels, such as {(rows * step, columns * step)}, or other "
                "windows."
            )


def _fusion(in_channels: int, channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, kernel_size=1),
        nn.Conv2d(channels, channels, kernel_size=3, padding=1),
        nn.BatchNorm2d(channels),
        nn.GELU(),
        nn.Conv2d(channels, channels, kernel_size=1),
    )
