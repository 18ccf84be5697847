"""MTPSL: cross-task consistency in a joint space (Li, Liu and Bilen, CVPR 2022)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from taskprism.errors import InputError
from taskprism.layers import resize
from taskprism.losses.consistency.base import (
    ZOOM_FACTORS,
    ConsistencyLoss,
    register_consistency_loss,
)
from taskprism.losses.consistency.mapping import MappingNetwork
from taskprism.losses.consistency.views import View, zoomed_view
from taskprism.tasks.base import Task
from taskprism.tasks.losses import full_precision

_Factor = Annotated[float, Field(gt=0)]


@register_consistency_loss
class MTPSL(ConsistencyLoss):
    r"""Predictions of unlabeled tasks must agree with the labels of others.

    "Learning Multiple Dense Prediction Tasks from Partially Annotated Data" (Li, Liu and Bilen,
    CVPR 2022). For an image in which task s has no label and task t has one, with the mapping
    network m (:class:`MappingNetwork`, with the scales and shifts of the pair s, t), the prediction
    :math:`\hat y_s`, the label :math:`y_t` and the coarsest map f of the encoder:

    .. math::
        L_{st} = d(m(\hat y_s), m(y_t)) + w \left[ d(m(\hat y_s), f) + d(m(y_t), f) \right],
        \quad d(a, b) = 1 - \cos(a, b)

    The cosine is over channels; d is averaged over positions. The second term keeps the mapping
    from collapsing to a constant. f is detached, and a 1x1 convolution gives it the channels of m
    where they differ. The loss of an image is the sum over its pairs. How a prediction or label
    enters m is the task's own (:meth:`taskprism.tasks.Task.normalized_output`).

    Args:
        tasks: Two or more.
        feature_channels: Channels of f.
        width: See :class:`MappingNetwork`; 64 as published. Its cost grows with the square.
        feature_weight: w, 0.5 in the authors' code. 0 leaves f out.
        pairs: ``"unlabeled"``: s has no label in the image. ``"all"``: s is any task but t, as in
            the published experiments with complete labels.
        zoom_factors: How much larger the second view is; one is drawn for each image.
        lr_factor: Learning rate of m / that of the model, 1 as published.
        affine_lr_factor: Learning rate of the scales and shifts of pairs / that of the model, 10 as
            published. Both follow the schedule of the recipe. (In the authors' code these are
            halved every 30 epochs, the others every 100.)

    Raises:
        InputError: There are fewer than two tasks, an option is out of range, or the model has no
            backbone and ``feature_weight`` is not 0.

    Example:
        >>> from taskprism.losses import MTPSL
        >>> from taskprism.tasks import resolve_tasks
        >>> tasks = resolve_tasks({"semseg": 3, "depth": 1})
        >>> loss = MTPSL(tasks, feature_channels=16, width=2)
        >>> outputs = {"semseg": torch.randn(1, 3, 64, 96), "depth": torch.rand(1, 1, 64, 96)}
        >>> labels = {"semseg": torch.ones(1, 1, 64, 96).long(), "depth": torch.zeros(1, 1, 64, 96)}
        >>> valid = {name: label > 0 for name, label in labels.items()}  # no label of depth
        >>> loss(outputs, labels, valid, torch.rand(1, 16, 2, 3), seeds=[0]).shape
        torch.Size([1])
    """

    name: ClassVar[str] = "mtpsl"

    def __init__(
        self,
        tasks: Sequence[Task],
        feature_channels: int,
        width: Annotated[int, Field(ge=1, le=1024)] = 64,
        feature_weight: Annotated[float, Field(ge=0)] = 0.5,
        pairs: Literal["unlabeled", "all"] = "unlabeled",
        zoom_factors: tuple[Annotated[float, Field(ge=1)], ...] = ZOOM_FACTORS,
        lr_factor: _Factor = 1.0,
        affine_lr_factor: _Factor = 10.0,
    ) -> None:
        super().__init__(tasks)
        if not zoom_factors:
            raise InputError("MTPSL needs at least one of zoom_factors; give [1.0] for no zoom.")
        if feature_weight and not feature_channels:
            raise InputError(
                "The model has no backbone whose features MTPSL could use. Set feature_weight to 0."
            )
        self.feature_weight = feature_weight
        self.pairs = pairs
        self.zoom_factors = tuple(zoom_factors)
        self.lr_factor = lr_factor
        self.affine_lr_factor = affine_lr_factor
        self.mapping = MappingNetwork(tasks, width)
        same = feature_channels in (0, self.mapping.out_channels) or not feature_weight
        self.projection = (
            nn.Identity() if same else nn.Conv2d(feature_channels, self.mapping.out_channels, 1)
        )

    def view(
        self,
        images: Tensor,
        targets: Mapping[str, Tensor],
        valid: Mapping[str, Tensor],
        seeds: Sequence[int],
    ) -> View:
        """:func:`zoomed_view` by one of ``zoom_factors``."""
        return zoomed_view(images, targets, valid, self.tasks, self.zoom_factors, seeds)

    def rate_factors(self) -> list[tuple[list[nn.Parameter], float]]:
        """``affine_lr_factor`` for the scales and shifts of pairs, ``lr_factor`` for the rest."""
        affine = self.mapping.affine_parameters()
        named = {id(parameter) for parameter in affine}
        others = [parameter for parameter in self.parameters() if id(parameter) not in named]
        return [(others, self.lr_factor), (affine, self.affine_lr_factor)]

    def forward(
        self,
        predictions: Mapping[str, Tensor],
        targets: Mapping[str, Tensor],
        valid: Mapping[str, Tensor],
        features: Tensor | None,
        seeds: Sequence[int],
    ) -> Tensor:
        """Sum of the losses of each image's pairs, ``(B,)``; see :class:`ConsistencyLoss`."""
        pairs = self.choose_pairs(valid)
        each = [full_precision(predictions[task.name]).sum() for task in self.tasks]
        per_image = (torch.stack(each).sum() * 0.0).expand(len(seeds))  # 0, with a graph
        if not pairs:
            return per_image
        sources, targeted = self._embed(predictions, targets, valid, pairs, seeds)
        number = [self.mapping.pair(source, target) for _, source, target in pairs]
        maps = torch.stack(
            [sources[image, source] for image, source, _ in pairs]
            + [targeted[image, target] for image, _, target in pairs]
        )
        mapped = self.mapping(maps, torch.tensor(number * 2, device=maps.device))
        first, second = full_precision(mapped).chunk(2)
        losses = distance(first, second)
        images = torch.tensor([image for image, _, _ in pairs], device=maps.device)
        if self.feature_weight and features is None:
            raise InputError(
                "The model did not run its backbone, so MTPSL has no features to compare with. "
                "Set feature_weight to 0."
            )
        if features is not None and self.feature_weight:
            projected = full_precision(self.projection(features))
            projected = resize(projected, first.shape[-2:])[images]
            losses = losses + self.feature_weight * (
                distance(first, projected) + distance(second, projected)
            )
        return per_image.index_add(0, images, losses)

    def choose_pairs(self, valid: Mapping[str, Tensor]) -> list[tuple[int, int, int]]:
        """Every (image, source, target) that the loss compares, tasks by their position."""
        masks = [valid[task.name].flatten(1).any(dim=1) for task in self.tasks]
        return [
            (image, source, target)
            for image, labeled in enumerate(torch.stack(masks, dim=1).tolist())
            for target, is_target in enumerate(labeled)
            for source, has_label in enumerate(labeled)
            if is_target and source != target and (self.pairs == "all" or not has_label)
        ]

    def _embed(
        self,
        predictions: Mapping[str, Tensor],
        targets: Mapping[str, Tensor],
        valid: Mapping[str, Tensor],
        pairs: Sequence[tuple[int, int, int]],
        seeds: Sequence[int],
    ) -> tuple[dict[tuple[int, int], Tensor], dict[tuple[int, int], Tensor]]:
        """First features of predictions and of labels by (image, position of the task)."""
        sources: dict[tuple[int, int], Tensor] = {}
        targeted: dict[tuple[int, int], Tensor] = {}
        device = next(iter(predictions.values())).device
        for position, task in enumerate(self.tasks):
            name = task.name
            labels = targets[name].detach()
            for image in sorted({image for image, source, _ in pairs if source == position}):
                # The same numbers for an image in every batch and on every process.
                generator = torch.Generator(device).manual_seed((seeds[image] + position) % 2**63)
                values = task.normalized_output(predictions[name][image, None], generator)
                sources[image, position] = self.mapping.embed(name, values)[0]
            for image in sorted({image for image, _, target in pairs if target == position}):
                values = task.normalized_target(labels[image, None], valid[name][image, None])
                targeted[image, position] = self.mapping.embed(name, values)[0]
        return sources, targeted


def distance(first: Tensor, second: Tensor) -> Tensor:
    """One minus the cosine over channels, mean over positions.

    Args:
        first: ``(N, C, H, W)``.
        second: The same shape.

    Returns:
        ``(N,)`` in [0, 2].

    Example:
        >>> maps = torch.rand(2, 3, 4, 5)
        >>> distance(maps, 2 * maps).abs().max().item() < 1e-6
        True
    """
    return (1 - functional.cosine_similarity(first, second, dim=1)).mean(dim=(-2, -1))
