"""The contract of a model that runs one task at a time."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn

from taskprism.errors import UnknownNameError
from taskprism.models.base import MultiTaskModel
from taskprism.models.predictions import Predictions


class SingleTaskingModel(MultiTaskModel):
    """A network that changes with the task it is asked for, and computes nothing for the others.

    Its forward pass has an interface (Maninis et al., CVPR 2019, section 4): before it come layers
    that tasks share, though perhaps each in its own way; behind it layers of one task alone.
    Adversarial training looks at the gradients that cross it.

    Attributes:
        interface_channels: Channels of the last map at the interface.
    """

    interface_channels: int

    def forward(self, images: Tensor, tasks: Sequence[str] | None = None) -> Predictions:
        """Predict some tasks, or all.

        Args:
            images: ``(B, 3, H, W)``, normalized.
            tasks: Names of main tasks; only what they need is computed. None: all of them.

        Raises:
            UnknownNameError: If there is no such task.
        """
        size = images.shape[-2:]
        maps = self.interface(images, self.chosen(tasks))
        return Predictions({task: self.output(maps[task], task, size) for task in maps})

    @abstractmethod
    def interface(self, images: Tensor, tasks: Sequence[str]) -> dict[str, list[Tensor]]:
        """Maps at the interface for each task, finest first."""

    @abstractmethod
    def output(self, maps: Sequence[Tensor], task: str, size: Sequence[int]) -> Tensor:
        """Raw output ``(B, channels, *size)`` from the maps at the interface."""

    @abstractmethod
    def own_parameters(self) -> list[nn.Parameter]:
        """Parameters that only one task uses, whichever."""

    def chosen(self, tasks: Sequence[str] | None) -> list[str]:
        """Names of main tasks, checked; all of them for None."""
        known = [task.name for task in self.tasks]
        for name in tasks if tasks is not None else ():
            if name not in known:
                raise UnknownNameError(f"task of this {self.name}", name, known)
        return known if tasks is None else list(tasks)
