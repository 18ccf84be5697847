"""Several protocols as one partly labeled set."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self, cast

from torch.utils.data import Dataset

from taskprism.checks import check_number
from taskprism.data.protocol import ExtraChannel, Protocol, SizedDataset, Split, Transform
from taskprism.data.sample import Sample
from taskprism.errors import InputError, UnknownNameError
from taskprism.tasks.base import Task

Sampling = Literal["balanced", "concatenated"]


class JointDataset(Dataset[Sample]):
    """Samples of several data sets, names prefixed with their set's: ``osd_rgbd/test0``.

    Args:
        parts: Protocol name -> its data set, without transform.
        transform: Applied last, when the name is complete.
        balanced: Every part contributes as many samples as the largest; smaller ones repeat from
            the beginning. Otherwise every sample occurs once.
        weights: Protocol name -> factor of the losses of its samples; 1 for others.

    Example:
        >>> parts = {"a": [{"name": "0"}, {"name": "1"}], "b": [{"name": "0"}]}
        >>> joint = JointDataset(parts, balanced=True)
        >>> [sample["name"] for sample in joint]
        ['a/0', 'a/1', 'b/0', 'b/0']
    """

    def __init__(
        self,
        parts: Mapping[str, SizedDataset],
        transform: Transform | None = None,
        balanced: bool = False,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        self.parts = dict(parts)
        self.weights = dict(weights or {})
        self.transform = transform
        lengths = {name: len(part) for name, part in self.parts.items()}
        longest = max(lengths.values())
        self._index = [
            (name, position % length)
            for name, length in lengths.items()
            for position in range(longest if balanced else length)
        ]

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, index: int) -> Sample:
        part, position = self._index[index]
        sample = self.parts[part][position]
        sample = cast(Sample, {**sample, "name": f"{part}/{sample['name']}"})
        if part in self.weights:
            sample["weight"] = sample.get("weight", 1.0) * self.weights[part]
        return self.transform(sample) if self.transform is not None else sample


class BySource:
    """Transform each sample of a :class:`JointDataset` as its data set does.

    Example:
        >>> transform = BySource({"a": lambda sample: "from a", "b": lambda sample: "from b"})
        >>> transform({"name": "b/0"})
        'from b'
    """

    def __init__(self, transforms: Mapping[str, Transform]) -> None:
        self.transforms = dict(transforms)

    def __call__(self, sample: Sample) -> Sample:
        """Transform by the part's name, which precedes the sample's."""
        return self.transforms[sample["name"].partition("/")[0]](sample)


@dataclass(frozen=True, kw_only=True)
class JointProtocol(Protocol):
    """Union of several protocols; each sample lacks the tasks that its source lacks.

    Tasks are the same if their names are; they must then agree in kind, channels and classes, and
    the settings (loss weight, ...) of the first set apply. Each set keeps its augmentation.
    Scores of a task are over the images that have it. Splits are those that all sets have; a set
    with nothing but a training split, such as one of distilled labels, adds images to that split
    and leaves the others as they are.

    Attributes:
        parts: The protocols, all with this one's ``input_size``.
        sampling: Of training images: ``"balanced"`` shows each set equally often per epoch,
            ``"concatenated"`` each image once.
        weights: Protocol name -> factor of the losses of its images in training, 0 or more, times
            the ``loss_weight`` of a data YAML; 1 for others.

    Example:
        >>> from taskprism.data import create_protocol
        >>> shared = ["depth", "normals"]
        >>> joint = create_protocol(["nyud13", "rooms"], tasks=shared, input_size=(96, 128))
        >>> joint.name, joint.splits
        ('nyud13+rooms', ('train', 'test'))
    """

    parts: tuple[Protocol, ...] = field(repr=False)
    sampling: Sampling = "concatenated"
    weights: Mapping[str, float] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        scored = [part for part in self.parts if set(part.splits) != {"train"}] or self.parts
        common = [s for s in scored[0].splits if all(s in part.splits for part in scored)]
        object.__setattr__(self, "splits", tuple(common))

    @classmethod
    def of(
        cls,
        parts: Sequence[Protocol],
        sampling: Sampling = "concatenated",
        weights: Mapping[str, float] | None = None,
    ) -> Self:
        """Join protocols.

        Raises:
            InputError: Names clash, tasks of one name differ, sizes differ, or a weight is
                negative.
            UnknownNameError: A weight is for a protocol that is not one of the parts.
        """
        names = [part.name for part in parts]
        if len(set(names)) < len(names):
            raise InputError(f"Joint data sets need different names; got {', '.join(names)}.")
        if sampling not in ("balanced", "concatenated"):
            raise InputError(f"sampling is 'balanced' or 'concatenated', got {sampling!r}.")
        if weights is not None and not isinstance(weights, Mapping):
            raise InputError(f"weights must map names of data sets to numbers, got {weights!r}.")
        for name, weight in (weights or {}).items():
            if name not in names:
                raise UnknownNameError("data set with a weight", name, names)
            check_number("weights", name, weight, low=0)
        sizes = {part.name: part.input_size for part in parts}
        if len(set(sizes.values())) > 1:
            listed = ", ".join(f"{name} {size}" for name, size in sizes.items())
            raise InputError(
                f"Joint data sets need one input size ({listed}). Set the option input_size."
            )
        channels = {part.name: part.extra_channels for part in parts}
        if len(set(channels.values())) > 1:
            listed = ", ".join(f"{part.name} {part.in_channels}" for part in parts)
            raise InputError(
                f"Joint data sets need images with the same channels ({listed}). Give them equal "
                "'inputs'."
            )
        return cls(
            name="+".join(names),
            tasks=_union(parts),
            input_size=parts[0].input_size,
            license="\n".join(f"{part.name}: {part.license}" for part in parts),
            parts=tuple(parts),
            sampling=sampling,
            weights=dict(weights or {}),
        )

    @property
    def extra_channels(self) -> tuple[ExtraChannel, ...]:
        """Those of the data sets, which must have the same."""
        return self.parts[0].extra_channels

    @property
    def scores_at_label_size(self) -> bool:
        """Whether any part does."""
        return any(part.scores_at_label_size for part in self.parts)

    def dataset(self, split: Split, transform: Transform | None = None) -> SizedDataset:
        """Samples of all parts; balanced only in training."""
        self.check_split(split)
        balanced = self.sampling == "balanced" and split == "train"
        parts = {p.name: p.dataset(split) for p in self.parts if split in p.splits}
        return JointDataset(parts, transform, balanced, self.weights)

    def train_transform(self) -> Transform:
        """The augmentation of each sample's data set."""
        return BySource({part.name: part.train_transform() for part in self.parts})

    def evaluation_transform(self) -> Transform:
        """The evaluation transform of each sample's data set."""
        return BySource({part.name: part.evaluation_transform() for part in self.parts})

    def remarks(self) -> list[str]:
        """Those of the parts."""
        return [f"{part.name}: {text}" for part in self.parts for text in part.remarks()]

    def doubts(self, samples: int | None = None) -> list[str]:
        """Those of the parts."""
        return [f"{part.name}: {text}" for part in self.parts for text in part.doubts(samples)]

    def first_doubts(self) -> list[str]:
        """Those of the parts."""
        return [f"{part.name}: {text}" for part in self.parts for text in part.first_doubts()]

    def fingerprint(self) -> str:
        """Hash of the parts' fingerprints."""
        text = "\n".join(f"{part.name} {part.fingerprint()}" for part in self.parts)
        text += "".join(f"\n{name} {self.weights[name]!r}" for name in sorted(self.weights))
        return hashlib.sha256(text.encode()).hexdigest()


def _identity(task: Task) -> dict[str, Any]:
    config = task.to_config()
    return {key: config[key] for key in ("kind", "channels", "class_names") if key in config}


def _union(parts: Sequence[Protocol]) -> tuple[Task, ...]:
    """Tasks of all parts, in the order of first appearance."""
    found: dict[str, tuple[Task, Protocol]] = {}
    for part in parts:
        for task in part.tasks:
            first, owner = found.setdefault(task.name, (task, part))
            if _identity(first) != _identity(task):
                raise InputError(
                    f"Task {task.name!r} means {_identity(first)} in {owner.name!r} but "
                    f"{_identity(task)} in {part.name!r}. If they differ, rename one: give its key "
                    f"under 'tasks' another name, with 'kind: {task.kind}'."
                )
    return tuple(task for task, _ in found.values())
