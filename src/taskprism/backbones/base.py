"""The contract of a backbone: image -> list of feature maps, finest first."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, Self

from torch import Tensor, nn

from taskprism.backbones.layer_groups import LayerGroups, groups_of_children
from taskprism.errors import InputError
from taskprism.layers.resize import ceil_divide
from taskprism.options import read_trainable
from taskprism.registry import Registry, describe_part


class Backbone(nn.Module, ABC):
    """Image ``(B, C, H, W)`` -> maps ``(B, channels[i], ceil(H/strides[i]), ceil(W/strides[i]))``.

    Necks (feature pyramid, fusion, ASPP, ViT pyramid) are backbones that wrap a backbone.

    Attributes:
        channels: Channels of each map, finest first.
        strides: Downsampling of each map, increasing.
        image_mean: Per-channel mean that the weights expect, of RGB in [0, 1] and, for images with
            more channels, of these.
        image_std: Per-channel standard deviation that the weights expect.
        weights: Source and license of the initial weights.
        trainable: What :meth:`set_trainable` chose: ``all``, ``none``, ``norms``, ``last:N`` or
            ``adapters``.
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
    image_mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    image_std: tuple[float, ...] = (0.229, 0.224, 0.225)
    weights: str = "random"
    trainable: str = "all"
    config: dict[str, Any] | None = None

    _keeps_statistics: bool = False  # of batch norm, in trained layers too
    _mode: bool = True  # asked for; a frozen backbone is not in training mode itself

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

    @property
    def watched(self) -> nn.Module:
        """Module whose output is the coarsest map, or a list that ends with it.

        Tools that watch the encoder put a hook there. A backbone whose parts also run without a
        call of the backbone itself returns one of these parts.
        """
        return self

    def feature_sizes(self, size: tuple[int, int]) -> list[tuple[int, int]]:
        """``(H, W)`` of every map for an input image of ``size``."""
        return [(ceil_divide(size[0], s), ceil_divide(size[1], s)) for s in self.strides]

    def layer_groups(self, coarse: bool = True) -> LayerGroups:
        """Names of all parameters by layer, from the image to the output.

        ``last:N`` and layer-wise learning rates use them. By default they follow from the order in
        which layers are defined (:func:`~taskprism.backbones.layer_groups.groups_of_children`);
        override the method if yours run in another order.

        Args:
            coarse: Stages of a network that has some, for ``last:N``; otherwise blocks.
        """
        return groups_of_children(self, coarse)

    def adapter_parameters(self) -> list[nn.Parameter]:
        """Parameters that ``adapters`` trains: those of modules whose ``is_adapter`` is true."""
        adapters = (module for module in self.modules() if getattr(module, "is_adapter", False))
        return [parameter for module in adapters for parameter in module.parameters()]

    def set_trainable(self, part: str = "all", freeze_batch_norm: bool = False) -> None:
        """Choose which parameters are trained; all others have ``requires_grad`` false.

        Layers without any trained parameter run as in evaluation, even in training mode: batch norm
        uses its running statistics, which stay as they are, and dropout does nothing. A backbone
        without trained parameters keeps no activations for the backward pass.

        Args:
            part: ``all``; ``none``; ``norms``: scales and shifts of normalization layers;
                ``last:N``: the last N groups of :meth:`layer_groups`; or ``adapters``: the
                parameters of :meth:`adapter_parameters`.
            freeze_batch_norm: Keep the running statistics of batch norm in trained layers too.

        Raises:
            InputError: ``part`` is something else, or the backbone has no such parameters.
        """
        try:
            kind, number = read_trainable(part)
        except ValueError as error:
            raise InputError(f"Backbone {type(self).__name__}: {error}.") from None
        named = dict(self.named_parameters())
        if kind == "last":
            groups = self.layer_groups(coarse=True)
            if number > len(groups):
                raise InputError(
                    f"Backbone {type(self).__name__} has {len(groups)} groups of layers, so "
                    f"{part!r} does not exist; use last:{len(groups)} or less, or all."
                )
            chosen = {id(named[name]) for names in groups[-number:] for name in names}
        elif kind == "adapters":
            chosen = {id(parameter) for parameter in self.adapter_parameters()}
        elif kind == "norms":
            norms = (module for module in self.modules() if _is_norm(module))
            chosen = {id(p) for norm in norms for p in norm.parameters(recurse=False)}
        else:
            chosen = {id(parameter) for parameter in named.values()} if kind == "all" else set()
        if not chosen and kind in _NEEDED:
            raise InputError(
                f"Backbone {type(self).__name__} has no {_NEEDED[kind]}; set backbone.trainable to "
                "all, none or last:N, or choose another backbone."
            )
        if part != "all" or self.trainable != "all":  # "all" keeps what the backbone froze itself
            for parameter in named.values():
                parameter.requires_grad_(id(parameter) in chosen)
        self.trainable, self._keeps_statistics = part, freeze_batch_norm
        self.train(self._mode)

    def train(self, mode: bool = True) -> Self:
        """Set the mode; in training, frozen layers run as in evaluation (:meth:`set_trainable`)."""
        super().train(mode)
        if mode and self.trainable != "all":
            for module in _frozen_modules(self):
                module.eval()
        if mode and self._keeps_statistics:
            for module in self.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        self._mode = mode
        return self


_NEEDED = {
    "norms": "normalization layers with parameters",
    "adapters": "adapters (modules whose attribute is_adapter is true)",
}


def _is_norm(module: nn.Module) -> bool:
    """Whether a module normalizes; timm has its own classes in addition to PyTorch's."""
    known = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm)
    return isinstance(module, known) or "norm" in type(module).__name__.lower()


def _frozen_modules(module: nn.Module) -> Iterator[nn.Module]:
    """Largest modules with parameters of which none is trained."""
    parameters = list(module.parameters())
    if parameters and not any(parameter.requires_grad for parameter in parameters):
        yield module
    elif parameters:
        for child in module.children():
            yield from _frozen_modules(child)


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
