"""The contract of a model: normalized images in, :class:`Predictions` out."""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from huggingface_hub import PyTorchModelHubMixin
from safetensors import SafetensorError
from torch import Tensor, nn

from taskprism.backbones import Backbone, create_backbone
from taskprism.distillation import Distillation
from taskprism.errors import CheckpointError, InputError
from taskprism.models.predictions import Predictions
from taskprism.registry import check_options, options_of
from taskprism.tasks.base import Task


class MultiTaskModel(
    nn.Module,
    PyTorchModelHubMixin,
    ABC,
    library_name="taskprism",
    tags=["multi-task-learning", "dense-prediction"],
):
    """Base of every published system.

    A subclass composes a backbone, initial heads, propagation, distillation, aggregation and final
    heads; it holds no arithmetic of its own. Its constructor takes ``(tasks, auxiliary_tasks,
    backbone)`` and flat keyword options with literal defaults; :meth:`build` makes the backbone.

    Attributes:
        name: Key in :data:`taskprism.models.MODELS`.
        tasks: Main tasks, predicted at the end.
        auxiliary_tasks: Predicted by the front end only, in addition to the main ones.
        config: What ``create_model`` needs to build the same model again; plain values.
        uses_auxiliary_tasks: Whether the system has a front end for auxiliary tasks.
        has_initial_predictions: Whether ``forward`` returns initial predictions.
        any_input_size: Whether it takes images of any size. Of a class: with its default options.
        input_size: ``(H, W)`` of the images for which it was built, if they have to be given.
        start_options: Options that only say where first weights come from; not part of config.
    """

    name: ClassVar[str]
    uses_auxiliary_tasks: ClassVar[bool] = False
    has_initial_predictions: ClassVar[bool] = False
    any_input_size: bool = True
    input_size: tuple[int, int] | None = None
    start_options: ClassVar[tuple[str, ...]] = ()

    image_mean: Tensor
    image_std: Tensor

    def __init__(
        self,
        tasks: Sequence[Task],
        auxiliary_tasks: Sequence[Task] = (),
        backbone: Backbone | None = None,
    ) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        self.auxiliary_tasks = tuple(auxiliary_tasks)
        self.config: dict[str, Any] = {}
        self._check_tasks()
        for statistic, neutral in (("image_mean", 0.0), ("image_std", 1.0)):
            # On the CPU even where the model is built without data, on the meta device.
            values = torch.tensor(getattr(backbone, statistic, [neutral] * 3), device="cpu")
            self.register_buffer(statistic, values.view(3, 1, 1), persistent=False)

    @classmethod
    def build(
        cls,
        tasks: Sequence[Task],
        auxiliary_tasks: Sequence[Task],
        backbone: str,
        pretrained: bool | str,
        options: Mapping[str, Any],
    ) -> Self:
        """Make the backbone and the model from flat options, of which each takes its own."""
        for_backbone = set(options_of(create_backbone)) - {"pretrained"}
        for_model = set(options_of(cls))
        check_options(f"model {cls.name!r}", options, for_backbone | for_model)
        trunk = create_backbone(
            backbone, pretrained, **{k: v for k, v in options.items() if k in for_backbone}
        )
        own = {k: v for k, v in options.items() if k in for_model}
        return cls(tasks, auxiliary_tasks, trunk, **own)

    @property
    def all_tasks(self) -> tuple[Task, ...]:
        """Main tasks, then auxiliary ones: the order wherever tasks are concatenated."""
        return self.tasks + self.auxiliary_tasks

    def sgd_rate_factors(self) -> list[tuple[list[nn.Parameter], float]]:
        """Parameters that SGD should learn at a multiple of the rate of the rest, and by what."""
        return []

    def normalize(self, images: Tensor) -> Tensor:
        """RGB in [0, 1] -> the network's own input, as its weights expect it."""
        return (images - self.image_mean) / self.image_std

    @abstractmethod
    def forward(self, images: Tensor) -> Predictions:
        """Predict.

        Args:
            images: ``(B, 3, H, W)``, normalized (see :meth:`normalize`).

        Returns:
            Raw outputs ``(B, channels, H, W)`` per main task, with the initial ones attached.
        """

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> str | None:
        """Write ``config.json`` and ``model.safetensors``, which :func:`taskprism.load` reads.

        Each file appears whole or not at all.

        Args:
            save_directory: Folder; made if it does not exist.
            **options: Those of ``huggingface_hub.PyTorchModelHubMixin.save_pretrained``, such as
                ``push_to_hub=True`` and ``repo_id``.

        Raises:
            CheckpointError: If the files cannot be written, for example on a full disk.
        """
        if not self.config:
            raise InputError(
                f"This {self.name} was not made by create_model, so nobody could build it again "
                "from its file; make it with taskprism.create_model."
            )
        target = Path(save_directory)
        try:
            target.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".saving-", dir=target) as unfinished:
                options = {"config": self.config, "repo_id": target.name, **options}
                url = super().save_pretrained(unfinished, **options)
                for file in sorted(Path(unfinished).iterdir(), reverse=True):
                    file.replace(target / file.name)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(
                f"Cannot write the model to {str(target)!r}: {error}. Free some space or choose "
                "another folder; files that were there before are whole."
            ) from error
        return url

    @classmethod
    def from_pretrained(cls, path_or_hub_id: str | Path) -> Self:  # type: ignore[override]
        """Same as :func:`taskprism.load`, for a model of this class."""
        from taskprism.models.hub import load  # it builds models, so it stands above this module

        model = load(path_or_hub_id)
        if not isinstance(model, cls):
            raise InputError(
                f"{str(path_or_hub_id)!r} holds a {model.name!r}, no {cls.name!r}; use "
                "taskprism.load, which takes any model."
            )
        return model

    def _fit_size(self, size: Sequence[int] | None, *distillations: Distillation) -> None:
        """Remember the image size for which ``distillations`` were built."""
        self.any_input_size = all(distillation.any_size for distillation in distillations)
        if size is not None:
            height, width = size
            self.input_size = (height, width)

    def _check_tasks(self) -> None:
        names = [task.name for task in self.all_tasks]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InputError(
                f"Tasks {twice} are named twice; auxiliary tasks come in addition to the main "
                "ones, which the front end predicts anyway. Give each task once."
            )
        unusable = [name for name in names if "." in name or hasattr(nn.ModuleDict, name)]
        if unusable:
            raise InputError(
                f"Tasks cannot be named {unusable}: modules are filed under a task's name, which "
                "must have no dot and be no method of a dictionary."
            )
        if not self.tasks:
            raise InputError(f"{self.name} needs at least one main task.")
        if self.auxiliary_tasks and not self.uses_auxiliary_tasks:
            raise InputError(
                f"{self.name} has no front end that could use auxiliary tasks "
                f"({', '.join(task.name for task in self.auxiliary_tasks)}); leave them out, "
                "or make them main tasks."
            )
