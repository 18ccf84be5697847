"""Feature propagation: MTI-Net's step from the task features of one scale to the next finer one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torchvision.ops import SqueezeExcitation

from taskprism.checks import check_channels, check_choice, check_integer
from taskprism.layers.containers import ModuleDict
from taskprism.layers.residual import basic_block

PropagationSoftmax = Literal["channels", "tasks"]


class FeaturePropagation(nn.Module):
    """Feature Propagation Module of MTI-Net (Vandenhende et al., ECCV 2020, section 2.4).

    With X the concatenation of the N task features F_t (task by task, S = N C channels):

    1. Z = f(X): basic blocks S -> S / reduction -> S / reduction, 1x1 convolution back to S;
    2. mask = softmax(Z) over groups of N channels;
    3. shared representation R = basic block (X * mask), S -> C;
    4. per task F_t + SE_t(R), where SE_t is squeeze-and-excitation (Hu et al., 2018).

    In the paper the softmax is "along the task dimension" (``softmax="tasks"``). In the released
    code it is over N *consecutive* channels of X (``softmax="channels"``), which belong to one
    task. Trained weights fit only the variant they were trained with. The default is that of the
    code, with which its numbers can be reproduced.

    Args:
        tasks: Names of the tasks, in order of concatenation.
        channels: C.
        reduction: Divisor of the width inside f, 1 to S. The released code has 4; the operation
            counts in the paper's table 7 fit 1.
        softmax: ``"channels"`` or ``"tasks"``, see above.

    Raises:
        InputError: ``channels`` or ``reduction`` is not an integer or out of range.
        UnknownNameError: ``softmax`` does not exist.

    Example:
        >>> import torch
        >>> from taskprism.layers import FeaturePropagation
        >>> propagation = FeaturePropagation(["semseg", "depth"], channels=8)
        >>> features = {"semseg": torch.rand(2, 8, 6, 5), "depth": torch.rand(2, 8, 6, 5)}
        >>> propagation(features)["depth"].shape
        torch.Size([2, 8, 6, 5])
    """

    def __init__(
        self,
        tasks: Sequence[str],
        channels: int,
        reduction: int = 4,
        softmax: PropagationSoftmax = "channels",
    ) -> None:
        super().__init__()
        owner = "FeaturePropagation"
        self.tasks = list(tasks)
        self.softmax = check_choice(
            owner, "propagation_softmax", softmax, get_args(PropagationSoftmax)
        )
        stacked = len(self.tasks) * check_channels(owner, "channels", channels)
        inner = stacked // check_integer(owner, "fpm_reduction", reduction, 1, stacked)
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
        """Task features ``(B, C, H, W)`` by name -> input of the next finer scale, same shape."""
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
