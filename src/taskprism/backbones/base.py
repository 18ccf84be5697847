"""The contract of a backbone: image -> list of feature maps, finest first."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Self

from torch import Tensor, nn

from taskprism.errors import InputError
from taskprism.layers.resize import ceil_divide
from taskprism.registry import Registry, describe_part


class Backbone(nn.Module, ABC):
    """Image ``(B, 3, H, W)`` -> maps ``(B, channels[i], ceil(H/strides[i]), ceil(W/strides[i]))``.

    Necks (feature pyramid, fusion, ASPP, ViT pyramid) are backbones that wrap a backbone.

    Attributes:
        channels: Channels of each map, finest first.
        strides: Downsampling of each map, increasing.
        image_mean: Per-channel mean that the weights expect, of RGB in [0, 1].
        image_std: Per-channel standard deviation that the weights expect.
        weights: Source and license of the initial weights.
        config: ``{"name", "options"}`` from which
            :func:`~taskprism.backbones.create_backbone` builds the same backbone, or None if its
            constructor was called with arguments that JSON cannot hold.

    Example:
        >>> import torch
        >>> from taskprism.backbones import Backbone
        >>> class Patches(Backbone):
        ...     channels, strides = (16,), (8,)
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.embed = torch.nn.Conv2d(3, 16, kernel_size=8, stride=8)
        ...     def forward(self, images):
        ...         return [self.embed(images)]
        >>> Patches().feature_sizes((64, 96))
        [(8, 12)]
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]
    image_mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    image_std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    weights: str = "random"
    config: dict[str, Any] | None = None

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Record the arguments, from which a saved model builds its backbone again."""
        backbone = super().__new__(cls)
        options = arguments_by_name(cls, args, kwargs)
        if options is not None and is_plain(options):
            options.pop("pretrained", None)  # a saved model holds all weights
            # Modules cannot set attributes before their own constructor has run.
            object.__setattr__(backbone, "config", {"name": cls, "options": options})
        return backbone

    @abstractmethod
    def forward(self, images: Tensor) -> list[Tensor]:
        """Feature maps of a normalized image batch, finest first."""

    def feature_sizes(self, size: tuple[int, int]) -> list[tuple[int, int]]:
        """``(H, W)`` of every map for an input image of ``size``."""
        return [(ceil_divide(size[0], s), ceil_divide(size[1], s)) for s in self.strides]


#: Backbones that :func:`~taskprism.backbones.create_backbone` knows in addition to timm's.
BACKBONES: Registry[Backbone] = Registry("backbone", Backbone, factories=True)
register_backbone = BACKBONES.register


class Neck(Backbone):
    """A backbone that transforms the maps of another backbone.

    Args:
        trunk: The wrapped backbone.
        channels: Channels of each map of this neck, finest first.
        strides: Stride of each map of this neck.

    Example:
        >>> import torch
        >>> from taskprism.backbones import Neck, create_backbone
        >>> class Finest(Neck):
        ...     def transform(self, maps):
        ...         return maps[:1]
        >>> trunk = create_backbone("test_resnet", neck="none")
        >>> len(Finest(trunk, trunk.channels[:1], trunk.strides[:1])(torch.rand(1, 3, 64, 64)))
        1
    """

    def __init__(
        self, trunk: Backbone, channels: tuple[int, ...], strides: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.trunk = trunk
        self.channels = channels
        self.strides = strides
        self.image_mean = trunk.image_mean
        self.image_std = trunk.image_std
        self.weights = trunk.weights

    def forward(self, images: Tensor) -> list[Tensor]:
        """The trunk's maps, transformed."""
        return self.transform(self.trunk(images))

    @abstractmethod
    def transform(self, maps: list[Tensor]) -> list[Tensor]:
        """Maps of the trunk -> maps of this neck."""


