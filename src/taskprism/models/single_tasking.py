"""The contract of a model that runs one task at a time."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn

from taskprism.errors import UnknownNameError
from taskprism.models.base import MultiTaskModel
from taskprism.models.predictions import Predictions


class SingleTaskingModel(MultiTaskModel):
    """A network that runs for the requested tasks only.

    Its forward pass has an interface (Maninis et al., CVPR 2019, section 4). Layers before it are
    shared, possibly with parts that depend on the task; layers after it belong to one task.
    Adversarial training uses the gradients at the interface.

    Attributes:
        interface_channels: Channels of the last map at the interface.

    Example:
        >>> import torch
        >>> from taskprism import create_model
        >>> model = create_model("astmt", ["depth", "edge"], backbone="se_resnet14_quarter").eval()
        >>> maps = model.interface(torch.rand(1, 3, 64, 96), ["edge"])
        >>> tuple(maps["edge"][-1].shape), model.interface_channels
        ((1, 64, 16, 24), 64)
    """

    interface_channels: int

    def forward(self, images: Tensor, tasks: Sequence[str] | None = None) -> Predictions:
        """Predict the named tasks.

        Args:
            images: ``(B, 3, H, W)``, normalized.
            tasks: Names of main tasks; nothing is computed for the others. None: all main tasks.

        Raises:
            UnknownNameError: There is no such task.
        """
        size = images.shape[-2:]
        maps = self.interface(images, self.check_task_names(tasks))
        return Predictions({task: self.output(maps[task], task, size) for task in maps})

    def forward_tasks(self, images: Tensor, tasks: Sequence[str]) -> Predictions:
        """Predict these main tasks only."""
        return self(images, tasks)

    @abstractmethod
    def interface(self, images: Tensor, tasks: Sequence[str]) -> dict[str, list[Tensor]]:
        """Maps at the interface for each task, finest first."""

    @abstractmethod
    def output(self, maps: Sequence[Tensor], task: str, size: Sequence[int]) -> Tensor:
        """Raw output ``(B, channels, *size)`` from the maps at the interface."""

    @abstractmethod
    def own_parameters(self) -> list[nn.Parameter]:
        """Parameters that belong to a single task."""

    def check_task_names(self, tasks: Sequence[str] | None) -> list[str]:
        """The names if all of them are main tasks; for None the names of all main tasks."""
        known = [task.name for task in self.tasks]
        for name in tasks if tasks is not None else ():
            if name not in known:
                raise UnknownNameError(f"task of this {self.name}", name, known)
        return known if tasks is None else list(tasks)
