"""The coarsest feature map of a model's encoder, read while the model runs."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor, nn

from taskprism.backbones.base import Backbone, Neck
from taskprism.layers import resize


class EncoderFeatures:
    """Reads the coarsest map of every encoder of a model; use it as a context manager.

    Encoders are the backbones in a model without their necks. The map of an encoder that runs once
    per task (ASTMT) is the mean over its runs. The maps of several encoders (one per task) are
    resized to the first and concatenated.

    Args:
        model: Any module with backbones in it.

    Attributes:
        channels: Channels of :meth:`maps`; 0 if the model has no backbone.

    Example:
        >>> from taskprism import create_model
        >>> from taskprism.losses.consistency import EncoderFeatures
        >>> model = create_model("multi_task", {"depth": 1}, backbone="test_resnet")
        >>> with EncoderFeatures(model) as features:
        ...     _ = model(torch.rand(2, 3, 64, 96))
        >>> features.maps().shape, features.channels
        (torch.Size([2, 96, 2, 3]), 96)
    """

    def __init__(self, model: nn.Module) -> None:
        self.encoders = [
            module
            for module in model.modules()
            if isinstance(module, Backbone) and not isinstance(module, Neck)
        ]
        self.channels = sum(encoder.channels[-1] for encoder in self.encoders)
        self._seen: list[list[Tensor]] = [[] for _ in self.encoders]
        self._handles: list[Any] = []

    def __enter__(self) -> Self:
        self._seen = [[] for _ in self.encoders]
        for encoder, seen in zip(self.encoders, self._seen, strict=True):

            def keep(_: nn.Module, __: Any, output: Any, seen: list[Tensor] = seen) -> None:
                seen.append((output if isinstance(output, Tensor) else output[-1]).detach())

            self._handles.append(encoder.watched.register_forward_hook(keep))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def maps(self) -> Tensor | None:
        """``(B, channels, h, w)`` of the last run, without a graph; None if an encoder did not run.

        Of a model without a backbone it is None too.
        """
        if not self.encoders or not all(self._seen):
            return None
        each = [torch.stack(seen).mean(dim=0) for seen in self._seen]
        size = each[0].shape[-2:]
        return torch.cat([resize(one, size) for one in each], dim=1)
