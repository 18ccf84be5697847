"""One labeled image, and a batch of them.

A task that is not in a sample's ``targets`` has no label for this image. In a batch every requested
task is present for every image, and a missing label is an all-False mask, so that shapes do not
depend on which labels an image has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NotRequired, TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad
from torchvision import tv_tensors

from taskprism.errors import InputError, UnknownNameError
from taskprism.tasks.base import Task
from taskprism.tasks.target import DenseTarget, ValidMask

_NO_CLASS = 255  # the usual value of unlabeled pixels in class maps


class Sample(TypedDict):
    """One image; a plain dictionary so that ``torchvision.transforms.v2`` can walk it.

    Keys:
        name: Identifier for messages and files.
        image: ``(3, H, W)`` float32 RGB in [0, 1], not normalized; with the further channels of
            the data after these, if it has some.
        targets: Task name -> label map ``(C, H, W)``; a missing task has no label here.
        valid: Task name -> ``(1, H, W)`` boolean, same keys as ``targets``.
        weight: Factor of the losses of this image, 0 or more; 1 if the key is missing.

    Example:
        >>> from taskprism.tasks import Depth
        >>> image = torch.rand(3, 4, 6)
        >>> sample = make_sample("a", image, {"depth": torch.ones(4, 6)}, [Depth()])
        >>> sorted(sample), sample["valid"]["depth"].shape
        (['image', 'name', 'targets', 'valid'], torch.Size([1, 4, 6]))
    """

    name: str
    image: tv_tensors.Image
    targets: dict[str, DenseTarget]
    valid: dict[str, ValidMask]
    weight: NotRequired[float]


@dataclass(frozen=True)
class Batch:
    """A batch of samples as plain tensors.

    Attributes:
        names: One per image.
        images: ``(B, 3, H, W)`` float32 in [0, 1], not normalized.
        targets: Task name -> ``(B, target_channels, H, W)``.
        valid: Task name -> ``(B, 1, H, W)`` boolean.
        weights: ``(B,)`` float32, factor of the losses of each image; None if all are 1.

    Example:
        >>> from taskprism.tasks import Depth, Edge
        >>> labels = {"depth": torch.ones(4, 6)}
        >>> sample = make_sample("a", torch.rand(3, 4, 6), labels, [Depth()])
        >>> batch = collate([sample, sample], [Depth(), Edge()])
        >>> batch.images.shape, batch.targets["edge"].shape, batch.valid["edge"].any()
        (torch.Size([2, 3, 4, 6]), torch.Size([2, 1, 4, 6]), tensor(False))
    """

    names: list[str]
    images: Tensor
    targets: dict[str, Tensor]
    valid: dict[str, Tensor]
    weights: Tensor | None = None

    def to(self, device: torch.device | str) -> Batch:
        """Copy to ``device``."""
        return replace(
            self,
            images=self.images.to(device, non_blocking=True),
            targets={k: v.to(device, non_blocking=True) for k, v in self.targets.items()},
            valid={k: v.to(device, non_blocking=True) for k, v in self.valid.items()},
            weights=None if self.weights is None else self.weights.to(device, non_blocking=True),
        )

    def __len__(self) -> int:
        return len(self.names)


def make_sample(
    name: str,
    image: np.ndarray | Tensor,
    labels: Mapping[str, np.ndarray | Tensor],
    tasks: Iterable[Task],
    valid: Mapping[str, np.ndarray | Tensor] | None = None,
) -> Sample:
    """Sample from plain arrays or tensors.

    Args:
        name: Identifier for messages and files.
        image: RGB: an array ``(H, W, 3)`` or a tensor ``(3, H, W)``, of bytes or of floats in
            [0, 1].
        labels: Task name -> an array ``(H, W)`` or ``(H, W, C)``, or a tensor ``(H, W)`` or
            ``(C, H, W)``, in the units and axes of the task. A task without a label is left out.
        tasks: The tasks of the labels.
        valid: Task name -> boolean ``(H, W)``: where there is a label. By default where the label
            is finite and, for classes, not 255.

    Raises:
        InputError: A shape is wrong, a label has no task, or its values are invalid for the task.

    Example:
        >>> from taskprism.tasks import Depth
        >>> depth = np.full((24, 32), np.nan, dtype=np.float32)
        >>> depth[:12] = 2.5
        >>> image = np.zeros((24, 32, 3), dtype=np.uint8)
        >>> sample = make_sample("a", image, {"depth": depth}, [Depth()])
        >>> sample["targets"]["depth"].shape, sample["valid"]["depth"].float().mean().item()
        (torch.Size([1, 24, 32]), 0.5)
    """
    by_name = {task.name: task for task in tasks}
    picture = _channels_first(image)
    if picture.ndim != 3 or picture.shape[0] < 3:
        raise InputError(
            f"The image of {name!r} has shape {tuple(image.shape)}. Give RGB as an array (H, W, 3) "
            "or a tensor (3, H, W), or with more channels after these."
        )
    picture = picture.float() / 255 if picture.dtype == torch.uint8 else picture.float()
    targets: dict[str, DenseTarget] = {}
    masks: dict[str, ValidMask] = {}
    for label_name, label in labels.items():
        if label_name not in by_name:
            raise UnknownNameError(f"task of sample {name!r}", label_name, by_name)
        task = by_name[label_name]
        stated = None if valid is None else valid.get(label_name)
        targets[label_name], masks[label_name] = _make_target(name, task, label, stated)
        size, image_size = targets[label_name].shape[-2:], picture.shape[-2:]
        if size != image_size:
            raise InputError(
                f"The label {label_name!r} of {name!r} has the size {tuple(size)}, but its image "
                f"{tuple(image_size)} (height, width)."
            )
    return Sample(name=name, image=tv_tensors.Image(picture), targets=targets, valid=masks)


def _channels_first(values: np.ndarray | Tensor) -> Tensor:
    """``(C, H, W)`` of an array ``(H, W, C)`` or ``(H, W)``, or of a tensor ``(C, H, W)``."""
    if isinstance(values, Tensor):
        return values[None] if values.ndim == 2 else values
    array = values[..., None] if values.ndim == 2 else values
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(array, -1, 0)))


def _make_target(
    name: str, task: Task, label: np.ndarray | Tensor, stated: np.ndarray | Tensor | None
) -> tuple[DenseTarget, ValidMask]:
    values = _channels_first(label)
    if values.ndim != 3 or values.shape[0] != task.target_channels:
        raise InputError(
            f"The label {task.name!r} of {name!r} has shape {tuple(label.shape)}, but the task has "
            f"{task.target_channels} channel(s)."
        )
    mask = torch.isfinite(values).all(dim=0, keepdim=True)
    if not task.target_dtype.is_floating_point:
        mask &= (values != _NO_CLASS).all(dim=0, keepdim=True)
    if stated is not None:
        mask &= _channels_first(stated).bool()
    target = task.target_type(torch.where(mask, values, 0).to(task.target_dtype))
    valid = ValidMask(mask)
    problem = task.validate_target(target, valid)
    if problem is not None:
        raise InputError(f"The label {task.name!r} of {name!r}: {problem}.")
    return target, valid


def collate(samples: Sequence[Sample], tasks: Iterable[Task]) -> Batch:
    """Stack samples of one size; labels that a sample lacks become zeros with an all-False mask.

    So do channels that a label lacks while that of another sample has them (annotators of edges).

    Example:
        >>> from taskprism.tasks import Depth
        >>> labels = {"depth": torch.ones(4, 6)}
        >>> sample = make_sample("a", torch.rand(3, 4, 6), labels, [Depth()])
        >>> collate([sample, sample], [Depth()]).targets["depth"].shape
        torch.Size([2, 1, 4, 6])
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
    weights = torch.tensor([s.get("weight", 1.0) for s in samples])
    is_weighted = bool((weights != 1).any())
    names = [s["name"] for s in samples]
    return Batch(names, images, targets, valid, weights if is_weighted else None)


def _stack(maps: Sequence[Tensor]) -> Tensor:
    channels = max(len(one) for one in maps)
    return torch.stack([pad(one, (0, 0, 0, 0, 0, channels - len(one))) for one in maps])
