"""Mean losses of an epoch, over the batches in which a task was labeled at all."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from accelerate import Accelerator
from torch import Tensor

from taskprism.training.network import Losses

_TOTAL = "total"


class LossMeter:
    """Sums and counts of losses, which a checkpoint can hold."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._counts: dict[str, float] = {}

    def add(self, losses: Losses, valid: Mapping[str, Tensor], accelerator: Accelerator) -> None:
        """Add one step's losses of all processes; a task without any label in a batch is absent."""
        values = {_TOTAL: losses["total"]}
        values |= {f"final/{name}": loss for name, loss in losses["final"].items()}
        values |= {f"initial/{name}": loss for name, loss in losses["initial"].items()}
        judged = losses.get("adversarial", {})
        values |= {f"adversarial/{name}": loss for name, loss in judged.items()}
        labeled = {name: mask.any().float() for name, mask in valid.items()}
        weights = [
            labeled.get(key.partition("/")[2], losses["total"].new_ones(())) for key in values
        ]
        counts = torch.stack([weight.float() for weight in weights])
        sums = torch.stack([value.detach().float() for value in values.values()]) * counts
        both: Tensor = accelerator.reduce(torch.stack([sums, counts]), "sum")
        for key, total, count in zip(values, *both.tolist(), strict=True):
            self._sums[key] = self._sums.get(key, 0.0) + total
            self._counts[key] = self._counts.get(key, 0.0) + count

    @property
    def total(self) -> float:
        """Mean of what was descended on."""
        return self._mean(_TOTAL)

    def means(self, part: str) -> dict[str, float]:
        """Mean loss per task, unweighted; NaN where never labeled.

        Args:
            part: ``"final"``, ``"initial"`` or ``"adversarial"``.
        """
        keys = [key for key in self._sums if key.startswith(f"{part}/")]
        return {key.partition("/")[2]: self._mean(key) for key in keys}

    def state(self) -> dict[str, dict[str, float]]:
        """Plain values for a checkpoint."""
        return {"sums": dict(self._sums), "counts": dict(self._counts)}

    def restore(self, state: Mapping[str, Mapping[str, float]]) -> None:
        """Go on from :meth:`state`."""
        self._sums = dict(state["sums"])
        self._counts = dict(state["counts"])

    def _mean(self, key: str) -> float:
        count = self._counts.get(key, 0.0)
        return self._sums[key] / count if count else math.nan
