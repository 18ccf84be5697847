"""Steps of the optimizer that are left out because a loss or a gradient is not finite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn

from taskprism.errors import DivergenceError
from taskprism.progress import Reporter
from taskprism.training.steps import Losses

_REPORTED = 5  # skipped steps of an epoch that get a line each


class SkippedSteps:
    """Decides whether a step can be taken, and counts those that are skipped.

    All processes decide alike. The buffers of the network (running statistics, states of the
    balancing) are put back to what they were before a step that is skipped.

    Args:
        most: Steps in a row that may be skipped; with 0 the first one stops the run.
        network: Its buffers are put back.
        accelerator: Connects the processes.
        reporter: Gets a line for the first skipped steps of an epoch.

    Attributes:
        total: Skipped steps since the start of the run.
        in_row: Skipped steps since the last one that was taken.
        in_epoch: Skipped steps of the current epoch.
        group_is_skipped: A batch of the current step was not finite; its other batches are left
            out.
    """

    def __init__(
        self, most: int, network: nn.Module, accelerator: Accelerator, reporter: Reporter
    ) -> None:
        self.most = most
        self.accelerator = accelerator
        self.reporter = reporter
        self.total = self.in_row = self.in_epoch = 0
        self.group_is_skipped = False
        self._places = [  # a module may assign a new tensor to the name of a buffer
            (module, name)
            for module in network.modules()
            for name, _ in module.named_buffers(recurse=False)
        ]
        self._kept = [buffer.clone() for buffer in self._buffers()]
        self._images: list[str] = []

    def start_batch(self, names: Sequence[str], is_first: bool) -> None:
        """A batch begins.

        Args:
            names: Of its images on this process.
            is_first: It is the first of the batches of a step.
        """
        if is_first:
            self._images = []
            self.group_is_skipped = False
        self._images += names

    def keep_buffers(self) -> None:
        """Remember the buffers at the start of a step."""
        if self.most:
            _copy(self._buffers(), self._kept)

    def _buffers(self) -> list[Tensor]:
        return [getattr(module, name) for module, name in self._places]

    def refuses(self, losses: Losses) -> bool:
        """Whether losses of a batch are not finite in any process, so that their step is skipped.

        Raises:
            DivergenceError: It is one skipped step too many.
        """
        total = losses["total"]
        if torch.isfinite(total):  # it is over all processes, and not finite on all or on none
            return False
        parts = {**losses["initial"], **losses["final"]}
        bad = [name for name, loss in parts.items() if not torch.isfinite(loss)]
        self._skip(f"The loss is {total.item()}", bad or list(parts))
        return True

    def refuses_gradient(self, norm: Tensor | float) -> bool:
        """Whether the norm of the gradient of all processes is not finite; see :meth:`refuses`.

        The gradient scaler of fp16 skips such steps by itself while it looks for its scale.
        """
        if self.accelerator.scaler is not None or torch.isfinite(torch.as_tensor(norm)):
            return False
        self._skip(f"The norm of the gradient is {float(norm)}", [])
        return True

    def took_step(self) -> None:
        """A step was taken."""
        self.in_row = 0

    def take_epoch(self) -> int:
        """Skipped steps of the epoch that ends now."""
        count, self.in_epoch = self.in_epoch, 0
        return count

    def state(self) -> dict[str, int]:
        """Plain values for a checkpoint."""
        return {"total": self.total, "in_row": self.in_row, "in_epoch": self.in_epoch}

    def restore(self, state: Mapping[str, int]) -> None:
        """Continue from :meth:`state`."""
        self.total, self.in_row = int(state["total"]), int(state["in_row"])
        self.in_epoch = int(state["in_epoch"])

    def _skip(self, problem: str, tasks: Sequence[str]) -> None:
        self.total += 1
        self.in_row += 1
        self.in_epoch += 1
        of_tasks = f" for task(s) {', '.join(tasks)}" if tasks else ""
        if self.in_row > self.most:
            images = ", ".join(gather_object(self._images))  # every process comes here
            before = f", after {self.most} skipped steps in a row" if self.most else ""
            raise DivergenceError(
                f"{problem}{of_tasks} on the images {images}{before}. Nothing was saved since the "
                "last checkpoint. Check these labels, lower optimizer.lr, or set clip_norm."
            )
        if self.in_epoch <= _REPORTED:
            self.reporter.line(f"Skipped a step: {problem}{of_tasks} on {', '.join(self._images)}.")
        _copy(self._kept, self._buffers())


@torch.no_grad()
def _copy(sources: Sequence[Tensor], targets: Sequence[Tensor]) -> None:
    """Copy tensors in few operations: a network has hundreds of small buffers."""
    groups: dict[torch.dtype, tuple[list[Tensor], list[Tensor]]] = {}
    for source, target in zip(sources, targets, strict=True):
        group = groups.setdefault(source.dtype, ([], []))
        group[0].append(source)
        group[1].append(target)
    for from_, to in groups.values():
        torch._foreach_copy_(to, from_)
