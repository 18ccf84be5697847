"""One labeled image, and a batch of them.

A sample says by absence that a label is missing: a task that is not in ``targets`` has no label for
this image. In a batch every requested task is present for every image, and a missing label is an
all-False mask, so that shapes never depend on which labels an image has.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypedDict

import torch
from torch import Tensor
from torch.nn.functional import pad
from torchvision import tv_tensors

from taskprism.tasks.base import Task
from taskprism.tasks.target import DenseTarget, ValidMask


class Sample(TypedDict):
    """One image; a plain dictionary so that ``torchvision.transforms.v2`` can walk it.

    Keys:
        name: Identifier for messages and files.
        image: ``(3, H, W)`` float32 RGB in [0, 1], not normalized.
        targets: Task name -> label map ``(C, H, W)``; a missing task has no label here.
        valid: Task name -> ``(1, H, W)`` boolean, same keys as ``targets``.
    """

    name: str
    image: tv_tensors.Image
    targets: dict[str, DenseTarget]
    valid: dict[str, ValidMask]


@dataclass(frozen=True)
class Batch:
    """A batch of samples as plain tensors.

    Attributes:
        names: One per image.
        images: ``(B, 3, H, W)`` float32 in [0, 1], not normalized.
        targets: Task name -> ``(B, target_channels, H, W)``.
        valid: Task name -> ``(B, 1, H, W)`` boolean.
    """

    names: list[str]
    images: Tensor
    targets: dict[str, Tensor]
    valid: dict[str, Tensor]

    def to(self, device: torch.device | str) -> Batch:
        """Copy on ``device``."""
        return replace(
            self,
            images=self.images.to(device, non_blocking=True),
            targets={k: v.to(device, non_blocking=True) for k, v in self.targets.items()},
            valid={k: v.to(device, non_blocking=True) for k, v in self.valid.items()},
        )

    def __len__(self) -> int:
        return len(self.names)


def collate(samples: Sequence[Sample], tasks: Iterable[Task]) -> Batch:
    """Stack samples of one size; labels that a sample lacks become zeros with an all-False mask.

    So do channels that a label lacks while that of another sample has them (annotators of edges).
    """
    height, width = samples[0]["image"].shape[-2:]
    targets: dict[str, Tensor] = {}
    valid: dict[str, Tensor] = {}
    for task in tasks:
        missing = task.empty_target(height, width)
        no_label = torch.zeros(1, height, width, dtype=torch.bool)
        targets[task.name] = _stack(
            [s["targets"].get(task.name, missing).as_subclass(Tensor) for s in samples]
        )
        valid[task.name] = torch.stack(
            [s["valid"].get(task.name, no_label).as_subclass(Tensor) for s in samples]
        )
    images = torch.stack([s["image"].as_subclass(Tensor) for s in samples])
    return Batch([s["name"] for s in samples], images, targets, valid)


def _stack(maps: Sequence[Tensor]) -> Tensor:
    channels = max(len(one) for one in maps)
    return torch.stack([pad(one, (0, 0, 0, 0, 0, channels - len(one))) for one in maps])
