"""The contract of a balancing: losses per task in, one loss out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor, nn


class Balancing(nn.Module, ABC):
    """Combines the losses of the tasks; a module, so that it may have parameters and state."""

    @abstractmethod
    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Total of scalar ``losses`` (task name -> loss), a scalar with their graph."""
