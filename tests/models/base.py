"""Small networks of any registered model, for the tests of models."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils import _pytree

from taskprism.backbones import Backbone, ModulatedBackbone, TokenMaps
from taskprism.backbones.residual_stages import ResidualStages
from taskprism.backbones.staged import StagedTransformer
from taskprism.models import (
    MODELS,
    DecoderModel,
    EncoderSharingModel,
    MultiTaskModel,
    create_model,
    find_model,
)

#: Models of the package, without those that other tests register.
BUILT_IN = [entry.name for entry in MODELS.entries() if entry.builtin]
TASKS = {"semseg": 5, "depth": 1}
AUXILIARY = {"edge": 1, "normals": 3}
SIZE = (64, 96)

#: Two small backbones for each type of backbone that a model can declare.
BACKBONES: dict[type[Backbone], dict[str, dict[str, Any]]] = {
    Backbone: {
        "branches": {"backbone": "test_resnet", "neck": "none"},
        "pyramid": {"backbone": "test_resnet", "neck_channels": 16},
    },
    ResidualStages: {
        "branches": {"backbone": "test_resnet", "head": "high_resolution"},
        "pyramid": {"backbone": "test_resnet", "output_stride": None},
    },
    TokenMaps: {
        "branches": {"backbone": "test_vit", "taps": [0, 1, 2, 3]},
        "pyramid": {"backbone": "test_vit"},
    },
    StagedTransformer: {
        "branches": {
            "backbone": "swin_tiny_patch4_window7_224",
            "architecture": {"embed_dim": 8, "depths": [1, 1, 2, 1], "num_heads": [1, 1, 2, 2]},
        },
        "pyramid": {"backbone": "test_vit", "rank": 2},
    },
    ModulatedBackbone: {
        "branches": {"backbone": "mobilenet_v2"},
        "pyramid": {"backbone": "se_resnet14_quarter"},
    },
}
#: Values that make a network small, for every model that has the option.
SMALL: dict[str, Any] = {
    "channels": 8,
    "distilled_channels": 8,
    "decoder_channels": 32,
    "prediction_channels": 8,
    "embed_channels": 8,
    "windows": 2,
    "ranks": (1, 2, 3),
    "kept": 2,
    "task_rank": 2,
}


def small_options(name: str, kind: str = "pyramid") -> dict[str, Any]:
    """Options of ``create_model`` for a small network of any registered model."""
    model = find_model(name)
    options = dict(BACKBONES[model.backbone_type][kind])
    if issubclass(model, DecoderModel) and kind == "pyramid":
        options["neck"] = "fpn"
    if issubclass(model, EncoderSharingModel) and model.least_blocks > 1:
        options["backbone"] = "resnet18"
    known = model._own_options()
    options |= {option: value for option, value in SMALL.items() if option in known}
    if not model.any_input_size:
        options["size"] = SIZE
    return options


def small_model(name: str, kind: str = "pyramid", **changes: Any) -> MultiTaskModel:
    """A small network with random weights of seed 0."""
    torch.manual_seed(0)
    return create_model(name, **{"tasks": TASKS, **small_options(name, kind), **changes})


def random_images(batch: int = 2, size: tuple[int, int] = SIZE) -> Tensor:
    """Images ``(B, 3, H, W)`` that are the same at every call."""
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(1))


def total_loss(model: MultiTaskModel, images: Tensor, missing: str = "") -> Tensor:
    """Sum of the losses of all final and initial predictions; ``missing`` has no labels."""
    outputs = model(images)
    total = images.new_zeros(())
    for task in model.all_tasks:
        predictions = [outputs[task.name]] if task.name in outputs else []
        predictions += [scale[task.name] for scale in outputs.initial if task.name in scale]
        for each in predictions:
            shape = (len(images), task.target_channels, *each.shape[-2:])
            target = torch.full(shape, 0.5).to(task.target_dtype)
            valid = torch.full((len(images), 1, *each.shape[-2:]), task.name != missing)
            total = total + task.loss(each, target, valid)
    assert torch.isfinite(total)
    return total


def assert_equal_outputs(one: MultiTaskModel, other: MultiTaskModel) -> None:
    """Both models compute the same numbers, to the bit."""
    with torch.no_grad():
        a, b = one.eval()(random_images()), other.eval()(random_images())
    assert list(a) == list(b)
    for x, y in zip(_pytree.tree_leaves(a), _pytree.tree_leaves(b), strict=True):
        assert torch.equal(x, y)


class ModelTests:
    """Base of the tests of one model: networks of realistic layout.

    Attributes:
        name: Key in ``MODELS``.
        options: Given to every model that is built here.
        size: Input image.
    """

    name: ClassVar[str]
    options: ClassVar[dict[str, Any]] = {}
    size: ClassVar[tuple[int, int]] = SIZE
    tasks: ClassVar[dict[str, int]] = TASKS
    kinds: ClassVar[dict[str, dict[str, Any]]] = {
        "branches": {"backbone": "hrnet_w18_small"},
        "pyramid": {"backbone": "mobilenetv2_050", "neck_channels": 32},
    }

    def make(self, kind: str = "pyramid", **changes: Any) -> MultiTaskModel:
        """Build the model with random weights of seed 0."""
        torch.manual_seed(0)
        arguments = {"tasks": self.tasks, **self.kinds[kind], **self.options, **changes}
        return create_model(self.name, **arguments)

    def images(self, batch: int = 2, size: tuple[int, int] | None = None) -> Tensor:
        return random_images(batch, size or self.size)
