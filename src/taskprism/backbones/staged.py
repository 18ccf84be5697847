"""Swin and ViT as stages of blocks, each of which can end with an output per task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import timm
import torch.nn.functional as F
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from taskprism.backbones.base import Backbone
from taskprism.backbones.timm_features import check_name, set_image_statistics
from taskprism.backbones.token_maps import DropPath, find_taps
from taskprism.backbones.weights import load_pretrained
from taskprism.errors import InputError
from taskprism.layers.low_rank import LowRankLinear, SharedMode
from taskprism.layers.resize import ceil_divide
from taskprism.options import Size

Tokens = dict[str, Tensor]


class StagedTransformer(Backbone):
    """A Swin or ViT of timm in four stages; the map of a stage is what the next one gets.

    For Swin these are the maps after the patch merging at the end of each stage, at strides 8, 16,
    32 and 32. For a ViT they are the tokens of four blocks, all at the stride of the patches.
    :meth:`split_by_task` lets the last block of each stage compute a map per task.

    Args:
        name: A Swin or ViT of timm.
        pretrained: See :func:`taskprism.backbones.create_backbone`.
        image_size: ``(H, W)`` for which it is built; by default that of the pretrained weights. A
            Swin does not shift windows in stages that are not larger than a window at this size.
            Other sizes are accepted too.
        drop_path_rate: Stochastic depth of the last block.
        architecture: Other arguments of timm's network, such as ``{"embed_dim": 48}``.

    Raises:
        UnknownNameError: timm has no such model.
        InputError: It is neither a Swin (version 1) nor a ViT.

    Example:
        >>> import torch
        >>> from taskprism.backbones.staged import StagedTransformer
        >>> backbone = StagedTransformer("test_vit")
        >>> [tuple(each.shape) for each in backbone(torch.rand(1, 3, 48, 64))]
        [(1, 64, 3, 4), (1, 64, 3, 4), (1, 64, 3, 4), (1, 64, 3, 4)]
    """

    model: Any

    def __init__(
        self,
        name: str,
        pretrained: bool | str = False,
        image_size: Size | None = None,
        drop_path_rate: DropPath = 0.0,
        architecture: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        check_name(name)
        self.name = name
        options: dict[str, Any] = dict(architecture or {})
        if image_size is not None:
            options["img_size"] = tuple(image_size)
        if drop_path_rate:
            options["drop_path_rate"] = drop_path_rate
        self.model = _create(name, options)
        self.is_swin = isinstance(self.model, SwinTransformer)
        if pretrained:
            report = load_pretrained(self.model, name, pretrained)
            self.weights = f"{report.source} (license: {report.license})"
        patch = self.model.patch_embed.patch_size[0]
        if self.is_swin:
            layers = self.model.layers
            widths = [layer.blocks[0].norm1.normalized_shape[0] for layer in layers]
            self.channels = (*widths[1:], widths[-1])
            strides = [patch * 2 ** (index + 1) for index in range(len(layers) - 1)]
            self.strides = (*strides, strides[-1])
            self.multiple = patch
            stages = [list(layer.blocks) for layer in layers]
        else:
            ends = find_taps(name, len(self.model.blocks), "even")
            self.channels, self.strides = (self.model.num_features,) * 4, (patch,) * 4
            self.multiple = patch
            starts = (0, *(end + 1 for end in ends[:-1]))
            stages = [
                list(self.model.blocks[start : end + 1])
                for start, end in zip(starts, ends, strict=True)
            ]
        self._lengths = [len(stage) for stage in stages]
        self.last = nn.Identity()  # the last map, or that of each task, passes through it
        set_image_statistics(self, name)

    @property
    def watched(self) -> nn.Module:
        """Module that returns the last map, and that of each task."""
        return self.last

    def split_by_task(
        self,
        tasks: Sequence[str],
        rank: int,
        task_rank: int,
        scale: float,
        dropout: float,
        mode: SharedMode,
    ) -> None:
        """Adapt the last block of each stage so that it has an output per task.

        Its projection and both layers of its MLP get a shared update and one per task. The shared
        output of the last block of all is not needed, so the update that only it reads is left out.

        Args:
            tasks: Names of the tasks.
            rank: Rank of the shared updates.
            task_rank: Rank of the updates of a task.
            scale: Factor of the updates.
            dropout: Dropout on their input.
            mode: See :class:`~taskprism.layers.LowRankLinear`.
        """
        stages = len(self._lengths)
        for stage in range(stages):
            block = self._blocks(stage)[-1]
            updates = (rank, scale, dropout, tasks, task_rank, mode)
            block.attn.proj = ProjectedLater(_plain(block.attn.proj), *updates)
            block.mlp.fc1 = LowRankLinear(_plain(block.mlp.fc1), *updates)
            # Only matrixv2 adds the shared update to the outputs of the tasks.
            ends = stage == stages - 1
            needed = not ends or mode == "matrixv2"
            block.mlp.fc2 = LowRankLinear(_plain(block.mlp.fc2), *updates, shared_update=needed)
            if ends:
                block.mlp.fc2.norm = None

    def forward(self, images: Tensor) -> list[Tensor]:
        """Maps of the stages, finest first."""
        x = self._embed(images)
        maps = []
        for stage in range(len(self._lengths)):
            for block in self._blocks(stage):
                x = block(x)
            x = self._merge(x, stage)
            maps.append(self._as_map(x, images, stage))
        return maps

    def task_maps(self, images: Tensor) -> dict[str, list[Tensor]]:
        """Maps of the stages for every task, finest first, after :meth:`split_by_task`."""
        x = self._embed(images)
        maps: dict[str, list[Tensor]] = {}
        last = len(self._lengths) - 1
        for stage in range(last + 1):
            *blocks, split = self._blocks(stage)
            for block in blocks:
                x = block(x)
            x, own = run_by_task(split, x)
            for task, tokens in own.items():
                merged = self._as_map(self._merge(tokens, stage), images, stage)
                maps.setdefault(task, []).append(merged)
            x = self._merge(x, stage)
        return maps

    def _blocks(self, stage: int) -> list[Any]:
        if self.is_swin:
            return list(self.model.layers[stage].blocks)
        start = sum(self._lengths[:stage])
        return list(self.model.blocks[start : start + self._lengths[stage]])

    def _embed(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        right, below = -width % self.multiple, -height % self.multiple
        x = self.model.patch_embed(
            F.pad(images, (0, right, 0, below)) if right or below else images
        )
        if self.is_swin:
            return x
        return self.model.norm_pre(self.model.patch_drop(self.model._pos_embed(x)))

    def _merge(self, x: Tensor, stage: int) -> Tensor:
        """Patch merging at the end of a stage; timm has it at the start of the next one."""
        if not self.is_swin or stage + 1 == len(self._lengths):
            return x
        return self.model.layers[stage + 1].downsample(x)

    def _as_map(self, x: Tensor, images: Tensor, stage: int) -> Tensor:
        height, width = images.shape[-2:]
        rows, columns = (ceil_divide(side, self.strides[stage]) for side in (height, width))
        if self.is_swin:
            image = x.permute(0, 3, 1, 2)[:, :, :rows, :columns].contiguous()
        else:
            tokens = x[:, self.model.num_prefix_tokens :]
            image = tokens.transpose(1, 2).unflatten(2, (rows, columns)).contiguous()
        return self.last(image) if stage + 1 == len(self._lengths) else image


class ProjectedLater(LowRankLinear):
    """The projection of an attention, which :func:`run_by_task` applies after the attention.

    timm's attention calls its projection and gets its input back, from which the projection then
    computes the shared output and that of every task. The result is the same, because the steps
    between (windows put back in place) move tokens only.

    Example:
        >>> import torch
        >>> from taskprism.backbones.staged import ProjectedLater
        >>> layer = ProjectedLater(torch.nn.Linear(4, 4), rank=2)
        >>> layer(torch.ones(1, 4)).tolist()
        [[1.0, 1.0, 1.0, 1.0]]
    """

    def forward(self, x: Tensor) -> Tensor:
        """The input."""
        return x


def run_by_task(block: Any, x: Tensor) -> tuple[Tensor, Tokens]:
    """Shared output of a block and that of every task: tokens -> tokens of the same shape.

    The attention is shared. Every stream has its own residual path, norm input and MLP input.

    Args:
        block: Block after :meth:`StagedTransformer.split_by_task`.
        x: Shared tokens.

    Example:
        >>> import torch
        >>> from taskprism.backbones.staged import StagedTransformer, run_by_task
        >>> backbone = StagedTransformer("test_vit")
        >>> backbone.split_by_task(["depth"], 2, 2, scale=4.0, dropout=0.0, mode="matrix")
        >>> shared, own = run_by_task(backbone.model.blocks[0], torch.rand(1, 5, 64))
        >>> shared.shape == own["depth"].shape == (1, 5, 64)
        True
    """
    attend = getattr(block, "_attn", block.attn)
    shared, own = block.attn.proj.with_tasks(attend(block.norm1(x)))
    first, second = (getattr(block, name, nn.Identity()) for name in ("ls1", "ls2"))
    shared = x + block.drop_path1(first(shared))
    own = {task: x + block.drop_path1(first(each)) for task, each in own.items()}
    hidden, own_hidden = block.mlp.fc1.with_tasks(
        block.norm2(shared), {task: block.norm2(each) for task, each in own.items()}
    )
    act = block.mlp.act
    out, own_out = block.mlp.fc2.with_tasks(
        act(hidden), {task: act(each) for task, each in own_hidden.items()}
    )
    results = {task: each + block.drop_path2(second(own_out[task])) for task, each in own.items()}
    return shared + block.drop_path2(second(out)), results


def _plain(layer: nn.Module) -> nn.Linear:
    linear = layer.linear if isinstance(layer, LowRankLinear) else layer
    assert isinstance(linear, nn.Linear)
    return linear


def _create(name: str, options: Mapping[str, Any]) -> Any:
    switches: list[dict[str, Any]] = [
        {"strict_img_size": False, "dynamic_mask": True},
        {"dynamic_img_size": True},
    ]
    for switch in switches:
        try:
            model: Any = timm.create_model(name, **options, **switch)
        except TypeError:
            continue
        if isinstance(model, SwinTransformer):
            cast(Any, model).norm, cast(Any, model).head = nn.Identity(), nn.Identity()
            return model
        if type(model) is VisionTransformer and hasattr(model.blocks[0], "ls1"):
            model.prune_intermediate_layers([len(model.blocks) - 1], prune_norm=True)
            return model
    raise InputError(
        f"Backbone {name!r} is neither a Swin (version 1) nor a ViT of timm, or does not take "
        f"{dict(options)}; choose one, such as swin_tiny_patch4_window7_224."
    )
