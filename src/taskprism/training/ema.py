"""Exponential moving average of a model's weights."""

from __future__ import annotations

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


def create_average(model: nn.Module, decay: float) -> AveragedModel:
    """Copy of ``model`` whose ``update_parameters(model)`` follows it.

    After the first update it equals the model, then ``average = decay * average + (1 - decay) *
    weights``. Buffers (running statistics of normalization) are those of the model itself.
    """
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))
