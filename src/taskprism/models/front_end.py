"""The front end of multi-scale systems: initial predictions and feature propagation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from taskprism.errors import InputError
from taskprism.layers import (
    FeaturePropagation,
    InitialHead,
    ModuleDict,
    ModuleList,
    basic_block,
    resize,
)
from taskprism.layers.propagation import PropagationSoftmax
from taskprism.tasks.base import Task


class MultiScaleFrontEnd(nn.Module):
    """Initial heads at every scale of a backbone (Vandenhende et al., "MTI-Net", ECCV 2020).

    For each scale, from the coarsest to the finest: initial heads (two basic blocks, 1x1
    convolution) predict each task; feature propagation refines the task features; these are
    upsampled and concatenated with the backbone's map of the next finer scale.

    Args:
        tasks: All tasks, main then auxiliary.
        channels: Channels of the backbone's maps, finest first.
        propagation: Whether there is feature propagation; otherwise scales are independent.
        reduction: Divisor of the channels inside the feature propagation.
        softmax: See :class:`~taskprism.layers.FeaturePropagation`.
        order: Names of all tasks in the order in which propagation concatenates them; by default
            the order of ``tasks``.
        task_channels: Channels of the task features, finest first; by default ``channels``.
        categorical: Predict the categories of each task (:attr:`taskprism.tasks.Task.categories`)
            instead of its output.

    Raises:
        InputError: ``order`` does not hold each name of ``tasks`` once.

    Example:
        >>> import torch
        >>> from taskprism.models import MultiScaleFrontEnd
        >>> from taskprism.tasks import create_task
        >>> front_end = MultiScaleFrontEnd([create_task("depth"), create_task("edge")], (4, 8))
        >>> maps = [torch.rand(2, 4, 16, 24), torch.rand(2, 8, 8, 12)]
        >>> features, initial = front_end(maps)
        >>> [tuple(scale["edge"].shape) for scale in initial]
        [(2, 1, 16, 24), (2, 1, 8, 12)]
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
        self.heads = ModuleList(
            ModuleDict(
                {
                    task.name: InitialHead(
                        basic_block,
                        from_backbone + from_coarser,
                        own,
                        task.categories if categorical else task.channels,
                    )
                    for task in tasks
                }
            )
            for from_backbone, from_coarser, own in zip(channels, coarser, widths, strict=True)
        )
        # Entry i propagates from scale i + 1 to scale i.
        self.propagation = ModuleList(
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
            for task, head in self.heads[scale].items():
                x = maps[scale]
                if received:
                    x = torch.cat([x, resize(received[task], x.shape[-2:])], dim=1)
                own[task], predicted[task] = head(x)
            if scale > 0 and len(self.propagation) > 0:
                received = self.propagation[scale - 1](own)
            features.insert(0, own)
            initial.insert(0, predicted)
        return features, initial
