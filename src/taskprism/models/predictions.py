"""The output of a model: final predictions by task name, with the initial ones attached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.utils import _pytree


class Predictions(dict[str, Tensor]):
    """Mapping task name -> raw output ``(B, channels, H, W)`` at the resolution of the input.

    Attributes:
        initial: Initial predictions (deep supervision) of main and auxiliary tasks, finest first:
            for each scale a mapping task name -> raw output ``(B, channels, h, w)`` at the
            resolution of that scale. Empty for models without a front end.
        penalty: A scalar that training adds to the total loss, such as one that balances the use
            of experts; None for most models. Balancings that combine the gradients of tasks do not
            read it.

    Example:
        >>> import torch
        >>> from taskprism.models import Predictions
        >>> coarse = {"depth": torch.zeros(1, 1, 4, 6), "edge": torch.zeros(1, 1, 4, 6)}
        >>> outputs = Predictions({"depth": torch.zeros(1, 1, 16, 24)}, [coarse])
        >>> list(outputs), [list(scale) for scale in outputs.initial]
        (['depth'], [['depth', 'edge']])
    """

    initial: list[dict[str, Tensor]]
    penalty: Tensor | None

    def __init__(
        self,
        final: Mapping[str, Tensor] | None = None,
        initial: Sequence[Mapping[str, Tensor]] = (),
        penalty: Tensor | None = None,
    ) -> None:
        super().__init__(final or {})
        self.initial = [dict(scale) for scale in initial]
        self.penalty = penalty


def _flatten(predictions: Predictions) -> tuple[list[Any], Any]:
    penalty = [] if predictions.penalty is None else [predictions.penalty]
    return [dict(predictions), predictions.initial, penalty], None


def _unflatten(children: Any, context: Any) -> Predictions:
    final, initial, penalty = children
    return Predictions(final, initial, *penalty)


# Export, compile and DDP traverse outputs as trees and would lose the initial predictions.
_pytree.register_pytree_node(
    Predictions, _flatten, _unflatten, serialized_type_name="taskprism.Predictions"
)
