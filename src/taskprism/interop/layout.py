"""How a public repository files the tensors of its networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from taskprism.interop.naming import Rule


@dataclass(frozen=True)
class Checkpoint:
    """A released checkpoint and what the caller says of it.

    Attributes:
        tensors: By released name, without prefixes.
        tasks: Released name -> own name of each task, main and auxiliary, in the source's order.
        size: ``(H, W)`` of the input image, if the caller gave it.
    """

    tensors: Mapping[str, Tensor]
    tasks: Mapping[str, str]
    size: tuple[int, int] | None

    def has(self, start: str) -> bool:
        """Whether there is a tensor whose name starts with this."""
        return any(name.startswith(start) for name in self.tensors)


@dataclass(frozen=True)
class Layout:
    """One system of one source.

    Attributes:
        model: Name here (``create_model``).
        rules: Every tensor of the network.
        backbone: Finds the backbone's name by its tensors.
        options: Finds the options of ``create_model`` with which the model computes what the
            released one does.
    """

    model: str
    rules: tuple[Rule, ...]
    backbone: Callable[[Mapping[str, Tensor]], str]
    options: Callable[[Checkpoint], dict[str, Any]]


@dataclass(frozen=True)
class Source:
    """A public repository whose checkpoints can be imported.

    Attributes:
        name: For the caller.
        repository: Where it is.
        tasks: Kind of a task here -> name there, in the order in which it concatenates tasks.
        layouts: Its systems.
        image_mean: Per channel, of RGB in [0, 1]: with ``image_std`` what it feeds to its networks.
        image_std: Per channel.
        dropped: Names of tensors that are no part of the network for inference, and what they are.
    """

    name: str
    repository: str
    tasks: Mapping[str, str]
    layouts: tuple[Layout, ...]
    image_mean: tuple[float, float, float]
    image_std: tuple[float, float, float]
    dropped: tuple[tuple[str, str], ...] = ()
