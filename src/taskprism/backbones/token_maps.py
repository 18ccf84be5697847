"""Plain transformers as backbones: the tokens of several blocks as maps."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Any, Literal

import timm
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from taskprism.backbones.base import Backbone
from taskprism.backbones.timm_features import TimmFeatures, check_name, set_image_statistics
from taskprism.errors import InputError
from taskprism.layers.resize import ceil_divide
from taskprism.options import Size

TapRule = Literal["even", "depth_anything"]
Taps = TapRule | Sequence[Annotated[int, Field(ge=0, le=1000)]]
TapNorm = Literal["none", "last", "all"]
DropPath = Annotated[float, Field(ge=0, le=0.9)]

_LEVELS = 4
#: Depth -> blocks at which Depth Anything V2 reads, where these are not evenly spaced.
_DEPTH_ANYTHING = {24: (4, 11, 17, 23)}


class TokenMaps(Backbone):
    """The patch tokens of several blocks of a plain transformer, as maps of equal stride.

    Any plain transformer of timm: ViT (AugReg, MAE, DINOv2, SigLIP), EVA, DINOv3. Position
    embeddings are interpolated, so images of any size are accepted; sizes that are not multiples of
    the patch are padded with zeros on the right and at the bottom. Class and register tokens take
    part in the attention and are not part of the maps.

    Args:
        name: A name of ``timm.list_models()``, with or without a weights tag.
        taps: Blocks after which maps are read, counted from 0, in increasing order. ``"even"``: the
            ends of the four quarters of the network (2, 5, 8, 11 of 12 blocks).
            ``"depth_anything"``: the same, but 4, 11, 17, 23 of 24 blocks, as in Depth Anything V2.
        tap_norm: Which maps pass through the final norm of the transformer: ``"none"``, ``"last"``
            or ``"all"``. Transformers without such a norm leave maps as they are.
        image_size: ``(H, W)`` for which position embeddings are stored; by default that of the
            pretrained weights.
        drop_path_rate: Stochastic depth of the last block; it increases linearly from 0.
        class_token: Keep the class token of a transformer that has one.

    Raises:
        UnknownNameError: timm has no such model.
        InputError: It is not a plain transformer, or ``taps`` are not blocks of it.

    Example:
        >>> import torch
        >>> from taskprism.backbones import TokenMaps
        >>> backbone = TokenMaps("test_vit", taps=[1, 3, 5])
        >>> [tuple(each.shape) for each in backbone(torch.rand(1, 3, 48, 60))]
        [(1, 64, 3, 4), (1, 64, 3, 4), (1, 64, 3, 4)]
    """

    model: Any

    def __init__(
        self,
        name: str,
        taps: Taps = "even",
        tap_norm: TapNorm = "last",
        image_size: Size | None = None,
        drop_path_rate: DropPath = 0.0,
        class_token: bool = True,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        check_name(name)
        if not is_plain_transformer(name):
            raise InputError(
                f"Backbone {name!r} is not a plain transformer, so it has no token maps; leave out "
                "taps, or choose a transformer such as vit_small_patch16_224."
            )
        self.name = name
        options: dict[str, Any] = {} if image_size is None else {"img_size": tuple(image_size)}
        if drop_path_rate:
            options["drop_path_rate"] = drop_path_rate
        if not class_token:  # timm wants another pooling then, which must not remove the norm
            options |= {"class_token": False, "global_pool": "avg", "fc_norm": False}
        try:
            model: Any = timm.create_model(
                name, dynamic_img_size=True, in_chans=in_channels, **options
            )
        except TypeError as error:
            raise InputError(
                f"timm cannot build {name!r} for images of any size with {options}, so its tokens "
                f"cannot be maps: {error}. Choose another transformer."
            ) from error
        self.model = model
        self.taps = find_taps(name, len(model.blocks), taps)
        self.tap_norm = tap_norm
        model.prune_intermediate_layers(list(self.taps), prune_norm=tap_norm == "none")
        self.patch: int = model.patch_embed.patch_size[0]
        self.channels = (model.num_features,) * len(self.taps)
        self.strides = (self.patch,) * len(self.taps)
        self.last = nn.Identity()  # the last map passes through it
        set_image_statistics(self, name)

    @property
    def watched(self) -> nn.Module:
        """Module that returns the last map, also where a model runs the blocks itself."""
        return self.last

    @property
    def has_class_token(self) -> bool:
        """Whether there is a class token."""
        return getattr(self.model, "cls_token", None) is not None

    def forward(self, images: Tensor) -> list[Tensor]:
        """Maps ``(B, D, ceil(H / patch), ceil(W / patch))``, one per tap."""
        return self.with_class_tokens(images)[0]

    def with_class_tokens(self, images: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Maps, and the class token ``(B, D)`` at each tap (an empty list if there is none)."""
        height, width = images.shape[-2:]
        right, below = -width % self.patch, -height % self.patch
        padded = F.pad(images, (0, right, 0, below)) if right or below else images
        rows, columns = ceil_divide(height, self.patch), ceil_divide(width, self.patch)
        outputs = self.model.forward_intermediates(
            padded,
            indices=list(self.taps),
            return_prefix_tokens=True,
            output_fmt="NLC",
            intermediates_only=True,
        )
        maps: list[Tensor] = []
        classes: list[Tensor] = []
        for level, output in enumerate(outputs):
            tokens, prefix = output if isinstance(output, tuple | list) else (output, None)
            if self.tap_norm == "all" or (self.tap_norm == "last" and level == len(self.taps) - 1):
                tokens = self.model.norm(tokens)
                prefix = None if prefix is None else self.model.norm(prefix)
            maps.append(tokens.transpose(1, 2).unflatten(2, (rows, columns)).contiguous())
            if self.has_class_token and prefix is not None:
                classes.append(prefix[:, 0])
        return [*maps[:-1], self.last(maps[-1])], classes


def find_taps(name: str, depth: int, taps: Taps) -> tuple[int, ...]:
    """Numbers of the blocks, from 0, at which a transformer of ``depth`` blocks is read.

    Raises:
        InputError: A number is not that of a block, or they do not increase.

    Example:
        >>> find_taps("vit_large_patch14_dinov2", 24, "depth_anything")
        (4, 11, 17, 23)
    """
    if isinstance(taps, str):
        if taps == "depth_anything" and depth in _DEPTH_ANYTHING:
            return _DEPTH_ANYTHING[depth]
        if depth < _LEVELS:
            raise InputError(
                f"Backbone {name!r} has {depth} blocks, fewer than the {_LEVELS} that taps="
                f"{taps!r} reads; list the blocks yourself, such as taps=[{depth - 1}]."
            )
        return tuple(depth * (level + 1) // _LEVELS - 1 for level in range(_LEVELS))
    chosen = tuple(taps)
    if not chosen or list(chosen) != sorted(set(chosen)) or chosen[0] < 0 or chosen[-1] >= depth:
        raise InputError(
            f"taps={list(chosen)} must be blocks of {name!r}, counted from 0 and increasing: any "
            f"of 0 to {depth - 1}."
        )
    return chosen


@lru_cache(maxsize=256)
def is_plain_transformer(name: str) -> bool:
    """Whether all maps of a timm model have the same stride.

    Example:
        >>> from taskprism.backbones.token_maps import is_plain_transformer
        >>> is_plain_transformer("test_vit"), is_plain_transformer("resnet18")
        (True, False)
    """
    with torch.device("meta"):  # quick, and without random numbers
        strides = TimmFeatures(name).strides
    return len(strides) > 1 and len(set(strides)) == 1
