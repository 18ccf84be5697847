"""The network that is exported: pixels in, one tensor per task out."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from taskprism.errors import UnknownNameError
from taskprism.models.base import MultiTaskModel


class TaskNetwork(nn.Module):
    """A model with its normalization before it and, if wanted, its decoding after it.

    Args:
        model: The model.
        tasks: Names of main tasks, in the order of the outputs; by default all. A model that runs
            one task at a time computes nothing for the others.
        normalize: Take RGB in [0, 1]; otherwise the input is normalized already.
        decode: Return decoded predictions (class indices, meters, unit vectors, probabilities)
            instead of raw outputs.

    Raises:
        UnknownNameError: The model has no such task.

    Example:
        >>> import torch
        >>> from taskprism import create_model
        >>> model = create_model("multi_task", ["depth"], backbone="test_resnet", neck="none")
        >>> network = TaskNetwork(model.eval(), decode=True)
        >>> [tuple(output.shape) for output in network(torch.rand(1, 3, 64, 96))]
        [(1, 1, 64, 96)]
    """

    def __init__(
        self,
        model: MultiTaskModel,
        tasks: Sequence[str] | None = None,
        normalize: bool = True,
        decode: bool = False,
    ) -> None:
        super().__init__()
        known = {task.name: task for task in model.tasks}
        for name in tasks or ():
            if name not in known:
                raise UnknownNameError(f"task of this {model.name}", name, known)
        self.model = model
        self.tasks = [known[name] for name in tasks or known]
        self.normalize = normalize
        self.decode = decode

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Images ``(B, 3, H, W)`` -> one ``(B, C, H, W)`` per task."""
        images = self.model.normalize(images) if self.normalize else images
        outputs = self.model.forward_tasks(images, [task.name for task in self.tasks])
        if not self.decode:
            return tuple(outputs[task.name] for task in self.tasks)
        return tuple(task.decode(outputs[task.name]) for task in self.tasks)
