"""The contract of a consistency loss, and consistency losses by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from taskprism.errors import InputError
from taskprism.losses.consistency.features import EncoderFeatures
from taskprism.losses.consistency.views import View, zoomed_view
from taskprism.options import read_options
from taskprism.registry import Registry, check_options, describe_part, options_of
from taskprism.tasks.base import Task

#: Published factors of a second view (MTPSL on NYUD-v2, those of MTAN's augmentation).
ZOOM_FACTORS = (1.0, 1.2, 1.5)


class ConsistencyLoss(nn.Module, ABC):
    """A loss that links the tasks of each image. It is a module, so it may have parameters.

    A subclass is created as ``MyLoss(tasks, feature_channels, **options)`` and calls
    ``super().__init__(tasks)``. Options are flat keyword arguments with defaults. It belongs to
    training: its parameters are in the optimizer and in the training state, never in a saved model.

    In training, every image is shown to the model twice, in one batch: as the augmentation made it,
    for the supervised losses, and as :meth:`view` makes it from that, for this loss.

    Args:
        tasks: Main tasks of the model.

    Attributes:
        name: Name in :data:`CONSISTENCY_LOSSES`.
        tasks: The tasks.

    Example:
        >>> import torch
        >>> from taskprism.losses import ConsistencyLoss, register_consistency_loss
        >>> @register_consistency_loss
        ... class EdgesWhereDepthJumps(ConsistencyLoss):
        ...     name = "edges_where_depth_jumps"
        ...     def __init__(self, tasks, feature_channels):
        ...         super().__init__(tasks)
        ...     def forward(self, predictions, targets, valid, features, seeds):
        ...         jumps = predictions["depth"].diff(dim=-1).abs()
        ...         edges = predictions["edge"].sigmoid()[..., 1:]
        ...         return (jumps * (1 - edges)).mean(dim=(1, 2, 3))
    """

    name: ClassVar[str]

    def __init__(self, tasks: Sequence[Task]) -> None:
        super().__init__()
        self.tasks = tuple(tasks)

    @abstractmethod
    def forward(
        self,
        predictions: Mapping[str, Tensor],
        targets: Mapping[str, Tensor],
        valid: Mapping[str, Tensor],
        features: Tensor | None,
        seeds: Sequence[int],
    ) -> Tensor:
        """Loss of each image of a view.

        Args:
            predictions: Task name -> raw output ``(B, channels, H, W)``.
            targets: Task name -> ``(B, target_channels, H, W)``.
            valid: Task name -> ``(B, 1, H, W)`` boolean; all False if the image has no label.
            features: Coarsest map of the model's encoder ``(B, feature_channels, h, w)``, without
                a graph; None if the model has no backbone or did not run it.
            seeds: One for each image. Draw random numbers of an image from a generator with its
                seed, so that a resumed run and several processes draw the same.

        Returns:
            ``(B,)``, 0 for an image without a pair of tasks to compare.
        """

    def view(
        self,
        images: Tensor,
        targets: Mapping[str, Tensor],
        valid: Mapping[str, Tensor],
        seeds: Sequence[int],
    ) -> View:
        """The second view of a batch; by default :func:`zoomed_view` by 1, 1.2 or 1.5."""
        return zoomed_view(images, targets, valid, self.tasks, ZOOM_FACTORS, seeds)

    def rate_factors(self) -> list[tuple[list[nn.Parameter], float]]:
        """Groups of parameters, each with a factor on the recipe's learning rate."""
        return []


#: Every consistency loss by :attr:`ConsistencyLoss.name`.
CONSISTENCY_LOSSES: Registry[ConsistencyLoss] = Registry(
    "consistency_loss",
    ConsistencyLoss,
    package="taskprism.losses.consistency",
    factories=True,
)
register_consistency_loss = CONSISTENCY_LOSSES.register


def list_consistency_losses() -> list[str]:
    """Names that :func:`create_consistency_loss` accepts, in alphabetical order.

    Example:
        >>> from taskprism.losses import list_consistency_losses
        >>> "mtpsl" in list_consistency_losses()
        True
    """
    return CONSISTENCY_LOSSES.names()


def create_consistency_loss(
    loss: str | ConsistencyLoss | type[ConsistencyLoss], model: nn.Module, **options: Any
) -> ConsistencyLoss:
    """Create a consistency loss for a model.

    Args:
        loss: One of :func:`list_consistency_losses`, ``"module:Class"``, a class or factory, or an
            instance, which is returned as it is.
        model: The model, of which the main tasks and the width of the encoder are read.
        **options: Options of the class.

    Raises:
        UnknownNameError: No loss or option has this name.
        InputError: An option has an invalid value, or was given for an instance.

    Example:
        >>> from taskprism import create_model
        >>> from taskprism.losses import create_consistency_loss
        >>> model = create_model("multi_task", {"depth": 1, "edge": 1}, backbone="test_resnet")
        >>> loss = create_consistency_loss("mtpsl", model, width=8)
        >>> [task.name for task in loss.tasks]
        ['depth', 'edge']
    """
    if isinstance(loss, ConsistencyLoss):
        if options:
            raise InputError(
                f"{type(loss).__name__} is an instance, so {', '.join(options)} cannot be set; "
                "give the class instead."
            )
        return loss
    found = CONSISTENCY_LOSSES.find(loss)
    name = loss if isinstance(loss, str) else describe_part(found)
    check_options(f"consistency loss {name!r}", options, options_of(found))
    options = read_options(f"Consistency loss {name!r}", options, found)
    tasks: Sequence[Task] = getattr(model, "tasks", ())
    created = found(tasks, EncoderFeatures(model).channels, **options)
    if not isinstance(created, ConsistencyLoss):
        raise InputError(
            f"Expected a ConsistencyLoss from the factory, got {type(created).__name__}."
        )
    return created
