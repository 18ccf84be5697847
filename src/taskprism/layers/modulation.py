"""Layers of which every task may have its own: what "attention to a task" is made of.

A network that runs one task at a time (ASTMT, Maninis et al., CVPR 2019, section 3) shares its
convolutions and gives each task its own squeeze-and-excitation, residual adapters and batch norms.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torchvision.ops import SqueezeExcitation

from taskprism.errors import InputError

_SHARED = "all_tasks"


class TaskSwitch(nn.ModuleDict):
    """One layer per task, filed under the task's name, or one that all tasks share.

    Args:
        make: Makes a layer ``(B, C, H, W) -> (B, C', H', W')``.
        tasks: Names of the tasks that get a layer each; None: one layer for all of them.
    """

    def __init__(self, make: Callable[[], nn.Module], tasks: Sequence[str] | None) -> None:
        super().__init__({task: make() for task in (tasks if tasks is not None else [_SHARED])})
        self._is_shared = tasks is None

    def forward(self, x: Tensor, task: str | None = None) -> Tensor:
        """Apply the layer of ``task``, which only shared layers can do without.

        Raises:
            InputError: If there is no layer of that task.
        """
        if self._is_shared:
            return self[_SHARED](x)
        if task is None or task not in self:
            raise InputError(f"Name one of the tasks {', '.join(self)}; got {task!r}.")
        return self[task](x)

    def own_parameters(self) -> list[nn.Parameter]:
        """Parameters that belong to a single task."""
        return [] if self._is_shared else list(self.parameters())


class ResidualAdapter(nn.Conv2d):
    """1x1 convolution without bias that starts at zero: ``(B, in, H, W) -> (B, out, H, W)``."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size=1, bias=False)

    def reset_parameters(self) -> None:
        """Start as if there were no adapter."""
        nn.init.zeros_(self.weight)


@dataclass(frozen=True)
class Modulation:
    """Which layers of a network every task has for itself.

    Attributes:
        tasks: Names of all tasks.
        squeeze: Squeeze-and-excitation per task.
        adapters: Residual adapters (which only exist per task).
        norm: Batch norm per task.
        excitation: Whether there is squeeze-and-excitation at all.

    Raises:
        InputError: If squeeze-and-excitation is to be per task where there is none.
    """

    tasks: tuple[str, ...]
    squeeze: bool
    adapters: bool
    norm: bool
    excitation: bool = True

    def __post_init__(self) -> None:
        if self.squeeze and not self.excitation:
            raise InputError(
                "Without squeeze-and-excitation (excitation=False) no task can have its own; set "
                "squeeze_encoder=False too."
            )

    @property
    def depends_on_task(self) -> bool:
        """Whether two tasks see different features."""
        return self.squeeze or self.adapters or self.norm

    def batch_norm(self, channels: int) -> TaskSwitch:
        """Batch norm, affine parameters and running statistics, per task or shared."""
        return TaskSwitch(lambda: nn.BatchNorm2d(channels), self.tasks if self.norm else None)

    def squeeze_excitation(
        self, channels: int, reduction: int, activation: Callable[[], nn.Module] = nn.ReLU
    ) -> TaskSwitch:
        """Squeeze-and-excitation, ``channels // reduction`` hidden units, per task or shared.

        Nothing, if there is none.
        """
        if not self.excitation:
            return TaskSwitch(nn.Identity, None)
        return TaskSwitch(
            lambda: SqueezeExcitation(channels, channels // reduction, activation=activation),
            self.tasks if self.squeeze else None,
        )


class AdaptedConvolution(nn.Module):
    """A shared convolution plus the residual adapter of the task, if there are adapters.

    Eq. 2 of the paper puts the adapter beside the whole residual layer. What was released, and fits
    the published sizes, puts it beside the convolution: ``conv(x) + adapter_t(x)``.

    Args:
        convolution: Keeps the map's size.
        modulation: Of the network.
    """

    def __init__(self, convolution: nn.Conv2d, modulation: Modulation) -> None:
        super().__init__()
        self.shared = convolution
        self.adapter: TaskSwitch | None = None
        if modulation.adapters:
            channels = convolution.in_channels, convolution.out_channels
            self.adapter = TaskSwitch(lambda: ResidualAdapter(*channels), modulation.tasks)

    def forward(self, x: Tensor, task: str | None = None) -> Tensor:
        """``(B, in, H, W) -> (B, out, H, W)``."""
        shared = self.shared(x)
        return shared if self.adapter is None else shared + self.adapter(x, task)
