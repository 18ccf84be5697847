"""The contract of a distillation module: task features in, refined task features out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from taskprism.checks import check_channels, check_integer, check_size
from taskprism.errors import InputError
from taskprism.options import read_options
from taskprism.registry import Registry, check_options, describe_part, options_of


class Distillation(nn.Module, ABC):
    """Dictionary of task features -> dictionary of refined task features, same shape.

    A subclass is created as ``MyModule(tasks, channels, sources=sources, **options)``, with flat
    keyword options that have defaults; ``size`` is passed too if it declares ``needs_size``.

    Args:
        tasks: Names of the tasks whose features are refined (the main tasks).
        channels: Channels of every task's feature map.
        sources: Names of the tasks whose features are read, in order; must contain ``tasks``
            (main and auxiliary ones). By default ``tasks``.

    Attributes:
        name: Name in :data:`taskprism.distillation.DISTILLATIONS`.
        needs_size: The module is built for one feature size and takes ``size=(H, W)``.
        needs_predictions: ``forward`` reads the sources' initial predictions too.

    Raises:
        InputError: There is no task, a task is not among the sources, a source is given twice, or
            ``channels`` is not a positive integer.

    Example:
        >>> import torch
        >>> from taskprism.distillation import Distillation
        >>> class Average(Distillation):
        ...     name = "average"
        ...     def forward(self, features, predictions=None):
        ...         mean = sum(features.values()) / len(features)
        ...         return {task: features[task] + mean for task in self.tasks}
        >>> module = Average(["depth"], channels=8, sources=["depth", "edge"])
        >>> module({name: torch.ones(1, 8, 4, 4) for name in module.sources})["depth"].shape
        torch.Size([1, 8, 4, 4])
    """

    name: ClassVar[str]
    needs_size: ClassVar[bool] = False
    needs_predictions: ClassVar[bool] = False

    def __init__(
        self, tasks: Sequence[str], channels: int, sources: Sequence[str] | None = None
    ) -> None:
        super().__init__()
        owner = type(self).__name__
        self.tasks = _checked_names(owner, "tasks", tasks)
        self.sources = _checked_names(owner, "sources", tasks if sources is None else sources)
        self.channels = check_channels(owner, "channels", channels)
        missing = [task for task in self.tasks if task not in self.sources]
        if missing:
            raise InputError(
                f"{owner}: tasks {missing} are not among the sources {self.sources}; a task is "
                "refined from its own features, so add it to the sources."
            )

    @classmethod
    def options_at(cls, stride: int) -> dict[str, Any]:
        """Default options for feature maps at ``stride`` of the image, if they depend on it.

        A model that distills at several scales calls this for each of them. Options that the user
        gives take precedence.
        """
        return {}

    @property
    def any_size(self) -> bool:
        """Whether maps of any size can be refined."""
        return not self.needs_size

    @abstractmethod
    def forward(
        self, features: Mapping[str, Tensor], predictions: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Refine the features of each task.

        Args:
            features: source name -> ``(B, channels, H, W)``.
            predictions: source name -> raw initial prediction ``(B, any, h, w)``; read only by
                modules that declare ``needs_predictions``.

        Returns:
            task name -> ``(B, channels, H, W)`` for each of ``tasks``.
        """


#: Every distillation module by :attr:`Distillation.name`.
DISTILLATIONS: Registry[Distillation] = Registry(
    "distillation", Distillation, package="taskprism.distillation", factories=True
)
register_distillation = DISTILLATIONS.register


def list_distillations() -> list[str]:
    """Names that :func:`create_distillation` accepts, in alphabetical order.

    Example:
        >>> "ctal" in list_distillations()
        True
    """
    return DISTILLATIONS.names()


def find_distillation(
    distillation: str | type[Distillation] | Callable[..., Distillation],
) -> Any:
    """Class or factory of a registered name or of ``"module:Class"``.

    Raises:
        UnknownNameError: No distillation has this name.

    Example:
        >>> find_distillation("ctal").__name__
        'CTAL'
    """
    return DISTILLATIONS.find(distillation)


