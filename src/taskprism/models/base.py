"""The contract of a model: normalized images in, :class:`Predictions` out. Models by name."""

from __future__ import annotations

import inspect
import math
import re
import sys
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Self, overload

import torch
from torch import Tensor, nn

from taskprism.backbones import BACKBONES, Backbone, create_backbone
from taskprism.backbones.base import arguments_by_name
from taskprism.backbones.create import MOST_IMAGE_CHANNELS, backbone_options
from taskprism.checks import LONGEST_SIDE
from taskprism.data.images import (
    ImageSource,
    is_folder,
    read_channels,
    read_folder,
    read_source,
)
from taskprism.distillation import Distillation
from taskprism.errors import CheckpointError, InputError
from taskprism.models.hub import SavedModel
from taskprism.models.inference import Inference, NetworkSize
from taskprism.models.predicted_image import PredictedImage, predict_each
from taskprism.models.predictions import Predictions
from taskprism.options import read_options
from taskprism.registry import Registry, check_options, options_of
from taskprism.tasks import resolve_tasks, task_from_config
from taskprism.tasks.base import Task

Tasks = Mapping[str, int | None] | Sequence[Task | type[Task] | str | Mapping[str, Any]]
#: What :func:`create_model` accepts as a backbone.
AnyBackbone = str | type[nn.Module] | Callable[..., nn.Module] | nn.Module
_GIVEN = ("tasks", "auxiliary_tasks", "backbone")
_BACKBONE_OPTIONS = "backbone_options"
_MOST_TASKS = 100  # of a saved model
_PART = re.compile(r"([A-Za-z_][\w.]*):[A-Za-z_][\w.]*")