class ModuleBackbone(Backbone):
    """Any module with ``channels`` and ``strides`` as a backbone.

    Args:
        module: Maps an image batch to a sequence of feature maps, finest first.

    Raises:
        InputError: The module lacks ``channels`` or ``strides``, or they do not match.

    Example:
        >>> from torch import nn
        >>> from taskprism.backbones import ModuleBackbone
        >>> module = nn.Sequential(nn.Conv2d(3, 16, kernel_size=8, stride=8))
        >>> module.channels, module.strides = (16,), (8,)
        >>> ModuleBackbone(module).channels
        (16,)
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        channels, strides = (_integers(module, name) for name in ("channels", "strides"))
        if len(channels) != len(strides) or not channels or list(strides) != sorted(strides):
            raise InputError(
                f"Backbone {type(module).__name__} has channels={channels} and strides={strides}; "
                "give one entry per feature map, finest map first."
            )
        self.model = module
        self.channels, self.strides = channels, strides
        for name in ("image_mean", "image_std"):
            if hasattr(module, name):
                setattr(self, name, tuple(getattr(module, name)))

    def forward(self, images: Tensor) -> list[Tensor]:
        """The module's maps."""
        maps = self.model(images)
        return [maps] if isinstance(maps, Tensor) else list(maps)


def as_backbone(module: Any) -> Backbone:
    """The backbone itself, or any module with ``channels`` and ``strides`` wrapped as one.

    Raises:
        InputError: It is not a module, or lacks ``channels`` or ``strides``.

    Example:
        >>> from torch import nn
        >>> from taskprism.backbones.base import as_backbone
        >>> module = nn.Conv2d(3, 16, kernel_size=8, stride=8)
        >>> module.channels, module.strides = (16,), (8,)
        >>> type(as_backbone(module)).__name__
        'ModuleBackbone'
    """
    if isinstance(module, Backbone):
        missing = [name for name in ("channels", "strides") if not hasattr(module, name)]
        if missing:
            raise InputError(
                f"Backbone {type(module).__name__} has no {' and no '.join(missing)}; set it to "
                "one entry per feature map, finest map first."
            )
        return module
    if isinstance(module, nn.Module):
        return ModuleBackbone(module)
    raise InputError(
        "Expected a backbone: a timm name, a registered name, 'module:Class', a subclass of "
        "taskprism.backbones.Backbone, a function that returns one, or a torch.nn.Module with "
        f"channels and strides; got {describe_part(module)}."
    )


def arguments_by_name(
    cls: type, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Arguments of the constructor of a class by name; None if they do not fit or have no names.

    Example:
        >>> from taskprism.backbones.base import arguments_by_name
        >>> class Box:
        ...     def __init__(self, width, height=1): ...
        >>> arguments_by_name(Box, (3,), {"height": 2})
        {'width': 3, 'height': 2}
    """
    signature = inspect.signature(cls.__init__)
    try:
        bound = signature.bind(None, *args, **kwargs)
    except TypeError:
        return None  # the constructor itself reports wrong arguments
    named: dict[str, Any] = {}
    for name, value in list(bound.arguments.items())[1:]:
        kind = signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            return None
        named |= value if kind is inspect.Parameter.VAR_KEYWORD else {name: value}
    return named


def is_plain(value: Any) -> bool:
    """Whether JSON can hold the value (tuples become lists).

    Example:
        >>> from taskprism.backbones.base import is_plain
        >>> is_plain({"channels": (8, 16)}), is_plain(object())
        (True, False)
    """
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and is_plain(each) for key, each in value.items())
    if isinstance(value, list | tuple):
        return all(is_plain(each) for each in value)
    return value is None or isinstance(value, str | int | float)


def _integers(module: nn.Module, name: str) -> tuple[int, ...]:
    values = getattr(module, name, None)
    if not isinstance(values, list | tuple) or not all(isinstance(each, int) for each in values):
        raise InputError(
            f"Backbone {type(module).__name__} has {name}={values!r}; set it to a tuple of "
            "integers, one per feature map, finest map first. Subclass "
            "taskprism.backbones.Backbone for the whole contract."
        )
    return tuple(values)
