"""A protocol: everything that makes two scores comparable, under one name.

:data:`PROTOCOLS` is the registry of protocols. A data set of your own is a subclass of
:class:`Protocol` in any module, see there.
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import typing
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self, cast

from torch.utils.data import Dataset

from taskprism.data import transforms
from taskprism.data.sample import Sample
from taskprism.errors import InputError, UnknownNameError
from taskprism.options import Size, read_options
from taskprism.registry import Registry, describe_part
from taskprism.stores.paths import AnyPath
from taskprism.tasks.base import Task

Split = Literal["train", "val", "test"]
Transform = Callable[[Sample], Sample]

#: Fields that are given in another way than as options of a protocol.
_NOT_OPTIONS = ("name", "root", "tasks", "license")


class SizedDataset(typing.Protocol):
    """Samples by number: any ``torch.utils.data.Dataset`` with a length, or a list.

    Example:
        >>> samples: SizedDataset = [{"name": "a", "targets": {}, "valid": {}}]
        >>> len(samples)
        1
    """

    def __len__(self) -> int:
        """Number of samples."""
        ...

    def __getitem__(self, index: int, /) -> Sample:
        """Sample ``index``, from 0."""
        ...


class TransformedDataset(Dataset[Sample]):
    """The samples of a data set after a transform.

    Args:
        dataset: Samples by number, such as a list.
        transform: Applied to every sample; None returns them unchanged.

    Example:
        >>> samples = TransformedDataset(["a", "b"], str.upper)
        >>> len(samples), samples[1]
        (2, 'B')
    """

    def __init__(self, dataset: SizedDataset, transform: Transform | None = None) -> None:
        self.dataset = dataset
        self.transform = transform

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        sample = self.dataset[index]
        return sample if self.transform is None else self.transform(sample)


@dataclass(frozen=True)
class ExtraChannel:
    """A channel of the images after red, green and blue.

    Attributes:
        name: Of the input, such as ``"depth"``.
        mean: Mean of its values, which the model subtracts.
        std: Their standard deviation, by which the model divides.

    Example:
        >>> ExtraChannel("thermal", mean=0.4).std
        0.25
    """

    name: str
    mean: float = 0.5
    std: float = 0.25


@dataclass(frozen=True, kw_only=True)
class Protocol(ABC):
    """A named benchmark: data, tasks and classes, input size, augmentation, metric conventions.

    A data set of your own needs a name, tasks, an input size and a method ``dataset``:

    Example:
        >>> import torch
        >>> from taskprism.data import Protocol, TransformedDataset, make_sample
        >>> from taskprism.tasks import Depth
        >>> class Slopes(Protocol):
        ...     name = "slopes"
        ...     tasks = (Depth(),)
        ...     input_size = (16, 24)
        ...
        ...     def dataset(self, split, transform=None):
        ...         samples = []
        ...         for i in range(3):
        ...             image = torch.rand(3, 32, 48)
        ...             labels = {"depth": 1 + 4 * image[0]}
        ...             samples.append(make_sample(f"{split}{i}", image, labels, self.tasks))
        ...         return TransformedDataset(samples, transform)
        >>> slopes = Slopes()
        >>> slopes.dataset("train", slopes.evaluation_transform())[0]["image"].shape
        torch.Size([3, 16, 24])

    The decorator ``@register_protocol`` lets recipes and commands find it by its name. Options of
    your own, such as a folder or a length, are dataclass fields: annotate them and decorate the
    class with ``@dataclass(frozen=True, kw_only=True)``. A method ``dataset(self, split)`` without
    ``transform`` is accepted too; the transform is then applied to what it returns.

    The defaults of the other methods: training images are resized to ``input_size`` and flipped
    horizontally with probability 0.5, test images are resized, and the fingerprint covers the
    class, its options and the number of samples. Override :meth:`fingerprint` where data can change
    under the same options.

    Attributes:
        name: Printed with every score.
        tasks: All tasks the data can label, each with its loss weight and metric options.
        input_size: ``(H, W)`` of the network's input.
        root: Folder of the data, where the protocol has one.
        license: Terms of the data, shown when it is loaded.
        splits: The splits it has.

    Raises:
        InputError: It has no name, or its tasks or input size are invalid.
    """

    name: str = ""
    tasks: tuple[Task, ...] = ()
    input_size: Size = (0, 0)
    root: str | None = None
    license: str = field(default="", compare=False)

    splits: ClassVar[tuple[Split, ...]] = ("train", "test")

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        dataset = cls.__dict__.get("dataset")
        if inspect.isfunction(dataset) and "transform" not in inspect.signature(dataset).parameters:
            cast(Any, cls).dataset = _with_transform(dataset)

    def __post_init__(self) -> None:
        # A subclass without @dataclass sets class attributes, which the inherited __init__ ignores.
        for one in dataclasses.fields(Protocol):
            stated = getattr(type(self), one.name)
            if getattr(self, one.name) == one.default and stated != one.default:
                object.__setattr__(self, one.name, stated)
        if not self.name:
            raise InputError(
                f"Protocol {describe_part(type(self))} has no name. Set its class attribute 'name'."
            )
        if not all(isinstance(task, Task) for task in self.tasks):
            raise InputError(
                f"The tasks of protocol {self.name!r} must be Task objects, such as "
                f"create_task('depth'); got {self.tasks!r}."
            )
        object.__setattr__(self, "tasks", tuple(self.tasks))
        if len(self.input_size) != 2 or min(self.input_size) < 1:
            raise InputError(
                f"input_size of protocol {self.name!r} is {self.input_size!r}. Give (height, "
                "width), each at least 1."
            )

    @property
    def extra_channels(self) -> tuple[ExtraChannel, ...]:
        """Channels of the images after red, green and blue; by default none."""
        return ()

    @property
    def in_channels(self) -> int:
        """Channels of the images."""
        return 3 + len(self.extra_channels)

    @property
    def scores_at_label_size(self) -> bool:
        """Whether test labels keep their own sizes, to which predictions are then resized."""
        return False

    @property
    def scored_split(self) -> Split:
        """Split whose scores are the result of a run: test, or val where there is no test split."""
        return "test" if "test" in self.splits or "val" not in self.splits else "val"

    @abstractmethod
    def dataset(self, split: Split, transform: Transform | None = None) -> SizedDataset:
        """Samples of a split at their own size, after ``transform``."""

    def train_transform(self) -> Transform:
        """Augmentation, ending at ``input_size``."""
        flip = transforms.RandomHorizontalFlip(0.5)
        return transforms.Compose([transforms.Resize(self.input_size), flip])

    def evaluation_transform(self) -> Transform:
        """What test images go through, ending at ``input_size``; no randomness."""
        return transforms.Resize(self.input_size)

    def fingerprint(self) -> str:
        """Hash of what the data is (files with sizes, or generator version), for the manifest."""
        options = {key: getattr(self, key) for key in self.option_names()}
        counts = {split: len(self.dataset(split)) for split in self.splits}
        parts = [self.name, type(self).__qualname__, self.input_size, options, counts]
        return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()

    def remarks(self) -> list[str]:
        """What ``taskprism data check`` should say about the files, one sentence each."""
        return []

    def doubts(self, samples: int | None = None) -> list[str]:
        """What is implausible about the files, which samples do not show.

        Args:
            samples: Number of samples of each split to open, from the first; by default all.
        """
        return []

    def first_doubts(self) -> list[str]:
        """Doubts that a look at the lists and at a few files finds, before training starts."""
        return self.doubts(samples=8)

    @classmethod
    def option_names(cls) -> list[str]:
        """Options that :func:`~taskprism.data.create_protocol` and recipes can set."""
        return [f.name for f in dataclasses.fields(cls) if f.init and f.name not in _NOT_OPTIONS]

    @classmethod
    def from_options(cls, options: Mapping[str, Any], root: AnyPath | None = None) -> Self:
        """Protocol with some of its options changed, as they come from YAML.

        Raises:
            InputError: An option is unknown or has an invalid value.
        """
        values = cls._checked(options)
        if root is not None:
            values["root"] = str(root)
        required = [
            f.name
            for f in dataclasses.fields(cls)
            if f.init and f.default is f.default_factory is dataclasses.MISSING
        ]
        missing = [name for name in required if name not in values]
        if missing:
            raise InputError(
                f"{describe_part(cls)} cannot be made without {', '.join(missing)}. Give an "
                "instance, or these options."
            )
        return cls(**values)

    def with_options(self, options: Mapping[str, Any]) -> Self:
        """This protocol with some of its options changed.

        Raises:
            InputError: An option is unknown or has an invalid value.
        """
        return dataclasses.replace(self, **self._checked(options))

    @classmethod
    def _checked(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        known = cls.option_names()
        unknown = sorted(set(options) - set(known))
        if unknown:
            raise InputError(
                f"Protocol {cls.name!r} has no option {', '.join(unknown)}; it has "
                f"{', '.join(known)}."
            )
        return {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in read_options(f"Protocol {cls.name!r}", options, cls).items()
        }

    def task(self, name: str) -> Task:
        """Task of that name.

        Raises:
            UnknownNameError: There is none; the message lists those that exist.
        """
        for task in self.tasks:
            if task.name == name:
                return task
        raise UnknownNameError(
            f"task in protocol {self.name!r}", name, [task.name for task in self.tasks]
        )

    def check_split(self, split: str) -> None:
        """Raise :class:`InputError` if the protocol has no such split."""
        if split not in self.splits:
            raise InputError(
                f"Protocol {self.name!r} has no split {split!r}; it has {', '.join(self.splits)}."
            )


def _with_transform(dataset: Callable[[Any, Split], SizedDataset]) -> Callable[..., SizedDataset]:
    """``dataset(self, split)`` with a parameter ``transform``."""

    def transformed(self: Any, split: Split, transform: Transform | None = None) -> SizedDataset:
        samples = dataset(self, split)
        return samples if transform is None else TransformedDataset(samples, transform)

    transformed.__doc__ = dataset.__doc__
    return transformed


#: Protocols with code, by name; data YAMLs need none.
PROTOCOLS: Registry[Protocol] = Registry("protocol", Protocol, package="taskprism.data")
register_protocol = PROTOCOLS.register
