"""What becomes of every tensor of a checkpoint."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from taskprism.interop.naming import Rule, translate

_ROW = re.compile(r"(.+)\[(.+)\]")
_COUNTER = "num_batches_tracked"
_SHOWN = 6


@dataclass(frozen=True)
class Matching:
    """Tensors of a checkpoint beside those of a model.

    Attributes:
        found: Own name -> tensor that fits.
        dropped: Released name -> why it is not needed.
        counters: Own names of batch counters that the checkpoint lacks (PyTorch before 0.4.1).
        missing: Other own names that it lacks.
        unknown: Released names that the model has no place for.
        mismatched: Own name, shape in the file, shape in the model.
    """

    found: Mapping[str, Tensor]
    dropped: Mapping[str, str]
    counters: Sequence[str]
    missing: Sequence[str]
    unknown: Sequence[str]
    mismatched: Sequence[tuple[str, tuple[int, ...], tuple[int, ...]]]

    @property
    def is_complete(self) -> bool:
        """Whether nothing is missing, left over or of another shape."""
        return not (self.missing or self.unknown or self.mismatched)

    def problems(self) -> str:
        """What does not fit, a line for each kind."""
        shapes = [f"{name}: {file} in the file, {own} here" for name, file, own in self.mismatched]
        lines = []
        for what, names in (
            ("not in the file", self.missing),
            ("in the file, but not part of this model", self.unknown),
            ("of another shape", shapes),
        ):
            if names:
                shown = "; ".join(names[:_SHOWN]) + ("; ..." if len(names) > _SHOWN else "")
                lines.append(f"  {len(names)} tensors {what}: {shown}")
        return "\n".join(lines)

    def summary(self) -> str:
        """What was dropped or not there, a line for each reason."""
        lines = []
        for reason in dict.fromkeys(self.dropped.values()):
            names = [name for name, why in self.dropped.items() if why == reason]
            lines.append(f"  dropped {len(names)} tensors ({names[0]}, ...): {reason}")
        if self.counters:
            lines.append(f"  {len(self.counters)} batch counters are not in the file and stay at 0")
        return "\n".join(lines)


def match(
    tensors: Mapping[str, Tensor],
    rules: Sequence[Rule],
    tasks: Mapping[str, str],
    dropped: Iterable[Rule],
    own: Mapping[str, Tensor],
) -> Matching:
    """File a checkpoint's tensors under the names of a model.

    Args:
        tensors: Of the checkpoint.
        rules: Of its layout.
        tasks: Released name of every task -> own name.
        dropped: Patterns of tensors that are not needed, and why.
        own: The model's state dict, of which only shapes matter.
    """
    found: dict[str, Tensor] = {}
    rows: dict[str, dict[str, Tensor]] = {}
    unknown: list[str] = []
    reasons: dict[str, str] = {}
    for name, tensor in tensors.items():
        ours = translate(name, rules, tasks)
        if ours is not None and (row := _ROW.fullmatch(ours)) is not None:
            rows.setdefault(row[1], {})[row[2]] = tensor
        elif ours is not None and ours in own and ours not in found:
            found[ours] = _reshaped(tensor, own[ours])
        elif (reason := translate(name, dropped, tasks)) is not None:
            reasons[name] = reason
        else:
            unknown.append(name)
    for name, by_task in rows.items():
        ordered = [by_task[task] for task in tasks.values() if task in by_task]
        found[name] = torch.stack(ordered)
    absent = [name for name in own if name not in found]
    mismatched = [
        (name, tuple(tensor.shape), tuple(own[name].shape))
        for name, tensor in found.items()
        if tensor.shape != own[name].shape
    ]
    return Matching(
        found,
        reasons,
        counters=[name for name in absent if name.endswith(_COUNTER)],
        missing=[name for name in absent if not name.endswith(_COUNTER)],
        unknown=unknown,
        mismatched=mismatched,
    )


def _reshaped(tensor: Tensor, own: Tensor) -> Tensor:
    """A linear layer of squeeze-and-excitation as the 1x1 convolution that it is here."""
    is_linear = tensor.ndim == 2 and own.ndim == 4 and own.shape[2:] == (1, 1)
    return tensor[:, :, None, None] if is_linear else tensor
