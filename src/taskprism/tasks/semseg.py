"""Class maps: semantic segmentation and human parts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torchmetrics import MetricCollection

from taskprism.checks import check_choice, check_class_name, check_integer, check_number
from taskprism.errors import InputError, UnknownNameError
from taskprism.metrics.segmentation import (
    SegmentationMetric,
    class_accuracy,
    class_iou,
    segmentation_metrics,
)
from taskprism.tasks import losses
from taskprism.tasks.base import HEAVIEST_LOSS, Task, register_task
from taskprism.tasks.colors import Legend, Swatches, class_palette, color_classes
from taskprism.tasks.diagnostics import Calibration, ClassScores
from taskprism.tasks.statistics import LabelStatistics, count_files
from taskprism.tasks.target import DenseTarget

PASCAL_PARTS = (
    "background",
    "head",
    "torso",
    "upper arm",
    "lower arm",
    "upper leg",
    "lower leg",
)


#: Value of ``class_weights`` for weights from the training labels.
BALANCED: Final = "balanced"
#: Largest number of classes; the confusion matrix of more would fill the memory.
MOST_CLASSES = 4096


class ClassMap(DenseTarget):
    """Class indices, int64 ``(..., 1, H, W)``; geometry moves pixels but changes no value.

    Example:
        >>> from taskprism.tasks import ClassMap
        >>> ClassMap([[[0, 255]]]).dtype
        torch.int64
    """

    similar_within: ClassVar[float] = 0.5
    dtype_of_values: ClassVar[torch.dtype] = torch.int64

    @classmethod
    def difference(cls, first: Tensor, second: Tensor) -> Tensor:
        """0 for the same class, 1 for different ones."""
        return (first != second).float()


@register_task
@dataclass(frozen=True, kw_only=True)
class SemanticSegmentation(Task):
    """One of ``channels`` classes per pixel; cross-entropy, argmax, one confusion matrix.

    Attributes:
        channels: Number of classes, 1 to 4096.
        class_names: One per channel, for tables, legends and messages, or none. Printable text of
            one line without ``/`` and backslash. A first class named ``background`` is drawn black;
            otherwise black means that a pixel has no label.
        absent_classes: What a class that is neither in the labels nor predicted adds to the mean
            IoU: ``"skip"`` leaves it out, ``"zero"`` counts it as 0 (the code of MTI-Net), and
            ``"nan"`` makes the mean NaN (MTAN, LibMTL).
        class_weights: Factor of each class in ``cross_entropy`` and ``focal``, 0 to a million: a
            list; a mapping from class names to factors, in which the others are 1; or
            ``"balanced"``, which is N / (K n) for a class with n of the N pixels of the K classes
            that the training labels have. Without any, all are 1.

    Raises:
        InputError: The number of classes is out of range, a class name is not allowed, or there is
            not one name per class.
        UnknownNameError: ``absent_classes`` is none of the three.

    Example:
        >>> import torch
        >>> from taskprism.tasks import create_task
        >>> semseg = create_task("semseg", class_names=["floor", "wall", "thing"])
        >>> semseg.decode(torch.tensor([0.1, 0.7, 0.2]).view(1, 3, 1, 1)).item()
        1
    """

    name: str = "semseg"
    class_names: tuple[str, ...] = ()
    absent_classes: Literal["skip", "zero", "nan"] = "skip"
    class_weights: tuple[float, ...] | Literal["balanced"] = ()
    primary_metric: str = "miou"

    kind: ClassVar[str] = "semseg"
    hub_tag: ClassVar[str] = "image-segmentation"
    target_type: ClassVar[type[DenseTarget]] = ClassMap
    target_dtype: ClassVar[torch.dtype] = torch.int64
    confidence_by_flip: ClassVar[bool] = False
    label_kind: ClassVar[losses.LabelKind] = "classes"
    default_losses: ClassVar[str] = "cross_entropy"
    has_background: ClassVar[bool] = False  # whether class 0 is black even without a name

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer(self._owner, "channels", self.channels, 1, MOST_CLASSES)
        if not isinstance(self.class_names, tuple | list):
            raise InputError(
                f"{self._owner}: class_names must be a list of names, got {self.class_names!r}."
            )
        for index, name in enumerate(self.class_names):
            check_class_name(self._owner, f"class_names[{index}]", name)
        object.__setattr__(self, "class_names", tuple(self.class_names))
        if self.class_names and len(self.class_names) != self.channels:
            raise InputError(
                f"{self._owner} has {self.channels} channels but {len(self.class_names)} class "
                "names. Give one name per channel, or none."
            )
        self._check_choice("absent_classes", ("skip", "zero", "nan"))
        object.__setattr__(self, "class_weights", self._read_class_weights(self.class_weights))

    def _read_class_weights(self, weights: Any) -> tuple[float, ...] | Literal["balanced"]:
        if isinstance(weights, str):
            check_choice(f"task {self.name!r}", "class_weights", weights, (BALANCED,))
            return BALANCED
        if isinstance(weights, Mapping):
            for name in weights:
                if name not in self.class_names:
                    raise UnknownNameError(
                        f"class in class_weights of task {self.name!r}", str(name), self.class_names
                    )
            weights = [weights.get(name, 1.0) for name in self.class_names] if weights else ()
        if not isinstance(weights, list | tuple):
            raise InputError(
                f"{self._owner}: class_weights must be a list of numbers, a mapping from classes "
                f"to numbers, or {BALANCED!r}, got {weights!r}."
            )
        if weights and len(weights) != self.channels:
            raise InputError(
                f"{self._owner} has {self.channels} classes but {len(weights)} class_weights. Give "
                "one per class, or none."
            )
        checked = [
            check_number(self._owner, f"class_weights[{place}]", weight, 0, HEAVIEST_LOSS)
            for place, weight in enumerate(weights)
        ]
        if checked and not any(checked):
            raise InputError(f"{self._owner}: all class_weights are 0. Give one that is greater.")
        return tuple(checked)

    def weights_of_classes(self, output: Tensor) -> Tensor | None:
        """``class_weights``, ``(channels,)``; None: all 1.

        Raises:
            InputError: They are ``"balanced"`` still.
        """
        if isinstance(self.class_weights, str):
            raise InputError(
                f"{self._owner}: class_weights: balanced are computed from the training labels. "
                "Training with a recipe or a Trainer does it; in a loop of your own, use "
                "task.for_training(statistics) with the sum of task.target_statistics."
            )
        return output.new_tensor(self.class_weights) if self.class_weights else None

    @property
    def needs_label_statistics(self) -> bool:
        """Whether ``class_weights`` are ``"balanced"``."""
        return self.class_weights == BALANCED

    def for_training(self, statistics: Tensor) -> Task:
        """The task with balanced ``class_weights`` computed; see there."""
        if not self.needs_label_statistics:
            return self
        counts = statistics.double()
        present = (counts > 0).sum().clamp(min=1)
        weights = torch.where(counts > 0, counts.sum() / (present * counts.clamp(min=1)), 1.0)
        return replace(self, class_weights=tuple(weights.tolist()))

    def to_config(self) -> dict[str, Any]:
        """See :meth:`Task.to_config`; without class weights, as in earlier files, no such key."""
        config = super().to_config()
        if not self.class_weights:
            del config["class_weights"]
        return config

    @property
    def channel_names(self) -> tuple[str, ...]:
        """The names of the classes."""
        return self.class_names

    def with_channels(self, channels: int) -> SemanticSegmentation:
        """The same task with another number of classes, which then have no names."""
        return replace(self, channels=channels, class_names=(), class_weights=())

    def decode(self, output: Tensor) -> Tensor:
        """Index of the largest logit, int64 ``(B, 1, H, W)``."""
        return output.argmax(dim=-3, keepdim=True)

    def confidence(self, output: Tensor, flipped: Tensor | None = None) -> Tensor:
        """Probability of the predicted class."""
        return losses.full_precision(output).softmax(dim=1).amax(dim=1, keepdim=True)

    @property
    def normalized_channels(self) -> int:
        """One per class."""
        return self.channels

    def normalized_output(self, output: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """A class drawn per pixel from the predicted probabilities, as one-hot vectors.

        The gradient is that of the softmax from which the class is drawn (straight-through Gumbel
        softmax, Jang et al., ICLR 2017, with temperature 1).
        """
        logits = losses.full_precision(output).log_softmax(dim=1)
        uniform = torch.rand(
            logits.shape, generator=generator, device=logits.device, dtype=logits.dtype
        )
        limits = torch.finfo(logits.dtype)
        noise = -(-uniform.clamp(limits.tiny, 1 - limits.eps).log()).log()
        soft = (logits + noise).softmax(dim=1)
        hard = torch.zeros_like(soft).scatter(1, soft.argmax(dim=1, keepdim=True), 1.0)
        return hard - soft.detach() + soft

    def normalized_target(self, target: Tensor, valid: Tensor) -> Tensor:
        """One-hot vectors, 0 where there is no label."""
        labels = losses.hide(target, valid).squeeze(1).long()
        one_hot = functional.one_hot(labels, self.channels).movedim(-1, 1)
        return one_hot.float() * valid

    def metrics(self) -> MetricCollection:
        """Mean IoU, pixel accuracy and mean accuracy over the data set, in [0, 1]."""
        return segmentation_metrics(self.channels, self.absent_classes)

    def color(
        self, values: Tensor, valid: Tensor | None = None, reference: Tensor | None = None
    ) -> np.ndarray:
        """The palette of PASCAL VOC; ``reference`` is not used."""
        return color_classes(values, valid, self.palette)

    @property
    def palette(self) -> np.ndarray:
        """``(channels, 3)`` uint8 RGB."""
        background = self.has_background or self.class_names[:1] == ("background",)
        first = 0 if background else 1
        return class_palette(first + self.channels)[first:]

    def legend(self, values: Tensor, valid: Tensor | None = None) -> Legend | None:
        """One color per class."""
        colors = [(int(r), int(g), int(b)) for r, g, b in self.palette]
        return Swatches(tuple(zip(colors, self._shown_names, strict=True)))

    @property
    def _shown_names(self) -> tuple[str, ...]:
        return self.class_names or tuple(f"class {index}" for index in range(self.channels))

    def class_scores(self, metrics: MetricCollection) -> ClassScores | None:
        """IoU and accuracy of each class; None if no pixel was counted."""
        for metric in metrics.values():
            if isinstance(metric, SegmentationMetric) and metric.confusion.any():
                confusion = metric.confusion
                values = {"iou": class_iou(confusion), "accuracy": class_accuracy(confusion)}
                return ClassScores(self._shown_names, values, confusion)
        return None

    def calibration(self, output: Tensor, target: Tensor) -> Calibration:
        """Probability of the predicted class, and whether it is the label."""
        stated, predicted = losses.full_precision(output).softmax(dim=1).max(dim=1, keepdim=True)
        return Calibration(stated, (predicted == target).float(), "the predicted class is right")

    def target_statistics(self, target: Tensor, valid: Tensor) -> Tensor:
        """Number of pixels of each class, ``(channels,)``."""
        return torch.bincount(target[valid].long(), minlength=self.channels).double()

    def constant_output(self, statistics: Tensor) -> Tensor:
        """Log of the share of pixels of each class: the most frequent class is predicted."""
        return (statistics.clamp(min=1e-6) / statistics.sum().clamp(min=1)).log().float()

    def validate_target(self, target: Tensor, valid: Tensor) -> str | None:
        """Report labels at valid pixels that are not class indices."""
        labels = target[valid]
        wrong = labels[(labels < 0) | (labels >= self.channels)].unique().tolist()
        if not wrong:
            return None
        shown = ", ".join(str(int(value)) for value in wrong[:10]) + ", ..." * (len(wrong) > 10)
        return (
            f"labels {shown} are outside 0..{self.channels - 1}; declare them as ignored values, "
            f"or give the task more than {self.channels} classes"
        )

    def doubts(self, labels: LabelStatistics) -> list[str]:
        """Report ids that are multiples of one number, and labels of a single class."""
        if labels.classes is None or not labels.labeled:
            return []
        found = labels.classes.nonzero().flatten().tolist()
        step = math.gcd(*found)
        if len(found) == 1 and self.channels > 1:
            return [
                f"every labeled pixel of {count_files(labels.names)} is class {found[0]} "
                f"({labels.class_names[found[0]]}). Check tasks.{self.name}.map and ignore"
            ]
        if len(found) > 2 and step > 1:
            shown = ", ".join(map(str, found[:5])) + (", ..." if len(found) > 5 else "")
            pairs = ", ".join(f"{id_}: {id_ // step}" for id_ in found[:3])
            return [
                f"the class ids of {count_files(labels.names)} are {shown}, all multiples of "
                f"{step}. If they are classes 0, 1, 2 ..., set tasks.{self.name}.map: "
                f"{{{pairs}, ...}}"
            ]
        return []


@register_task
@dataclass(frozen=True, kw_only=True)
class HumanParts(SemanticSegmentation):
    """Segmentation into body parts; class 0 is background.

    Seven channels without names get the names of PASCAL: background and six parts.

    Attributes:
        skip_empty_images: Leave out images whose valid labels are all background, in loss and
            metrics, as all published numbers on PASCAL do: the IoU of background is measured on
            images with people only.

    Example:
        >>> from taskprism.tasks import create_task
        >>> create_task("human_parts").class_names[:3]
        ('background', 'head', 'torso')
    """

    name: str = "human_parts"
    channels: int = 7
    loss_weight: float = 2.0
    skip_empty_images: bool = True

    kind: ClassVar[str] = "human_parts"
    has_background: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.channels == len(PASCAL_PARTS) and not self.class_names:
            object.__setattr__(self, "class_names", PASCAL_PARTS)
        super().__post_init__()

    def loss(self, output: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """Loss of the images that show a person."""
        return super().loss(output, target, self.counted(target, valid))

    def update_metrics(
        self, metrics: MetricCollection, output: Tensor, target: Tensor, valid: Tensor
    ) -> None:
        """Add the images of a batch that show a person."""
        super().update_metrics(metrics, output, target, self.counted(target, valid))

    def target_statistics(self, target: Tensor, valid: Tensor) -> Tensor:
        """Number of pixels of each class if the image shows a person, otherwise 0."""
        return super().target_statistics(target, self.counted(target, valid))

    def counted(self, target: Tensor, valid: Tensor) -> Tensor:
        """Valid pixels, without the images that show no person if ``skip_empty_images``."""
        if not self.skip_empty_images:
            return valid
        return valid & ((target != 0) & valid).any(dim=-1, keepdim=True).any(dim=-2, keepdim=True)