def create_distillation(
    distillation: str | type[Distillation] | Callable[..., Distillation] | Distillation,
    tasks: Sequence[str],
    channels: int,
    sources: Sequence[str] | None = None,
    size: tuple[int, int] | None = None,
    stride: int | None = None,
    **options: Any,
) -> Distillation:
    """Create a cross-task module.

    Args:
        distillation: One of :func:`list_distillations`, ``"module:Class"``, a subclass of
            :class:`Distillation`, a factory that takes the same arguments, or a module, which is
            returned as it is if its tasks, sources and channels are the given ones.
        tasks: Names of the tasks whose features are refined.
        channels: Channels of every task's feature map.
        sources: Names of the tasks whose features are read; by default ``tasks``.
        size: ``(H, W)`` of the feature maps; read only by modules that declare ``needs_size``.
        stride: Stride of the feature maps relative to the image. Some defaults depend on it, such
            as the downscaling before attention. By default the class's defaults apply.
        **options: Options of the class.

    Raises:
        UnknownNameError: No distillation or option has this name.
        InputError: The module needs a size and none is given, a given module does not fit, or a
            value has the wrong type or is out of range.

    Example:
        >>> from taskprism.distillation import create_distillation
        >>> create_distillation("tpim", ["semseg", "depth"], channels=8, downscale=2).downscale
        2
    """
    owner = "create_distillation"
    tasks = _checked_names(owner, "tasks", tasks)
    sources = tasks if sources is None else _checked_names(owner, "sources", sources)
    if isinstance(distillation, Distillation):
        return _checked_module(distillation, tasks, channels, sources, options)
    found = DISTILLATIONS.find(distillation)
    name = distillation if isinstance(distillation, str) else describe_part(found)
    defaults: dict[str, Any] = {}
    if isinstance(found, type) and issubclass(found, Distillation):
        check_options(
            f"distillation {name!r}", options, set(options_of(found)) - {"sources", "size"}
        )
        options = read_options(f"Distillation {name!r}", options, found)
        if found.needs_size:
            if size is None:
                raise InputError(
                    f"Distillation {name!r} works at one size of feature maps: give "
                    "size=(H, W) here, or the size of the images in create_model."
                )
            options["size"] = check_size(f"Distillation {name!r}", "size", size)
        if stride is not None:
            check_integer(f"Distillation {name!r}", "stride", stride, low=1)
            defaults = found.options_at(stride)
    module = found(tasks, channels, sources=sources, **{**defaults, **options})
    return _checked_module(module, tasks, channels, sources, {})


def _checked_names(owner: str, key: str, names: Any) -> list[str]:
    valid = isinstance(names, Sequence) and not isinstance(names, str)
    if not valid or not names or not all(isinstance(name, str) for name in names):
        raise InputError(f"{owner}: {key} must be a list of task names, got {names!r}.")
    if len(set(names)) != len(names):
        raise InputError(f"{owner}: {key} {list(names)} name a task twice.")
    return list(names)


def _checked_module(
    module: Any, tasks: list[str], channels: int, sources: list[str], options: Mapping[str, Any]
) -> Distillation:
    if not isinstance(module, Distillation):
        raise InputError(f"Expected a Distillation from the factory, got {type(module).__name__}.")
    name = type(module).__name__
    if options:
        raise InputError(
            f"{name} is an instance, so {', '.join(options)} cannot be set; give the class instead."
        )
    found = {"tasks": module.tasks, "sources": module.sources, "channels": module.channels}
    for key, wanted in {"tasks": tasks, "sources": sources, "channels": channels}.items():
        if found[key] != wanted:
            raise InputError(
                f"{name} was built for {key} {found[key]}, but this model needs {wanted}; build "
                "it for these, or give the class instead."
            )
    return module
