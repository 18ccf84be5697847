"""A package outside taskprism with one part of every kind. The tests copy this file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import Dataset
from torchmetrics import MeanMetric, MetricCollection
from torchvision import tv_tensors

import taskprism
from taskprism.backbones import Backbone
from taskprism.data import Protocol, Sample
from taskprism.distillation import Distillation, create_distillation
from taskprism.layers import resize
from taskprism.losses import Balancing
from taskprism.models import MultiTaskModel, Predictions
from taskprism.tasks import DenseTarget, Depth, Task


class ShadingMap(DenseTarget):
    """Brightness in [0, 1]."""

    target_dtype: ClassVar[torch.dtype] = torch.float32


class ShadingError(MeanMetric):
    """Mean absolute error of the brightness."""

    higher_is_better = False

    def update(self, prediction, target, valid):
        if valid.any():
            super().update((prediction - target).abs()[valid])


@dataclass(frozen=True, kw_only=True)
class Shading(Task):
    """Brightness of the light at a pixel, in [0, 1]."""

    name: str = "shading"
    channels: int = 1
    primary_metric: str = "error"

    kind: ClassVar[str] = "shading"
    target_type: ClassVar[type[DenseTarget]] = ShadingMap

    def loss(self, output, target, valid):
        difference = (self.decode(output) - target).abs() * valid
        return difference.sum() / valid.sum().clamp(min=1)

    def decode(self, output):
        return output.sigmoid()

    def metrics(self):
        return MetricCollection({"error": ShadingError()})

    def color(self, values, valid=None, reference=None):
        gray = (values[0].clamp(0, 1) * 255).byte().cpu().numpy()
        return np.repeat(gray[..., None], 3, axis=-1)


taskprism.register_task(Shading)


@taskprism.register_metric("worst_error")
class WorstError(MeanMetric):
    """Mean over images of the largest absolute error."""

    higher_is_better = False

    def update(self, prediction, target, valid):
        for difference, mask in zip((prediction - target).abs(), valid, strict=True):
            if mask.any():
                super().update(difference[mask.expand_as(difference)].max())


@taskprism.register_distillation
class Swap(Distillation):
    """Every task gets the mean of all tasks' features through a convolution."""

    name: ClassVar[str] = "swap"

    def __init__(self, tasks, channels, sources=None, gain: float = 0.5):
        super().__init__(tasks, channels, sources)
        self.gain = gain
        self.mix = nn.ModuleDict({task: nn.Conv2d(channels, channels, 1) for task in self.tasks})

    def forward(self, features, predictions=None):
        mean = torch.stack([features[source] for source in self.sources]).mean(dim=0)
        return {task: features[task] + self.gain * mix(mean) for task, mix in self.mix.items()}


@taskprism.register_backbone("two_strides")
class TwoStrides(Backbone):
    """Two convolutions, maps at strides 4 and 8."""

    def __init__(self, pretrained: bool | str = False, width: int = 8):
        super().__init__()
        self.channels = (width, width)
        self.strides = (4, 8)
        self.first = nn.Sequential(
            nn.Conv2d(3, width, 7, stride=4, padding=3), nn.BatchNorm2d(width), nn.ReLU()
        )
        self.second = nn.Sequential(nn.Conv2d(width, width, 3, stride=2, padding=1), nn.ReLU())

    def forward(self, images):
        fine = self.first(images)
        return [fine, self.second(fine)]


@taskprism.register_model
class Pairs(MultiTaskModel):
    """One 1x1 head per task on distilled features."""

    name: ClassVar[str] = "pairs"

    def __init__(self, tasks, auxiliary_tasks, backbone, width: int = 4, distillation="concat"):
        super().__init__(tasks, auxiliary_tasks, backbone)
        self.backbone = backbone
        names = [task.name for task in self.tasks]
        self.enter = nn.ModuleDict({n: nn.Conv2d(backbone.channels[0], width, 1) for n in names})
        self.distillation = create_distillation(distillation, names, width)
        self.heads = nn.ModuleDict({t.name: nn.Conv2d(width, t.channels, 1) for t in self.tasks})

    def forward(self, images):
        finest = self.backbone(images)[0]
        refined = self.distillation({name: enter(finest) for name, enter in self.enter.items()})
        size = images.shape[-2:]
        return Predictions({n: resize(head(refined[n]), size) for n, head in self.heads.items()})


class _Discs(Dataset):
    def __init__(self, length, first, size, transform):
        self.length, self.first, self.size, self.transform = length, first, size, transform

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        rng = np.random.default_rng(self.first + index)
        height, width = self.size
        y, x = np.mgrid[:height, :width]
        disc = (y - rng.uniform(8, height - 8)) ** 2 + (x - rng.uniform(8, width - 8)) ** 2 < 64
        light = torch.from_numpy(np.where(disc, 0.9, 0.2).astype(np.float32))[None]
        noise = torch.from_numpy(rng.normal(0, 0.02, (3, height, width)).astype(np.float32))
        sample = Sample(
            name=f"disc{self.first + index}",
            image=tv_tensors.Image((light + noise).clamp(0, 1)),
            targets={"shading": ShadingMap(light), "depth": Depth.target_type(1 + light)},
            valid={},
        )
        from taskprism.tasks import ValidMask

        sample["valid"] = {n: ValidMask(torch.ones_like(light)) for n in sample["targets"]}
        return self.transform(sample) if self.transform else sample


@taskprism.register_protocol
@dataclass(frozen=True, kw_only=True)
class DiscsProtocol(Protocol):
    """Bright discs on a dark ground."""

    name: str = "discs"
    tasks: tuple[Task, ...] = (Shading(), Depth(extra_metrics=("worst_error",)))
    input_size: tuple[int, int] = (32, 48)
    license: str = "made by a test"
    train_length: int = 8

    def dataset(self, split, transform=None):
        self.check_split(split)
        length, first = (self.train_length, 0) if split == "train" else (4, 1000)
        return _Discs(length, first, self.input_size, transform)


@taskprism.register_balancer("square_root")
class SquareRoot(Balancing):
    """Sum of the square roots of the losses; counts its steps, so that it has state."""

    def __init__(self, weights=None, floor: float = 1e-6):
        super().__init__()
        self.floor = floor
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def forward(self, losses):
        self.steps += 1
        return sum(functional.relu(loss).add(self.floor).sqrt() for loss in losses.values())