class MultiTaskModel(SavedModel):
    """Base of every system.

    A subclass composes a backbone, initial heads, propagation, distillation, aggregation and final
    heads. Its constructor takes ``(tasks, auxiliary_tasks, backbone)`` and keyword options with
    plain defaults; :func:`create_model` creates the backbone.

    Attributes:
        name: Key in :data:`taskprism.models.MODELS`; by default the name of the class.
        tasks: Main tasks, predicted at the end.
        auxiliary_tasks: Tasks that only the front end predicts, in addition to the main ones.
        uses_auxiliary_tasks: Whether the system has a front end for auxiliary tasks.
        has_initial_predictions: Whether ``forward`` returns initial predictions.
        any_input_size: Whether it accepts images of any size. On the class: with default options.
        input_size: ``(H, W)`` of the images that it was built for or trained on; None if that is
            not known. It is saved with the model, and :meth:`predict` resizes images to it.
        depends_on_task_order: Whether weights fit only tasks in the same order, for example
            because a layer concatenates tasks.
        exports: Whether ``torch.export`` can trace it.
        start_options: Options that only set initial weights; they are not part of ``config``.
        backbone_type: Class that its backbone must have; ``Backbone`` means every backbone.

    Example:
        >>> import taskprism
        >>> from torch import nn
        >>> from taskprism.models import MultiTaskModel, Predictions
        >>> class Linear(MultiTaskModel):
        ...     def __init__(self, tasks, auxiliary_tasks=(), backbone=None):
        ...         super().__init__(tasks, auxiliary_tasks, backbone)
        ...         self.heads = nn.ModuleDict({t.name: nn.Conv2d(3, t.channels, 1) for t in tasks})
        ...     def forward(self, images):
        ...         return Predictions({name: head(images) for name, head in self.heads.items()})
        >>> taskprism.create_model(Linear, {"depth": 1}, backbone="resnet18").name
        'Linear'
    """

    name: ClassVar[str]
    uses_auxiliary_tasks: ClassVar[bool] = False
    has_initial_predictions: ClassVar[bool] = False
    any_input_size: bool = True
    input_size: tuple[int, int] | None = None
    depends_on_task_order: ClassVar[bool] = False
    exports: ClassVar[bool] = True
    start_options: ClassVar[tuple[str, ...]] = ()
    backbone_type: ClassVar[type[Backbone]] = Backbone

    image_mean: Tensor
    image_std: Tensor
    _request: dict[str, Any] | None
    _config: dict[str, Any] | None

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if not hasattr(cls, "name"):
            cls.name = cls.__name__

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Record the arguments, so that a model created by its constructor can be saved too."""
        model = super().__new__(cls, *args, **kwargs)
        # Modules cannot set attributes before their own constructor has run.
        object.__setattr__(model, "_config", None)
        object.__setattr__(model, "_request", _constructor_request(cls, args, kwargs))
        return model

    def __init__(
        self,
        tasks: Sequence[Task],
        auxiliary_tasks: Sequence[Task] = (),
        backbone: Backbone | None = None,
    ) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        self.auxiliary_tasks = tuple(auxiliary_tasks)
        self._check_tasks()
        for statistic, neutral in (("image_mean", 0.0), ("image_std", 1.0)):
            # On the CPU even if the model is built without data, on the meta device.
            values = torch.tensor(getattr(backbone, statistic, [neutral] * 3), device="cpu")
            self.register_buffer(statistic, values.view(-1, 1, 1), persistent=False)

    @property
    def config(self) -> dict[str, Any]:
        """Plain values from which :func:`taskprism.load` creates the same model.

        Raises:
            InputError: The model cannot be rebuilt; the message says why.
        """
        if self._config is None:
            self._config = self._describe()
        if self.input_size is None:
            return self._config
        return {**self._config, "input_size": list(self.input_size)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Model with random weights from :attr:`config`, which may come from a stranger.

        Names of classes resolve only if their modules are imported (``Registry.find_saved``).
        Options that would download or open other files are refused.

        Raises:
            CheckpointError: A value has the wrong type or is out of range.
            TaskprismError: Other errors of :func:`create_model`.
        """
        _check_config(config, cls.start_options)
        backbone = config["backbone"]
        if isinstance(backbone, str) and (":" in backbone or backbone in BACKBONES):
            backbone = BACKBONES.find_saved(backbone)
        options = _resolve_saved(config["options"])
        model = create_model(
            cls,
            [task_from_config(task) for task in config["tasks"]],
            [task_from_config(task) for task in config["auxiliary_tasks"]],
            backbone=backbone,
            **options,
        )
        assert isinstance(model, cls)
        for name in ("image_mean", "image_std"):
            values = torch.tensor(config[name], device="cpu")  # also if the model is on "meta"
            if len(values) != model.in_channels:
                raise CheckpointError(
                    f"Expected {model.in_channels} numbers as {name} of a saved model, one per "
                    f"channel of its images, got {len(values)}. Correct the file."
                )
            getattr(model, name).copy_(values.view(-1, 1, 1))
        model._config = {**model.config, **{n: config[n] for n in ("image_mean", "image_std")}}
        if config.get("input_size") is not None and model.any_input_size:
            height, width = config["input_size"]
            model.input_size = (height, width)
        return model

    @classmethod
    def build(
        cls,
        tasks: Sequence[Task],
        auxiliary_tasks: Sequence[Task],
        backbone: AnyBackbone,
        pretrained: bool | str,
        options: Mapping[str, Any],
    ) -> Self:
        """Create backbone and model from flat options, and set the initial weights."""
        chosen, flat = cls._variant(options)
        for_backbone = flat.pop(_BACKBONE_OPTIONS, None) or {}
        if not isinstance(for_backbone, Mapping):
            raise InputError(
                f"Model {cls.name!r}: {_BACKBONE_OPTIONS} must map names to values, got "
                f"{for_backbone!r}."
            )
        known = chosen._backbone_options(backbone)
        own = chosen._own_options()
        check_options(f"{_BACKBONE_OPTIONS} of model {cls.name!r}", for_backbone, known)
        check_options(f"model {cls.name!r}", flat, {*own, *known, *cls.start_options})
        flat = read_options(f"Model {cls.name!r}", flat, chosen)
        flat_for_backbone = {k: v for k, v in flat.items() if k in known and k not in own}
        for_backbone = {**for_backbone, **flat_for_backbone}
        trunk = chosen._create_backbone(backbone, pretrained, for_backbone)
        model = chosen(tasks, auxiliary_tasks, trunk, **{k: v for k, v in flat.items() if k in own})
        model._start(pretrained, flat)
        return model

    @classmethod
    def _variant(cls, options: Mapping[str, Any]) -> tuple[type[Self], dict[str, Any]]:
        """Class that these options build, and the options that it takes."""
        return cls, dict(options)

    @classmethod
    def _own_options(cls) -> set[str]:
        """Options of the constructor."""
        return set(options_of(cls.__init__)) - set(_GIVEN)

    @classmethod
    def _backbone_options(cls, backbone: AnyBackbone) -> set[str]:
        """Options of the backbone."""
        return backbone_options(backbone)

    @classmethod
    def _create_backbone(
        cls, backbone: AnyBackbone, pretrained: bool | str, options: dict[str, Any]
    ) -> Any:
        """What the constructor takes as its backbone."""
        return create_backbone(backbone, pretrained, **options)

    def _start(self, pretrained: bool | str, options: Mapping[str, Any]) -> None:
        """Set initial weights other than those of the backbone."""

    @property
    def all_tasks(self) -> tuple[Task, ...]:
        """Main tasks, then auxiliary tasks: the order in which layers concatenate them."""
        return self.tasks + self.auxiliary_tasks

    def sgd_rate_factors(self) -> list[tuple[list[nn.Parameter], float]]:
        """Groups of parameters, each with a factor for its learning rate in SGD."""
        return []

    def set_image_statistics(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Change how :meth:`normalize` prepares images, for weights that expect other ones.

        Args:
            mean: Of each channel of RGB in [0, 1], and of the channels after these.
            std: Of each channel, greater than 0.
        """
        for buffer, values in ((self.image_mean, mean), (self.image_std, std)):
            buffer.copy_(torch.tensor(list(values), device="cpu").view(-1, 1, 1))
        if self._config is not None:
            own = {
                "image_mean": self.image_mean.flatten().tolist(),
                "image_std": self.image_std.flatten().tolist(),
            }
            self._config = {**self._config, **own}

    @property
    def in_channels(self) -> int:
        """Channels of the images: 3 for RGB; further ones, such as depth, follow."""
        return self.image_mean.shape[0]

    def check_input_size(self, size: tuple[int, int]) -> None:
        """Check that images of a size can pass; training calls it before its first step.

        A model that accepts some sizes only overrides it, and names sizes that work.

        Args:
            size: ``(H, W)``.

        Raises:
            InputError: They cannot.
        """
        if not self.any_input_size and self.input_size not in (None, tuple(size)):
            raise InputError(
                f"This {self.name} works at {self.input_size} pixels only, but the images have "
                f"{tuple(size)}. Set the size of the data to that of the model, or create the "
                "model for the size of the data."
            )

    def normalize(self, images: Tensor) -> Tensor:
        """RGB ``(B, 3, H, W)`` in [0, 1] -> the input that the weights of the network expect.

        Raises:
            InputError: The images have another number of channels than :attr:`in_channels`.
        """
        if images.shape[-3] != self.in_channels:
            raise InputError(
                f"This {self.name} takes images with {self.in_channels} channels (red, green, blue"
                f"{', then those of its data' if self.in_channels > 3 else ''}), got "
                f"{images.shape[-3]}."
            )
        return (images - self.image_mean) / self.image_std

    @overload
    def predict(
        self,
        images: Sequence[ImageSource],
        tasks: Sequence[str] | None = ...,
        *,
        size: NetworkSize = ...,
        flip: bool = ...,
        scales: Sequence[float] = ...,
        tile: int | None = ...,
        overlap: int = ...,
        batch_size: int = ...,
    ) -> list[PredictedImage]: ...

    @overload
    def predict(
        self,
        images: Any,
        tasks: Sequence[str] | None = ...,
        *,
        size: NetworkSize = ...,
        flip: bool = ...,
        scales: Sequence[float] = ...,
        tile: int | None = ...,
        overlap: int = ...,
        batch_size: int = ...,
    ) -> Any: ...

    def predict(
        self,
        images: Any,
        tasks: Sequence[str] | None = None,
        *,
        size: NetworkSize = None,
        flip: bool = False,
        scales: Sequence[float] = (1.0,),
        tile: int | None = None,
        overlap: int = 64,
        batch_size: int = 8,
    ) -> Any:
        """Predict every task at every pixel of photographs of any size.

        Args:
            images: A path, URL, open binary file, Pillow image, array or tensor (see
                :func:`taskprism.data.images.read_source`); or a list of these; or a folder. A
                model with more than 3 ``in_channels`` takes arrays ``(H, W, C)`` and tensors
                ``(C, H, W)`` of uint8 or of floats in the units of its data.
            tasks: Names of main tasks; by default all.
            size: ``(H, W)`` at about which the network sees the image; by default the
                ``input_size`` of the model, or if that is not known, the size of the image.
                ``"native"``: the size of the image.
            flip: Average with the predictions for the mirror image.
            scales: Average over these multiples of the size.
            tile: Side of square tiles, in pixels of the image, for images larger than memory
                allows; neighbors are blended.
            overlap: Pixels that neighboring tiles share.
            batch_size: Images of a list or folder that pass through the network together.

        Returns:
            A :class:`~taskprism.models.PredictedImage` at the size of the image; for a list, a
            list; for a folder, an iterator, which reads and predicts as it goes.

        Raises:
            InputError: An image has another form, or an option does not fit the model.
            DataError: A file is missing or broken.
            UnknownNameError: The model has no such task.

        Example:
            >>> import numpy as np
            >>> import taskprism
            >>> model = taskprism.create_model(
            ...     "multi_task", {"semseg": 3, "depth": 1}, backbone="test_resnet", neck="none")
            >>> result = model.predict(np.zeros((40, 60, 3), np.uint8))
            >>> result.depth.shape, result.semseg.dtype
            ((40, 60), dtype('uint8'))
        """
        how = Inference(size, flip, tuple(scales), tile, overlap)
        if self.in_channels > 3:
            several = isinstance(images, (list, tuple))
            read = read_channels(images if several else [images], self.in_channels)
            results = list(predict_each(self, read, tasks, how, batch_size))
            return results if several else results[0]
        if is_folder(images):
            return predict_each(self, read_folder(images), tasks, how, batch_size)
        if isinstance(images, (list, tuple)):
            named = (read_source(one, f"image_{n}") for n, one in enumerate(images, start=1))
            return list(predict_each(self, named, tasks, how, batch_size))
        return next(predict_each(self, [read_source(images)], tasks, how))

    def forward_tasks(self, images: Tensor, tasks: Sequence[str]) -> Predictions:
        """As :meth:`forward`, for callers that need these main tasks only."""
        return self(images)

    @abstractmethod
    def forward(self, images: Tensor) -> Predictions:
        """Predict.

        Args:
            images: ``(B, 3, H, W)``, normalized (see :meth:`normalize`).

        Returns:
            Raw outputs ``(B, channels, H, W)`` per main task, and the initial predictions.
        """

    def _describe(self) -> dict[str, Any]:
        request = self._request
        if request is None:
            raise InputError(
                f"This {self.name} was not created with create_model, so it cannot be rebuilt from "
                "a checkpoint; create it with taskprism.create_model, or call its constructor "
                "with tasks, a backbone from create_backbone, and plain options."
            )
        options = {k: v for k, v in request["options"].items() if k not in self.start_options}
        backbone, extra, flat = _describe_backbone(request["backbone"], self.name)
        options = {**extra, **options} if flat else options
        if extra and not flat:
            options[_BACKBONE_OPTIONS] = {**extra, **(options.get(_BACKBONE_OPTIONS) or {})}
        return {
            "name": MODELS.name_of(request["model"]),
            "tasks": [task.to_config() for task in self.tasks],
            "auxiliary_tasks": [task.to_config() for task in self.auxiliary_tasks],
            "backbone": backbone,
            "options": {k: _plain(k, v, self.name) for k, v in options.items()},
            "image_mean": self.image_mean.flatten().tolist(),
            "image_std": self.image_std.flatten().tolist(),
        }

    def _fit_size(self, size: Sequence[int] | None, *distillations: Distillation) -> None:
        """Record the image size for which ``distillations`` were built."""
        self.any_input_size = all(distillation.any_size for distillation in distillations)
        if size is not None:
            height, width = size
            self.input_size = (height, width)

    def _check_tasks(self) -> None:
        names = [task.name for task in self.all_tasks]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InputError(
                f"Tasks {twice} are named twice. The front end predicts the main tasks too, so "
                "auxiliary_tasks holds only additional ones. Name each task once."
            )
        unusable = [name for name in names if "." in name or hasattr(nn.ModuleDict, name)]
        if unusable:
            raise InputError(
                f"Tasks cannot be named {unusable}: torch.nn.ModuleDict uses task names as keys, "
                "which cannot contain a dot or be the name of one of its attributes."
            )
        if not self.tasks:
            raise InputError(f"{self.name} needs at least one main task; name it in tasks.")
        if self.auxiliary_tasks and not self.uses_auxiliary_tasks:
            raise InputError(
                f"{self.name} has no front end for auxiliary tasks "
                f"({', '.join(task.name for task in self.auxiliary_tasks)}); leave them out, "
                "or make them main tasks."
            )


#: Every model by :attr:`MultiTaskModel.name`.
MODELS: Registry[MultiTaskModel] = Registry("model", MultiTaskModel, package="taskprism.models")
register_model = MODELS.register


def list_models() -> list[str]:
    """Names that :func:`create_model` accepts, in alphabetical order.

    Example:
        >>> from taskprism.models import list_models
        >>> list_models()[:3]
        ['astmt', 'astmt_single_task', 'atrc']
    """
    return MODELS.names()


def find_model(model: str | type[MultiTaskModel]) -> type[MultiTaskModel]:
    """Class of a registered name or of ``"module:Class"``.

    Raises:
        UnknownNameError: No model has this name.

    Example:
        >>> from taskprism.models import find_model
        >>> find_model("mti_net").uses_auxiliary_tasks
        True
    """
    return MODELS.find(model)


def create_model(
    model: str | type[MultiTaskModel],
    /,
    tasks: Tasks,
    auxiliary_tasks: Tasks | None = None,
    backbone: AnyBackbone = "hrnet_w18_small_v2",
    pretrained: bool | str = False,
    **options: Any,
) -> MultiTaskModel:
    """Create a multi-task network.

    Args:
        model: One of :func:`list_models`, ``"module:Class"``, or a subclass of
            :class:`MultiTaskModel`.
        tasks: Main tasks: kind -> channels (``{"semseg": 40, "depth": 1}``), or a list of tasks,
            kinds and classes.
        auxiliary_tasks: Tasks that only the front end predicts, in the same forms.
        backbone: Anything that :func:`taskprism.backbones.create_backbone` accepts: any timm name,
            your own class or function, or an instance. ``astmt`` and ``astmt_single_task`` need one
            of :data:`taskprism.backbones.MODULATED`.
        pretrained: Backbone weights: False, True (hub), a path, or a weights package
            (see :func:`taskprism.backbones.create_backbone`).
        **options: Options of the model (see its class) and of the backbone (``neck``,
            ``neck_channels``, ``neck_stride``, ``finest_stride``, ``output_stride``,
            ``hrnet_upsampling``, ``batch_norm_momentum``, or the arguments of your own). If both
            have an option of the same name, the model receives it; give the one for the backbone as
            ``backbone_options={...}``.

    Returns:
        The model, in training mode.

    Raises:
        UnknownNameError: A model, task, backbone or option does not exist.
        InputError: A value is out of range, or values do not fit each other.
        CheckpointError: The weights of the backbone cannot be loaded.

    Example:
        >>> import taskprism
        >>> model = taskprism.create_model("pad_net", ["depth", "normals"], backbone="resnet18")
        >>> [task.name for task in model.tasks]
        ['depth', 'normals']
    """
    model_class = find_model(model)
    created = model_class.build(
        resolve_tasks(tasks), resolve_tasks(auxiliary_tasks or ()), backbone, pretrained, options
    )
    created._request = {"model": model_class, "backbone": backbone, "options": dict(options)}
    return created


def _check_config(config: Mapping[str, Any], start_options: Sequence[str]) -> None:
    """Check the values of a saved config, which may come from a stranger."""
    options, backbone = config["options"], config["backbone"]
    if not isinstance(options, dict):
        raise CheckpointError(f"Expected a mapping as options of a saved model, got {options!r}.")
    if not isinstance(backbone, str | None):
        raise CheckpointError(f"Expected a name as backbone of a saved model, got {backbone!r}.")
    refused = sorted({*_GIVEN, "pretrained", *start_options} & set(options))
    if refused:
        raise CheckpointError(
            f"A saved model cannot have the options {', '.join(map(repr, refused))}: they would "
            "open or download other files, or repeat a value. Remove them from the file."
        )
    for key in ("tasks", "auxiliary_tasks"):
        if not isinstance(config[key], list) or len(config[key]) > _MOST_TASKS:
            raise CheckpointError(
                f"Expected a list of at most {_MOST_TASKS} tasks as {key} of a saved model, got "
                f"{type(config[key]).__name__}."
            )
    size = config.get("input_size")
    if size is not None and not _is_size(size):
        raise CheckpointError(
            f"Expected [height, width] as input_size of a saved model, got {size!r}."
        )
    for key in ("image_mean", "image_std"):
        values = config[key]
        are_numbers = (
            isinstance(values, list)
            and 3 <= len(values) <= MOST_IMAGE_CHANNELS
            and all(isinstance(each, int | float) and math.isfinite(each) for each in values)
        )
        if not are_numbers or (key == "image_std" and min(values) <= 0):
            kind = "positive" if key == "image_std" else "finite"
            raise CheckpointError(
                f"Expected three or more {kind} numbers as {key} of a saved model, got {values!r}. "
                "Correct the file, or save the model again."
            )


def _is_size(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(type(side) is int and 1 <= side <= LONGEST_SIDE for side in value)
    )


def _constructor_request(
    cls: type[MultiTaskModel], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> dict[str, Any] | None:
    named = arguments_by_name(cls, args, kwargs)
    if named is None:
        return None
    options = {name: value for name, value in named.items() if name not in _GIVEN}
    return {"model": cls, "backbone": named.get("backbone"), "options": options}


def _describe_backbone(backbone: Any, model: str) -> tuple[str | None, dict[str, Any], bool]:
    """Name of the backbone, its own options, and whether these are flat options of the model."""
    if backbone is None or isinstance(backbone, str):
        return backbone, {}, True
    options: dict[str, Any] = {}
    if isinstance(backbone, nn.Module):
        config = getattr(backbone, "config", None) if isinstance(backbone, Backbone) else None
        if config is None:
            raise InputError(
                f"The backbone of this {model}, an instance of {type(backbone).__name__}, cannot "
                "be rebuilt from a checkpoint. Give create_model its class or a function that "
                "creates it (backbone=...), with options that JSON can hold."
            )
        if isinstance(config["name"], str):
            return config["name"], config["options"], True
        backbone, options = config["name"], config["options"]
    if inspect.isclass(backbone) and not issubclass(backbone, Backbone):
        raise InputError(
            f"The backbone {backbone.__name__} cannot be rebuilt from a checkpoint: derive it from "
            "taskprism.backbones.Backbone, or register a function that creates it with "
            "@register_backbone and use that."
        )
    return BACKBONES.name_of(backbone), options, False


def _plain(key: str, value: Any, model: str) -> Any:
    """The value as JSON holds it; classes and functions by name."""
    if isinstance(value, Mapping):
        return {str(name): _plain(str(name), each, model) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(key, each, model) for each in value]
    if value is None or isinstance(value, str | int | float):
        return value
    for registry in Registry.all.values():
        if inspect.isclass(value) and issubclass(value, registry.base):
            return registry.name_of(value)
    if inspect.isfunction(value) and key in Registry.all:
        return Registry.all[key].name_of(value)
    raise InputError(
        f"This {model} cannot be rebuilt from a checkpoint: JSON cannot hold its option "
        f"{key}={value!r}. Give a name, a class or a function instead of an instance."
    )


def _resolve_saved(value: Any, key: str = "") -> Any:
    """Options from a saved file; ``module:Class`` resolves only if the module is imported."""
    if isinstance(value, Mapping):
        return {name: _resolve_saved(each, str(name)) for name, each in value.items()}
    if isinstance(value, list):
        return [_resolve_saved(each, key) for each in value]
    named = _PART.fullmatch(value) if isinstance(value, str) else None
    if named is None:
        return value
    if key in Registry.all:
        return Registry.all[key].find_saved(value)
    if named[1] not in sys.modules:
        raise InputError(
            f"This file has the option {key}={value!r}, whose module {named[1]!r} is not imported. "
            "Loading a file never imports code by itself: if you trust the module, import it "
            f"first or pass imports=[{named[1]!r}]."
        )
    return value
