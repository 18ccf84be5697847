"""MLoRE: a mixture of low-rank experts decodes the maps of a plain transformer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from taskprism.backbones import Backbone, TokenMaps
from taskprism.backbones.token_maps import is_plain_transformer
from taskprism.errors import InputError
from taskprism.layers import ModuleDict, ModuleList, resize
from taskprism.layers.experts import LowRankExperts, balance_penalty
from taskprism.models.base import AnyBackbone, MultiTaskModel, register_model
from taskprism.models.predictions import Predictions
from taskprism.options import Channels, Size
from taskprism.tasks.base import Task

_STD = 0.02
Ranks = Sequence[Annotated[int, Field(ge=1, le=4096)]]


class TokenModel(MultiTaskModel):
    """A system on a plain transformer without a class token, built for one image size.

    Example:
        >>> from taskprism.models import MLoRE
        >>> from taskprism.models.mlore import TokenModel
        >>> issubclass(MLoRE, TokenModel), MLoRE.any_input_size
        (True, False)
    """

    any_input_size = False
    backbone_type: ClassVar[type[Backbone]] = TokenMaps

    @classmethod
    def _create_backbone(
        cls, backbone: AnyBackbone, pretrained: bool | str, options: dict[str, Any]
    ) -> Any:
        if isinstance(backbone, str) and ":" not in backbone and is_plain_transformer(backbone):
            defaults = {"neck": "none", "taps": "even", "class_token": False}
            return super()._create_backbone(backbone, pretrained, {**defaults, **options})
        raise InputError(
            f"{cls.name} needs a plain transformer of timm, such as vit_small_patch16_224, not "
            f"{backbone!r}."
        )

    def _check_size(self, images: Tensor, other_size: str) -> None:
        """Refuse images of another size than that of training.

        Raises:
            InputError: They are, and ``other_size`` is ``"error"``.
        """
        height, width = images.shape[-2:]
        if other_size == "error" and self.input_size != (height, width):
            raise InputError(
                f"This {self.name} was built for images of {self.input_size}, got "
                f"{(height, width)}; resize them, or interpolate its weights per position with "
                'other_size="resample".'
            )


@register_model
class MLoRE(TokenModel):
    """Mixture of Low-Rank Experts (Yang et al., "MLoRE", CVPR 2024).

    Each of four maps of a plain transformer passes through two mixtures of experts
    (:class:`~taskprism.layers.experts.LowRankExperts`). The first one gives each task its map. The
    four maps of a task are weighted per position, summed and enlarged four times; a head predicts.
    A penalty balances the use of the experts in training.

    The network is built for one image size, because its routers have a weight per position.

    Args:
        tasks: Main tasks.
        auxiliary_tasks: Not supported.
        backbone: A plain transformer; its class token is left out.
        size: ``(H, W)`` of the input image.
        channels: Channels of the maps, a multiple of 4 (published: 768 on NYUD-v2; 452 for ViT-L
            and 640 for ViT-B on PASCAL-Context).
        ranks: Ranks of the experts (published: 16, 32, ..., 240 on NYUD-v2; 16, 24, ..., 128 on
            PASCAL-Context).
        task_rank: Rank of the task's own convolutions (16; 72 and 64).
        kept: Experts that each image uses (9 of 15).
        softmax_first: See :class:`~taskprism.layers.experts.LowRankExperts`; True on
            PASCAL-Context.
        noise: Add random numbers to the logits of the routers in training.
        balance: Factor of the penalty (5e-4; 3e-4 and 1e-4). It is that of the images of a batch,
            and with several processes the mean over them.
        merge: In evaluation, compute each mixture as one 3x3 convolution per image. The result is
            the same; see :meth:`merge_experts`.
        other_size: What to do with images of another size: raise (``"error"``), or interpolate the
            weights per position (``"resample"``).

    Raises:
        InputError: The backbone is no plain transformer, there is no size, or a number does not
            fit.

    Example:
        >>> import torch
        >>> from taskprism import create_model
        >>> small = {"backbone": "test_vit", "size": (32, 48), "channels": 8, "ranks": [1, 2, 3]}
        >>> model = create_model("mlore", ["depth"], kept=2, task_rank=1, **small)
        >>> tuple(model(torch.rand(2, 3, 32, 48))["depth"].shape)
        (2, 1, 32, 48)
    """

    name: ClassVar[str] = "mlore"

    def __init__(
        self,
        tasks: Sequence[Task],
        auxiliary_tasks: Sequence[Task],
        backbone: TokenMaps,
        size: Size | None = None,
        channels: Channels = 640,
        ranks: Ranks = tuple(range(16, 129, 8)),
        task_rank: Annotated[int, Field(ge=1, le=4096)] = 64,
        kept: Annotated[int, Field(ge=1, le=1000)] = 9,
        softmax_first: bool = False,
        noise: bool = True,
        balance: Annotated[float, Field(ge=0)] = 1e-4,
        merge: bool = False,
        other_size: Literal["error", "resample"] = "error",
    ) -> None:
        super().__init__(tasks, auxiliary_tasks, backbone)
        self.input_size = needed_size(self.name, size)
        self.any_input_size = other_size == "resample"
        self.other_size = other_size
        self.balance = balance
        self.merge = merge
        self.backbone = backbone
        names = [task.name for task in self.tasks]
        grid = backbone.feature_sizes(self.input_size)[0]
        self.reduce = nn.ModuleList(
            nn.Conv2d(width, channels, kernel_size=1) for width in backbone.channels
        )
        levels = len(backbone.channels)
        first, second = (
            [
                LowRankExperts(names, channels, ranks, task_rank, kept, grid, softmax_first, noise)
                for _ in range(levels)
            ]
            for _ in range(2)
        )
        self.first, self.second = ModuleList(first), ModuleList(second)
        self.mask = nn.ModuleDict(
            {
                name: nn.Sequential(
                    nn.Conv2d(levels * channels, channels, kernel_size=1),
                    nn.BatchNorm2d(channels),
                    nn.GELU(),
                    nn.Conv2d(channels, levels, kernel_size=3, padding=1),
                )
                for name in names
            }
        )
        self.heads = ModuleDict({t.name: TokenHead(channels, t.channels) for t in self.tasks})

    def merge_experts(self, merge: bool = True) -> None:
        """Compute each mixture as one 3x3 convolution per image in evaluation, or as it is.

        The numbers are the same up to rounding.
        """
        self.merge = merge

    def forward(self, images: Tensor) -> Predictions:
        """Mix experts at every level, weigh the levels, predict."""
        self._check_size(images, self.other_size)
        merge = self.merge and not self.training
        levels: dict[str, list[Tensor]] = {task.name: [] for task in self.tasks}
        weights = []
        for each, reduce, first, second in zip(
            self.backbone(images), self.reduce, self.first, self.second, strict=True
        ):
            shared = reduce(each)
            own, used = first(dict.fromkeys(levels, shared), merge)
            own, used_again = second(own, merge)
            weights += [used, used_again]
            for task, features in own.items():
                levels[task].append(features)
        size = images.shape[-2:]
        final = {}
        for task, maps in levels.items():
            shares = self.mask[task](torch.cat(maps, dim=1)).softmax(dim=1)
            summed = torch.stack([each * shares[:, n : n + 1] for n, each in enumerate(maps)]).sum(
                dim=0
            )
            final[task] = resize(self.heads[task](enlarge(summed)), size)
        penalty = (
            self.balance * balance_penalty(weights) if self.training and self.balance else None
        )
        return Predictions(final, penalty=penalty)


class TokenHead(nn.Module):
    """3x3 convolution, batch norm, GELU, 1x1 convolution.

    Example:
        >>> import torch
        >>> from taskprism.models.mlore import TokenHead
        >>> tuple(TokenHead(8, out_channels=3)(torch.rand(2, 8, 5, 6)).shape)
        (2, 3, 5, 6)
    """

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        convolution = nn.Conv2d(channels, channels, kernel_size=3, padding=1)
        nn.init.trunc_normal_(convolution.weight, std=_STD)
        self.refine = nn.Sequential(convolution, nn.BatchNorm2d(channels), nn.GELU())
        self.predict = nn.Conv2d(channels, out_channels, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, channels, H, W) -> (B, out_channels, H, W)``."""
        return self.predict(self.refine(x))


def enlarge(x: Tensor, factor: int = 4) -> Tensor:
    """Enlarge bilinearly: ``(B, C, H, W) -> (B, C, factor H, factor W)``.

    Example:
        >>> import torch
        >>> from taskprism.models.mlore import enlarge
        >>> tuple(enlarge(torch.rand(1, 2, 3, 4)).shape)
        (1, 2, 12, 16)
    """
    height, width = x.shape[-2:]
    return F.interpolate(
        x, size=(factor * height, factor * width), mode="bilinear", align_corners=False
    )


def needed_size(name: str, size: tuple[int, int] | None) -> tuple[int, int]:
    """The size, which a model that is built for one image size needs.

    Raises:
        InputError: It is None.

    Example:
        >>> from taskprism.models.mlore import needed_size
        >>> needed_size("mlore", (448, 576))
        (448, 576)
    """
    if size is None:
        raise InputError(
            f"{name} is built for one image size; give size=(height, width) to create_model."
        )
    height, width = size
    return height, width
