"""Layers that can be separate for each task, with which ASTMT attends to one task at a time.

ASTMT (Maninis et al., CVPR 2019, section 3) shares the convolutions of a network among tasks and
gives each task its own squeeze-and-excitation, residual adapters and batch norms.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from torchvision.ops import SqueezeExcitation

from taskprism.checks import check_flag
from taskprism.errors import InputError
from taskprism.layers.containers import ModuleDict

_SHARED = "all_tasks"


class TaskSwitch(ModuleDict[nn.Module]):
    """One layer per task, with the task's name as key, or one layer that all tasks share.

    Args:
        make: Function that creates a layer ``(B, C, H, W) -> (B, C', H', W')``.
        tasks: Names of the tasks, each of which gets a layer. None: all tasks share one layer.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from taskprism.layers import TaskSwitch
        >>> norm = TaskSwitch(lambda: nn.BatchNorm2d(8), ["semseg", "depth"])
        >>> norm(torch.rand(2, 8, 6, 5), "depth").shape
        torch.Size([2, 8, 6, 5])
    """

    def __init__(self, make: Callable[[], nn.Module], tasks: Sequence[str] | None) -> None:
        super().__init__({task: make() for task in (tasks if tasks is not None else [_SHARED])})
        self._is_shared = tasks is None

    def forward(self, x: Tensor, task: str | None = None) -> Tensor:
        """Apply the layer of ``task``; a shared layer needs no task.

        Raises:
            InputError: No layer belongs to that task.
        """
        if self._is_shared:
            return self[_SHARED](x)
        if task is None or task not in self:
            raise InputError(f"Expected one of the tasks {', '.join(self)}, got {task!r}.")
        return self[task](x)

    def own_parameters(self) -> list[nn.Parameter]:
        """Parameters that belong to a single task."""
        return [] if self._is_shared else list(self.parameters())


class ResidualAdapter(nn.Conv2d):
    """1x1 convolution without bias, initially zero: ``(B, in, H, W) -> (B, out, H, W)``.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.

    Example:
        >>> import torch
        >>> from taskprism.layers import ResidualAdapter
        >>> ResidualAdapter(8, 4)(torch.rand(1, 8, 6, 5)).abs().max().item()
        0.0
    """

    is_adapter: ClassVar[bool] = True  # backbone.trainable: adapters trains it

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size=1, bias=False)

    def reset_parameters(self) -> None:
        """Set the weights to zero, so that the adapter has no effect at first."""
        nn.init.zeros_(self.weight)


@dataclass(frozen=True)
class Modulation:
    """Which layers of a network are separate for each task.

    Attributes:
        tasks: Names of all tasks.
        squeeze: Whether squeeze-and-excitation is separate for each task.
        adapters: Whether there are residual adapters, which are always separate for each task.
        norm: Whether batch norm is separate for each task.
        excitation: Whether the network has squeeze-and-excitation.

    Raises:
        InputError: ``squeeze`` is set but the network has no squeeze-and-excitation, or a switch
            is not true or false.

    Example:
        >>> from taskprism.layers import Modulation
        >>> modulation = Modulation(("semseg", "depth"), squeeze=False, adapters=False, norm=True)
        >>> list(modulation.batch_norm(8))
        ['semseg', 'depth']
    """

    tasks: tuple[str, ...]
    squeeze: bool
    adapters: bool
    norm: bool
    excitation: bool = True

    def __post_init__(self) -> None:
        for switch in ("squeeze", "adapters", "norm", "excitation"):
            check_flag("Modulation", switch, getattr(self, switch))
        if self.squeeze and not self.excitation:
            raise InputError(
                "Squeeze-and-excitation cannot be separate for each task when excitation=False; "
                "set squeeze_encoder=False too."
            )

    @property
    def depends_on_task(self) -> bool:
        """Whether two tasks see different features."""
        return self.squeeze or self.adapters or self.norm

    def batch_norm(self, channels: int) -> TaskSwitch:
        """Batch norm, separate or shared; both its parameters and its running statistics."""
        return TaskSwitch(lambda: nn.BatchNorm2d(channels), self.tasks if self.norm else None)

    def squeeze_excitation(
        self, channels: int, reduction: int, activation: Callable[[], nn.Module] = nn.ReLU
    ) -> TaskSwitch:
        """Squeeze-and-excitation with ``channels // reduction`` hidden units, separate or shared.

        An identity if the network has no squeeze-and-excitation.
        """
        if not self.excitation:
            return TaskSwitch(nn.Identity, None)
        return TaskSwitch(
            lambda: SqueezeExcitation(channels, channels // reduction, activation=activation),
            self.tasks if self.squeeze else None,
        )


class AdaptedConvolution(nn.Module):
    """A shared convolution plus the residual adapter of the task, if there are adapters.

    In Eq. 2 of the paper the adapter is parallel to the whole residual layer. In the released code,
    which fits the published model sizes, it is parallel to the convolution:
    ``conv(x) + adapter_t(x)``.

    Args:
        convolution: A convolution that keeps the map's size.
        modulation: The network's modulation.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from taskprism.layers import AdaptedConvolution, Modulation
        >>> modulation = Modulation(("semseg", "depth"), squeeze=False, adapters=True, norm=False)
        >>> layer = AdaptedConvolution(nn.Conv2d(8, 4, kernel_size=3, padding=1), modulation)
        >>> layer(torch.rand(1, 8, 6, 5), "depth").shape
        torch.Size([1, 4, 6, 5])
    """

    def __init__(self, convolution: nn.Conv2d, modulation: Modulation) -> None:
        super().__init__()
        self.shared = convolution
        self.adapter: TaskSwitch | None = None
        if modulation.adapters:
            channels = convolution.in_channels, convolution.out_channels
            self.adapter = TaskSwitch(lambda: ResidualAdapter(*channels), modulation.tasks)

    def forward(self, x: Tensor, task: str | None = None) -> Tensor:
        """``(B, in, H, W) -> (B, out, H, W)``, with the adapter of ``task``."""
        shared = self.shared(x)
        return shared if self.adapter is None else shared + self.adapter(x, task)
