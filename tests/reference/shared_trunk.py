"""A network of two layers for tests of balancings: one shared, one per task."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from taskprism.losses import (
    Balancing,
    GradientBalancing,
    SharedFeatures,
    SharedParameters,
)


class SharedTrunk(nn.Module):
    """``(B, 3)`` -> task name -> ``(B, 1)``, in double precision."""

    def __init__(self, tasks: tuple[str, ...] = ("semseg", "depth", "edge")) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.trunk = nn.Linear(3, 4)
        self.heads = nn.ModuleDict({task: nn.Linear(4, 1) for task in tasks})
        self.double()
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.5, generator=generator)

    def forward(self, images: Tensor, shared: SharedFeatures | None = None) -> dict[str, Tensor]:
        features = self.trunk(images).tanh()
        if shared is not None:
            features = shared.cut(features)
        return {task: head(features) for task, head in self.heads.items()}


def make_batch(size: int = 8, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Images ``(B, 3)`` and targets ``(B, 1)``."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(size, 3, generator=generator, dtype=torch.float64)
    return images, torch.randn(size, 1, generator=generator, dtype=torch.float64)


def take_step(
    balancing: Balancing,
    model: SharedTrunk,
    optimizer: torch.optim.Optimizer,
    labels: Mapping[str, Tensor],
    batch: tuple[Tensor, Tensor],
    reduce: Callable[[Tensor], Tensor] | None = None,
) -> None:
    """One step of an own training loop, in one process or as one of several.

    Args:
        labels: Task name -> ``(B,)`` boolean: which images of this process are labeled; a task that
            no process has labels of is missing.
        reduce: Sum over processes.
    """
    add_up = reduce or (lambda tensor: tensor)
    processes = add_up(torch.ones(())).item()
    images, target = batch
    shared = SharedFeatures()
    gradient = isinstance(balancing, GradientBalancing)
    cut = shared if gradient and balancing.wants == "features" else None
    outputs = model(images, cut)
    losses = {}
    for index, (task, labeled) in enumerate(labels.items()):
        error = ((outputs[task] - (index + 1) * target)[labeled] ** 2).sum()
        share = error * processes / add_up(labeled.sum().double())
        total = add_up(share.detach()) / processes
        losses[task] = share + (total - share).detach()
    optimizer.zero_grad()
    if isinstance(balancing, GradientBalancing):
        meeting = cut or SharedParameters.find(model, images[:1])
        balancing.backward(losses, meeting, reduce)
    else:
        balancing(losses).backward()
    for parameter in [*model.parameters(), *balancing.parameters()]:
        if parameter.grad is not None:
            parameter.grad = add_up(parameter.grad) / processes
    optimizer.step()
    balancing.finish_step({task: loss.detach() for task, loss in losses.items()})


class Processes:
    """Threads that add up tensors as processes do."""

    def __init__(self, count: int) -> None:
        self.barrier = threading.Barrier(count, timeout=60)
        self.slots: list[Tensor | None] = [None] * count

    def reduce(self, rank: int) -> Callable[[Tensor], Tensor]:
        def add_up(tensor: Tensor) -> Tensor:
            self.slots[rank] = tensor.detach().clone()
            self.barrier.wait()
            total = torch.stack([each for each in self.slots if each is not None]).sum(0)
            self.barrier.wait()
            return total

        return add_up

    def run(self, work: Callable[[int, Callable[[Tensor], Tensor]], None]) -> None:
        errors: list[BaseException] = []

        def call(rank: int) -> None:
            try:
                work(rank, self.reduce(rank))
            except BaseException as error:
                errors.append(error)
                self.barrier.abort()

        threads = [threading.Thread(target=call, args=(rank,)) for rank in range(len(self.slots))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
