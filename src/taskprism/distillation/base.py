"""The contract of a distillation module: task features in, refined task features out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from taskprism.errors import InputError


class Distillation(nn.Module, ABC):
    """Dictionary of task features -> dictionary of refined task features, same shape.

    Subclasses take ``(tasks, channels, ...)`` with flat keyword options that have defaults and may
    add required ones only for a declared capability (``needs_size``).

    Args:
        tasks: Names of the tasks whose features are refined (the main tasks).
        channels: Channels of every task's feature map.
        sources: Names of the tasks whose features are read, in order; must contain ``tasks``
            (main and auxiliary ones). By default ``tasks``.

    Attributes:
        name: Key in :data:`taskprism.distillation.DISTILLATIONS`.
        needs_size: The module is built for one feature size and takes ``size=(H, W)``.
        needs_predictions: ``forward`` reads the sources' initial predictions too.
    """

    name: ClassVar[str]
    needs_size: ClassVar[bool] = False
    needs_predictions: ClassVar[bool] = False

    def __init__(
        self, tasks: Sequence[str], channels: int, sources: Sequence[str] | None = None
    ) -> None:
        super().__init__()
        self.tasks = list(tasks)
        self.sources = list(sources) if sources is not None else list(tasks)
        self.channels = channels
        missing = [task for task in self.tasks if task not in self.sources]
        if missing:
            raise InputError(
                f"{type(self).__name__}: tasks {missing} are not among the sources {self.sources}; "
                "a task is refined from its own features, so add it to the sources."
            )
        if len(set(self.sources)) != len(self.sources):
            raise InputError(f"{type(self).__name__}: sources {self.sources} name a task twice.")

    @classmethod
    def options_at(cls, stride: int) -> dict[str, Any]:
        """Options that suit a feature map at ``stride`` of the image, where they depend on it.

        An assembly at several scales asks at each of them; what the user gives wins.
        """
        return {}

    @property
    def any_size(self) -> bool:
        """Whether maps of any size can be refined."""
        return not self.needs_size

    @abstractmethod
    def forward(
        self, features: Mapping[str, Tensor], predictions: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Refine.

        Args:
            features: source name -> ``(B, channels, H, W)``.
            predictions: source name -> raw initial prediction ``(B, any, h, w)``; only read by
                modules that declare ``needs_predictions``.

        Returns:
            task name -> ``(B, channels, H, W)`` for each of ``tasks``.
        """
