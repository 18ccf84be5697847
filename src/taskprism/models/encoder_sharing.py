"""The contract of systems in which tasks share inside the encoder, stage by stage."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from taskprism.backbones.residual_stages import (
    STAGES,
    ResidualStages,
    create_residual_stages,
)
from taskprism.layers import create_head, resize
from taskprism.layers.heads import HeadName
from taskprism.models.base import MultiTaskModel
from taskprism.models.predictions import Predictions
from taskprism.models.single_task_start import START, start_from_single_task
from taskprism.registry import check_options, options_of
from taskprism.tasks.base import Task

_STEM = "stem"


class EncoderSharingModel(MultiTaskModel):
    """A system on a ResNet whose tasks exchange features between the stages.

    Options beside those of the constructor, which :func:`taskprism.create_model` takes:
    ``output_stride`` of the encoder (default 8, as published), and ``from_single_task``, a mapping
    task name -> directory of a trained ``single_task`` run (or saved model), from which encoders
    and heads start.
    """

    start_options: ClassVar[tuple[str, ...]] = (START,)

    heads: nn.ModuleDict

    @classmethod
    def build(
        cls,
        tasks: Sequence[Task],
        auxiliary_tasks: Sequence[Task],
        backbone: str,
        pretrained: bool | str,
        options: Mapping[str, Any],
    ) -> Self:
        """Make an encoder with stages and the model, and let it start from trained networks."""
        own = options_of(cls)
        for_encoder = set(options_of(create_residual_stages)) - {"pretrained"}
        check_options(f"model {cls.name!r}", options, {*own, *for_encoder, START})
        encoder = create_residual_stages(
            backbone, pretrained, **{k: v for k, v in options.items() if k in for_encoder}
        )
        model = cls(
            tasks, auxiliary_tasks, encoder, **{k: v for k, v in options.items() if k in own}
        )
        if options.get(START):
            start_from_single_task(model, model.starting_encoders(), model.heads, options[START])
        return model

    @abstractmethod
    def starting_encoders(self) -> dict[str, ResidualStages]:
        """Encoders by the task whose trained network they can start from."""


class ExchangingModel(EncoderSharingModel):
    """One encoder per task; after each stage a unit mixes the features of all tasks.

    Args:
        tasks: Main tasks.
        auxiliary_tasks: None; there is no front end.
        backbone: Encoder of the first task; the others get copies.
        head: See :func:`taskprism.layers.create_head`.
        unit_lr_factor: Learning rate of the units / that of the rest, with SGD.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        auxiliary_tasks: Sequence[Task],
        backbone: ResidualStages,
        head: HeadName,
        unit_lr_factor: float,
    ) -> None:
        super().__init__(tasks, auxiliary_tasks, backbone)
        self.unit_lr_factor = unit_lr_factor
        self.backbones = nn.ModuleDict(
            {
                task.name: copy.deepcopy(backbone) if index else backbone
                for index, task in enumerate(tasks)
            }
        )
        self.heads = nn.ModuleDict(
            {task.name: create_head(backbone.channels, task.channels, head) for task in tasks}
        )
        self.units = nn.ModuleDict()

    def forward(self, images: Tensor) -> Predictions:
        """Run all encoders side by side, with an exchange after each stage."""
        size = images.shape[-2:]
        encoders = self._encoders()
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
        """Units learn faster than the trained networks between which they stand."""
        return [(list(self.units.parameters()), self.unit_lr_factor)]

    def starting_encoders(self) -> dict[str, ResidualStages]:
        """Every task's."""
        return self._encoders()

    def _encoders(self) -> dict[str, ResidualStages]:
        return dict(self.backbones.items())  # pyrefly: ignore[bad-return]

    def _exchange(self, stage: str, features: dict[str, Tensor]) -> dict[str, Tensor]:
        return self.units[stage](features) if stage in self.units else features
