"""Systems whose tasks share features between the stages of the encoder."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from taskprism.backbones import Backbone
from taskprism.backbones.residual_stages import (
    STAGES,
    ResidualStages,
    create_residual_stages,
)
from taskprism.errors import CheckpointError, InputError
from taskprism.layers import ModuleDict, create_head, resize
from taskprism.layers.heads import HeadLike
from taskprism.models.base import AnyBackbone, MultiTaskModel
from taskprism.models.hub import load
from taskprism.models.predictions import Predictions
from taskprism.models.single_task import SingleTask
from taskprism.registry import options_of
from taskprism.tasks.base import Task

#: Name of the option: task name -> run directory or saved model.
START = "from_single_task"
_STEM = "stem"


class EncoderSharingModel(MultiTaskModel):
    """A system on a ResNet whose tasks exchange features between the stages.

    :func:`taskprism.create_model` accepts two options in addition to those of the constructor:
    ``output_stride`` of the encoder (default 8, as published), and ``from_single_task``, a mapping
    task name -> directory of a trained ``single_task`` run (or saved model), whose weights are the
    initial weights of encoders and heads.

    Attributes:
        least_blocks: Residual blocks that every stage of the ResNet must have.

    Example:
        >>> from taskprism import create_model
        >>> model = create_model("cross_stitch", ["depth", "edge"], backbone="test_resnet")
        >>> model.starting_encoders()["edge"].strides
        (4, 8, 8, 8)
    """

    start_options: ClassVar[tuple[str, ...]] = (START,)
    backbone_type: ClassVar[type[Backbone]] = ResidualStages
    least_blocks: ClassVar[int] = 1

    heads: nn.ModuleDict

    @classmethod
    def _backbone_options(cls, backbone: AnyBackbone) -> set[str]:
        return set(options_of(create_residual_stages)) - {"pretrained"}

    @classmethod
    def _create_backbone(
        cls, backbone: AnyBackbone, pretrained: bool | str, options: dict[str, Any]
    ) -> ResidualStages:
        trunk = create_residual_stages(backbone, pretrained, **options)
        for index, stage in enumerate(STAGES):
            blocks = len(trunk.stage(index))
            if blocks < cls.least_blocks:
                raise InputError(
                    f"Model {cls.name!r} needs at least {cls.least_blocks} residual blocks in "
                    f"every stage, but {stage} of {trunk.name!r} has {blocks}; use 'resnet18' or a "
                    "deeper ResNet."
                )
        return trunk

    def _start(self, pretrained: bool | str, options: Mapping[str, Any]) -> None:
        """Copy the weights of trained networks, if the options name them."""
        if options.get(START):
            _start_from_single_task(self, self.starting_encoders(), self.heads, options[START])

    @abstractmethod
    def starting_encoders(self) -> dict[str, ResidualStages]:
        """Encoders, by the task whose trained network gives their initial weights."""


class ExchangingModel(EncoderSharingModel):
    """One encoder per task; after each stage a unit mixes the features of all tasks.

    A subclass defines the unit.

    Args:
        tasks: Main tasks.
        auxiliary_tasks: Not supported; there is no front end.
        backbone: Encoder of the first task; the others get copies.
        alpha: Initial weight, in a unit, of the task's own features.
        beta: Initial weight, in a unit, of the features of every other task.
        head: See :func:`taskprism.layers.create_head`.
        unit_lr_factor: Learning rate of the units / learning rate of all other layers, with SGD.

    Attributes:
        exchanges_stem: Whether a unit follows the stem too.
    """

    exchanges_stem: ClassVar[bool] = False

    def __init__(
        self,
        tasks: Sequence[Task],
        auxiliary_tasks: Sequence[Task],
        backbone: ResidualStages,
        alpha: float = 0.9,
        beta: float = 0.1,
        head: HeadLike = "deeplab",
        unit_lr_factor: Annotated[float, Field(gt=0)] = 100.0,
    ) -> None:
        super().__init__(tasks, auxiliary_tasks, backbone)
        self.unit_lr_factor = unit_lr_factor
        self.backbones = ModuleDict(
            {
                task.name: copy.deepcopy(backbone) if index else backbone
                for index, task in enumerate(tasks)
            }
        )
        self.heads = nn.ModuleDict(
            {task.name: create_head(backbone.channels, task.channels, head) for task in tasks}
        )
        names = [task.name for task in self.tasks]
        channels = dict(zip(STAGES, backbone.channels, strict=True))
        if self.exchanges_stem:
            channels = {_STEM: backbone.stem_channels, **channels}
        self.units = nn.ModuleDict(
            {stage: self.make_unit(names, each, alpha, beta) for stage, each in channels.items()}
        )

    @staticmethod
    @abstractmethod
    def make_unit(tasks: Sequence[str], channels: int, alpha: float, beta: float) -> nn.Module:
        """Module that maps ``{task: (B, channels, H, W)}`` to the same."""

    def forward(self, images: Tensor) -> Predictions:
        """Run all encoders, with an exchange after each stage."""
        size = images.shape[-2:]
        encoders = dict(self.backbones.items())
        features = {task: encoder.enter(images) for task, encoder in encoders.items()}
        features = self._exchange(_STEM, features)
        maps: dict[str, list[Tensor]] = {task: [] for task in encoders}
        for index, stage in enumerate(STAGES):
            features = {t: encoder.stage(index)(features[t]) for t, encoder in encoders.items()}
            features = self._exchange(stage, features)
            for task, each in features.items():
                maps[task].append(each)
        return Predictions(
            {
                task: resize(self.heads[task](encoder.crop(maps[task], size)), size)
                for task, encoder in encoders.items()
            }
        )

    def sgd_rate_factors(self) -> list[tuple[list[nn.Parameter], float]]:
        """The units, with ``unit_lr_factor``."""
        return [(list(self.units.parameters()), self.unit_lr_factor)]

    def starting_encoders(self) -> dict[str, ResidualStages]:
        """The encoder of every task."""
        return dict(self.backbones.items())

    def _exchange(self, stage: str, features: dict[str, Tensor]) -> dict[str, Tensor]:
        return self.units[stage](features) if stage in self.units else features


def _start_from_single_task(
    model: MultiTaskModel,
    encoders: Mapping[str, Backbone],
    heads: nn.ModuleDict,
    runs: Mapping[str, str | Path],
) -> None:
    """Copy the trained encoder and head of each task into ``model``.

    Args:
        model: Receives the image statistics that the networks were trained with.
        encoders: Encoders, by the task whose network gives their weights.
        heads: Heads of all tasks.
        runs: Task name -> path or hub id for :func:`taskprism.load` of a ``single_task`` model that
            has a task of this name.

    Raises:
        InputError: A task is missing or unknown, or its network has another architecture.
        CheckpointError: A run cannot be read.
    """
    names = [task.name for task in model.tasks]
    if not isinstance(runs, Mapping) or set(runs) != set(names):
        raise InputError(
            f"{START} needs a run for each of {', '.join(names)} (NAME: directory), got {runs!r}."
        )
    statistics: dict[str, tuple[list[float], list[float]]] = {}
    for name in names:
        network = _single_task(runs[name], name)
        source = f"the network of {name!r} in {str(runs[name])!r}"
        if name in encoders:
            strides = encoders[name].strides, network.backbones[name].strides
            if strides[0] != strides[1]:
                raise InputError(
                    f"The encoder of {source} has maps at strides {strides[1]}, not {strides[0]}; "
                    "train it with the same output_stride."
                )
            _copy(network.backbones[name], encoders[name], f"The encoder of {source}")
        _copy(network.heads[name], heads[name], f"The head of {source}")
        statistics[name] = (
            network.image_mean.flatten().tolist(),
            network.image_std.flatten().tolist(),
        )
    first = next(iter(statistics.values()))
    if any(each != first for each in statistics.values()):
        raise InputError(
            f"The networks of {START} expect differently normalized images (mean, std): "
            f"{statistics}. Train all of them with the same backbone."
        )
    for buffer, values in zip((model.image_mean, model.image_std), first, strict=True):
        buffer.copy_(torch.tensor(values).view(-1, 1, 1))


def _single_task(path: str | Path, task: str) -> SingleTask:
    try:
        network = load(path)
    except CheckpointError as error:
        raise CheckpointError(f"{START}: no network for {task!r}. {error}") from error
    if not isinstance(network, SingleTask):
        raise InputError(
            f"{START}: {str(path)!r} holds a {network.name!r}; give a trained 'single_task' run."
        )
    if task not in network.heads:
        raise InputError(
            f"{START}: the run {str(path)!r} predicts {', '.join(network.heads)}, not {task!r}."
        )
    return network


def _copy(trained: nn.Module, start: nn.Module, what: str) -> None:
    try:
        start.load_state_dict(trained.state_dict())
    except RuntimeError as error:
        raise InputError(
            f"{what} does not fit: {error}. Train it with the backbone, the head and the channels "
            "of the system that it initializes, and with neck: none."
        ) from error
