"""What a model returns: final predictions by task name, with the initial ones attached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.utils import _pytree


class Predictions(dict[str, Tensor]):
    """Mapping task name -> raw output ``(B, channels, H, W)`` at the input's resolution.

    Attributes:
        initial: Initial predictions (deep supervision), one mapping task name -> raw output
            ``(B, channels, h, w)`` per scale at that scale's own resolution, finest first; holds
            main and auxiliary tasks. Empty for models without a front end.
    """

    initial: list[dict[str, Tensor]]

    def __init__(
        self,
        final: Mapping[str, Tensor] | None = None,
        initial: Sequence[Mapping[str, Tensor]] = (),
    ) -> None:
        super().__init__(final or {})
        self.initial = [dict(scale) for scale in initial]


def _flatten(predictions: Predictions) -> tuple[list[Any], Any]:
    return [dict(predictions), predictions.initial], None


def _unflatten(children: Any, context: Any) -> Predictions:
    final, initial = children
    return Predictions(final, initial)


# Export, compile and DDP walk outputs as trees; without this the initial predictions are lost.
_pytree.register_pytree_node(
    Predictions, _flatten, _unflatten, serialized_type_name="taskprism.Predictions"
)
