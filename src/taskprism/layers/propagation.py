"""Feature propagation: MTI-Net's step from the task features of one scale to the next finer one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torchvision.ops import SqueezeExcitation

from taskprism.errors import InputError, UnknownNameError
from taskprism.layers.containers import ModuleDict
from taskprism.layers.residual import basic_block

PropagationSoftmax = Literal["channels", "tasks"]


class FeaturePropagation(nn.Module):
    """Feature Propagation Module of MTI-Net (Vandenhende et al., ECCV 2020, section 2.4).

    With X the concatenation of the N task features F_t (task by task, S = N C channels):

    1. Z = f(X): basic blocks S -> S / reduction -> S / reduction, 1x1 back to S;
    2. mask = softmax(Z) over groups of N channels;
    3. shared representation R = basic block (X * mask), S -> C;
    4. per task F_t + SE_t(R), with SE_t squeeze-and-excitation (Hu et al., 2018).

    The paper takes the softmax "along the task dimension" (``softmax="tasks"``). The released code
    takes it over N *consecutive* channels of X (``softmax="channels"``), which belong to one task;
    trained weights fit only the rule they were trained with. The default is the code's, as it gave
    the numbers that the code reproduces.

    Args:
        tasks: Names of the tasks, in order of concatenation.
        channels: C.
        reduction: Divisor of the width inside f. The released code has 4; the operations in the
            paper's table 7 fit 1.
        softmax: See above.
    """

    def __init__(
        self,
        tasks: Sequence[str],
        channels: int,
        reduction: int = 4,
        softmax: PropagationSoftmax = "channels",
    ) -> None:
        super().__init__()
        if softmax not in get_args(PropagationSoftmax):
            raise UnknownNameError("propagation_softmax", softmax, get_args(PropagationSoftmax))
        self.tasks = list(tasks)
        self.softmax = softmax
        stacked = len(self.tasks) * channels
        if not 1 <= reduction <= stacked:
            raise InputError(
                f"fpm_reduction={reduction} does not divide {stacked} channels "
                f"({len(self.tasks)} tasks x {channels}); take 1 to {stacked}, usually 4."
            )
        inner = stacked // reduction
        self.gate = nn.Sequential(
            basic_block(stacked, inner),
            basic_block(inner, inner),
            nn.Conv2d(inner, stacked, kernel_size=1),
        )
        self.reduce = basic_block(stacked, channels)
        self.excite = ModuleDict(
            {task: SqueezeExcitation(channels, max(1, channels // 16)) for task in self.tasks}
        )

    def forward(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Task features ``(B, C, H, W)`` by name -> what the next finer scale reads, same shape."""
        stacked = torch.cat([features[task] for task in self.tasks], dim=1)
        shared = self.reduce(stacked * self.mask(stacked))
        return {task: features[task] + self.excite[task](shared) for task in self.tasks}

    def mask(self, stacked: Tensor) -> Tensor:
        """Weights in (0, 1) of the stacked features ``(B, N C, H, W)``, same shape."""
        scores = self.gate(stacked)
        count = len(self.tasks)
        if self.softmax == "channels":
            return scores.unflatten(1, (-1, count)).softmax(dim=2).flatten(1, 2)
        return scores.unflatten(1, (count, -1)).softmax(dim=1).flatten(1, 2)
