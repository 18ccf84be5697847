"""Augmentation as a list of steps in a data YAML or recipe, each a transform by name.

::

    augmentation:
      - RandomHorizontalFlip
      - RandomRescale: {factor_range: [0.5, 2]}
      - BalancedCrop: {size: [448, 576], most: 0.75}
      - ColorJitter: {brightness: 0.4, contrast: 0.4}
      - my_parts:Fog: {density: 0.3}

A step is a transform of :mod:`taskprism.data.transforms`, one of ``torchvision.transforms.v2``
whose effect on labels is known, one that :func:`register_transform` has registered, or
``module:Class``. Image and all labels of a sample go through every step together; changes of color
leave channels after red, green and blue alone. At the end, a sample of another size is brought to
``input_size``, so that samples fit into a batch.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from torchvision.transforms import v2

from taskprism.data import transforms
from taskprism.data.protocol import Transform
from taskprism.data.sample import Sample
from taskprism.errors import InputError, TaskprismError, UnknownNameError
from taskprism.registry import Registry, describe_part

#: Transforms by name: those of :mod:`taskprism.data.transforms`, and your own.
TRANSFORMS: Registry[Any] = Registry("transform", object, factories=True)
register_transform = TRANSFORMS.register

_NOT_ALONE = {"ColorsOnly", "Compose", "ZeroBorder"}  # they wrap others
for _name in sorted(set(transforms.__all__) - _NOT_ALONE - {"ColorJitter"}):
    register_transform(_name)(getattr(transforms, _name))

#: Of torchvision: those that change colors only, and those that move labels as the kernels of
#: :mod:`taskprism.data.kernels` do.
TORCHVISION = (
    "CenterCrop",
    "ColorJitter",
    "GaussianBlur",
    "GaussianNoise",
    "Pad",
    "RandomAdjustSharpness",
    "RandomAffine",
    "RandomAutocontrast",
    "RandomChannelPermutation",
    "RandomEqualize",
    "RandomErasing",
    "RandomGrayscale",
    "RandomInvert",
    "RandomPhotometricDistort",
    "RandomVerticalFlip",
    "RandomZoomOut",
)
_COLORS = (
    "ColorJitter",
    "GaussianBlur",
    "GaussianNoise",
    "RandomAdjustSharpness",
    "RandomAutocontrast",
    "RandomChannelPermutation",
    "RandomEqualize",
    "RandomGrayscale",
    "RandomInvert",
    "RandomPhotometricDistort",
)
_WHY_NOT = {
    "RandomPerspective": "a perspective warp changes normals and depth in an unknown way",
    "ElasticTransform": "an elastic warp changes normals and depth in an unknown way",
    "RandomResizedCrop": "it changes the aspect ratio, and with it normals and depth; use "
    "RandomRescale and RandomCrop",
    "Normalize": "the model normalizes images itself",
    "AutoAugment": "it moves the image but not its labels",
    "RandAugment": "it moves the image but not its labels",
    "TrivialAugmentWide": "it moves the image but not its labels",
    "AugMix": "it moves the image but not its labels",
    "CutMix": "it mixes images of a batch",
    "MixUp": "it mixes images of a batch",
}


def list_transforms() -> list[str]:
    """Names of transforms that the steps of an augmentation can name, in alphabetical order.

    Example:
        >>> "ColorJitter" in list_transforms(), "RandomPerspective" in list_transforms()
        (True, False)
    """
    return sorted({*TRANSFORMS.names(), *TORCHVISION})


class AugmentationSteps:
    """Steps that image and labels go through together.

    Args:
        steps: Names, or mappings of one name to the options of the transform.
        last: Brings a sample of another size to ``size``.
        size: ``(H, W)`` of the result.

    Raises:
        UnknownNameError: There is no such transform.
        InputError: A transform cannot be applied to labels, or an option is wrong.

    Example:
        >>> import torch
        >>> from taskprism.data import make_sample
        >>> from taskprism.tasks import Depth
        >>> sample = make_sample("a", torch.rand(3, 8, 8), {"depth": torch.ones(8, 8)}, [Depth()])
        >>> steps = [{"RandomCrop": {"size": [4, 6]}}, {"ColorJitter": {"brightness": 0.4}}]
        >>> augment = AugmentationSteps(steps, transforms.Resize((4, 6)), (4, 6))
        >>> augment(sample)["targets"]["depth"].shape
        torch.Size([1, 4, 6])
    """

    def __init__(self, steps: Sequence[Any], last: Transform, size: tuple[int, int]) -> None:
        self.steps = [(name, _create(name, options)) for name, options in map(read_step, steps)]
        self.last = last
        self.size = size

    def __call__(self, sample: Sample) -> Sample:
        """Apply every step."""
        for name, step in self.steps:
            try:
                sample = step(sample)
            except TaskprismError:
                raise
            except Exception as error:
                raise InputError(
                    f"The step {name} of the augmentation cannot be applied to the sample "
                    f"{sample['name']!r}: {type(error).__name__}: {error}."
                ) from error
            _check(name, sample)
        return sample if tuple(sample["image"].shape[-2:]) == self.size else self.last(sample)


def read_step(step: Any) -> tuple[str, dict[str, Any]]:
    """Name and options of a step.

    Raises:
        InputError: It is neither a name nor a mapping of one name to options.

    Example:
        >>> read_step("RandomVerticalFlip"), read_step({"GaussianBlur": {"kernel_size": 3}})
        (('RandomVerticalFlip', {}), ('GaussianBlur', {'kernel_size': 3}))
    """
    if isinstance(step, str):
        return step, {}
    if isinstance(step, Mapping) and len(step) == 1:
        ((name, options),) = step.items()
        if isinstance(name, str) and isinstance(options, Mapping | None):
            return name, {str(key): value for key, value in (options or {}).items()}
    raise InputError(
        "A step of the augmentation is the name of a transform, or a mapping of one name to its "
        f"options, such as {{RandomCrop: {{size: [256, 256]}}}}; got {step!r}."
    )


def check_saved_steps(steps: Any) -> None:
    """Check that ``module:Class`` steps of a saved recipe are imported already.

    Raises:
        InputError: A module is not imported; the message says what to import.

    Example:
        >>> check_saved_steps([{"ColorJitter": {"hue": 0.1}}])
    """
    for step in steps if isinstance(steps, list | tuple) else ():
        name, _ = read_step(step)
        if ":" in name:
            TRANSFORMS.find_saved(name)


def _create(name: str, options: Mapping[str, Any]) -> Any:
    factory = _find(name)
    if name == "RandomAffine" and options.get("shear") is not None:
        raise InputError(
            "The step RandomAffine of the augmentation cannot shear: the effect on normals is "
            "unknown. Leave out shear."
        )
    try:
        inspect.signature(factory).bind(**options)
        made = factory(**options)
        return transforms.ColorsOnly(made) if name in _COLORS else made
    except TaskprismError:
        raise
    except (TypeError, ValueError) as error:
        raise InputError(f"The step {name} of the augmentation: {error}.") from error


def _find(name: str) -> Any:
    if name in TRANSFORMS or ":" in name:
        return TRANSFORMS.find(name)
    if name in TORCHVISION:
        return getattr(v2, name)
    if name in _WHY_NOT or hasattr(v2, name):
        reason = _WHY_NOT.get(name, "its effect on labels is not known")
        raise InputError(
            f"The augmentation cannot use {name} of torchvision: {reason}. Transforms that move "
            f"image and labels together: {', '.join(list_transforms())}."
        )
    raise UnknownNameError("transform", name, list_transforms())


def _check(name: str, sample: Any) -> None:
    """Check what a step, which may be the user's own, has returned."""
    if not isinstance(sample, dict) or not {"name", "image", "targets", "valid"} <= set(sample):
        raise InputError(
            f"The step {name} of the augmentation must return a sample with the keys name, image, "
            f"targets and valid, got {describe_part(type(sample))}."
        )
    size = sample["image"].shape[-2:]
    for task, target in (*sample["targets"].items(), *sample["valid"].items()):
        if target.shape[-2:] != size:
            raise InputError(
                f"The step {name} of the augmentation returns an image of {tuple(size)} but a "
                f"label {task!r} of {tuple(target.shape[-2:])} (height, width): it must move both."
            )
