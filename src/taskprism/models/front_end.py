"""The multi-scale front end: initial predictions from coarse to fine, with propagation between."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from taskprism.errors import InputError
from taskprism.layers import FeaturePropagation, InitialHead, basic_block, resize
from taskprism.layers.propagation import PropagationSoftmax
from taskprism.tasks.base import Task


class MultiScaleFrontEnd(nn.Module):
    """Initial heads at every scale of a backbone (Vandenhende et al., "MTI-Net", ECCV 2020).

    From the coarsest scale on: initial heads (two basic blocks, 1x1); feature propagation; the
    propagated features, upsampled, join the next finer scale's backbone features of each task.

    Args:
        tasks: All tasks, main then auxiliary.
        channels: Channels of the backbone's maps, finest first.
        propagation: False leaves propagation out, so that scales know nothing of each other.
        reduction: Of the feature propagation.
        softmax: Of the feature propagation.
        order: Names of all tasks in the order in which propagation concatenates them; by default
            that of ``tasks``.
        task_channels: Channels of the task features, finest first; by default ``channels``.
        categorical: Predict each task's categories (:attr:`taskprism.tasks.Task.categories`) and
            not its output.

    Raises:
        InputError: If ``order`` is not made of the names of ``tasks``.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        channels: Sequence[int],
        propagation: bool = True,
        reduction: int = 4,
        softmax: PropagationSoftmax = "channels",
        order: Sequence[str] | None = None,
        task_channels: Sequence[int] | None = None,
        categorical: bool = False,
    ) -> None:
        super().__init__()
        names = [task.name for task in tasks]
        if order is not None and sorted(order) != sorted(names):
            raise InputError(
                f"propagation_order={list(order)} must name each of {', '.join(names)} once."
            )
        widths = list(channels if task_channels is None else task_channels)
        coarser = [*widths[1:], 0] if propagation else [0] * len(widths)
        self.heads = nn.ModuleList(
            nn.ModuleDict(
                {
                    task.name: InitialHead(
                        basic_block,
                        given + received,
                        own,
                        task.categories if categorical else task.channels,
                    )
                    for task in tasks
                }
            )
            for given, received, own in zip(channels, coarser, widths, strict=True)
        )
        # Entry i passes scale i + 1 on to scale i.
        self.propagation = nn.ModuleList(
            FeaturePropagation(order or names, width, reduction, softmax)
            for width in (widths[1:] if propagation else [])
        )

    def forward(
        self, maps: Sequence[Tensor]
    ) -> tuple[list[dict[str, Tensor]], list[dict[str, Tensor]]]:
        """Run all scales.

        Args:
            maps: ``(B, channels[i], H_i, W_i)``, finest first.

        Returns:
            Task features and initial predictions, one mapping per scale, finest first.
        """
        features: list[dict[str, Tensor]] = []
        initial: list[dict[str, Tensor]] = []
        received: dict[str, Tensor] = {}
        for scale in reversed(range(len(self.heads))):
            own: dict[str, Tensor] = {}
            predicted: dict[str, Tensor] = {}
            for task, head in self.heads[scale].items():  # pyrefly: ignore[not-callable]
                x = maps[scale]
                if received:
                    x = torch.cat([x, resize(received[task], x.shape[-2:])], dim=1)
                own[task], predicted[task] = head(x)
            if scale > 0 and len(self.propagation) > 0:
                received = self.propagation[scale - 1](own)
            features.insert(0, own)
            initial.insert(0, predicted)
        return features, initial
