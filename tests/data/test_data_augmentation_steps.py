"""Lists of transforms in a data YAML: image and labels move together, and what cannot is named."""

from __future__ import annotations

import pytest
import torch
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional

from taskprism.data import create_protocol, make_sample
from taskprism.data.augmentation import TORCHVISION, TRANSFORMS, AugmentationSteps, list_transforms
from taskprism.data.folder_config import Augmentation
from taskprism.data.transforms import Resize
from taskprism.errors import InputError, TaskprismError
from taskprism.recipes.files import validate
from taskprism.tasks import Depth, Normals, SemanticSegmentation
from taskprism.training.experiment import build_experiment

TASKS = [Depth(), Normals(), SemanticSegmentation(channels=4)]
SIZE = (12, 16)
NEEDED = {  # arguments without a default
    "BalancedCrop": {"size": [8, 8]},
    "CenterCrop": {"size": [8, 8]},
    "GaussianBlur": {"kernel_size": 3},
    "Pad": {"padding": 2},
    "PadTo": {"size": [20, 20]},
    "RandomAdjustSharpness": {"sharpness_factor": 2},
    "RandomAffine": {"degrees": 10, "translate": [0.1, 0.1], "scale": [0.8, 1.2]},
    "RandomCrop": {"size": [8, 8]},
    "RandomRotation": {"degrees": 20},
    "Resize": {"size": [6, 6]},
    "ResizeAndPad": {"size": [6, 6]},
}


def sample():
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(3, *SIZE, generator=generator)
    labels = {
        "depth": 1 + torch.rand(1, *SIZE, generator=generator),
        "normals": directions / directions.norm(dim=0),
        "semseg": torch.randint(4, (1, *SIZE), generator=generator),
    }
    return make_sample("a", torch.rand(3, *SIZE, generator=generator), labels, TASKS)


def apply(*steps, size=SIZE):
    return AugmentationSteps(steps, Resize(size), size)(sample())


@pytest.mark.parametrize("name", [n for n in list_transforms() if n in {*TORCHVISION, *NEEDED}])
def test_every_transform_keeps_image_and_labels_together(name):
    torch.manual_seed(0)
    found = apply({name: NEEDED.get(name, {})})
    assert isinstance(found["image"], tv_tensors.Image) and found["image"].shape == (3, *SIZE)
    for key, task in zip(("depth", "normals", "semseg"), TASKS, strict=True):
        target, valid = found["targets"][key], found["valid"][key]
        assert target.shape[-2:] == valid.shape[-2:] == SIZE
        assert valid.any() and task.validate_target(target, valid) is None


def test_a_vertical_flip_turns_normals_around():
    before, after = sample(), apply({"RandomVerticalFlip": {"p": 1.0}})
    expected = before["targets"]["normals"].flip(-2).as_subclass(torch.Tensor)
    expected = expected * torch.tensor([1.0, -1.0, 1.0]).view(3, 1, 1)
    assert torch.allclose(after["targets"]["normals"].as_subclass(torch.Tensor), expected)
    assert torch.equal(after["image"], functional.vertical_flip(before["image"]))


def test_scale_and_crop_of_invpt_divide_depth_and_pad_without_labels():
    shrink = {"RandomRescale": {"factor_range": [0.5, 0.5]}}
    found = apply(shrink, {"RandomCrop": {"size": list(SIZE)}})
    depth, valid = found["targets"]["depth"], found["valid"]["depth"]
    assert valid.sum() == 6 * 8 and not valid[..., 6:, :].any()
    assert depth[valid].min() >= 2  # twice as far


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("RandomPerspective", "perspective warp changes normals"),
        ("RandomResizedCrop", "use RandomRescale and RandomCrop"),
        ({"RandomAffine": {"degrees": 0, "shear": 5}}, "cannot shear"),
        ("TrivialAugmentWide", "moves the image but not its labels"),
        ("Normalize", "model normalizes"),
        ("ScaleJitter", "effect on labels is not known"),
        ("RandomBlur", "Unknown transform 'RandomBlur'"),
        ({"RandomCrop": {}}, "RandomCrop of the augmentation: missing a required argument"),
        ({"RandomCrop": {"sizes": 3}}, "RandomCrop of the augmentation"),
        ({"ColorJitter": {"hue": 3}}, "ColorJitter of the augmentation"),
        ({"RandomCrop": {"size": 8}, "Resize": {"size": 8}}, "mapping of one name"),
        ("no_such_module:Fog", "Cannot import module 'no_such_module'"),
    ],
)
def test_what_cannot_be_applied_is_named(step, message):
    with pytest.raises(TaskprismError, match=message):
        apply(step)


def test_a_step_of_ones_own_is_checked():
    TRANSFORMS.register("only_the_image")(lambda: lambda s: {**s, "image": s["image"][:, :4]})
    try:
        with pytest.raises(InputError, match=r"only_the_image .* it must move both"):
            apply("only_the_image")
    finally:
        del TRANSFORMS._entries["only_the_image"]


def test_a_list_replaces_the_keys_and_leaves_older_yamls_as_they_are():
    assert Augmentation.model_validate(["RandomVerticalFlip"]).transforms == ("RandomVerticalFlip",)
    assert "transforms" not in Augmentation().model_dump()
    with pytest.raises(ValueError, match="either a list of transforms or the other keys"):
        Augmentation(transforms=("RandomVerticalFlip",), degrees=3)


def test_a_recipe_sets_transforms_for_any_protocol():
    rooms = create_protocol("rooms", tasks=["depth"], input_size=(32, 32), train_length=1)
    recipe = {"data": {"augmentation": [{"RandomCrop": {"size": [16, 16]}}]}}
    recipe["model"] = {"backbone": "test_resnet", "options": {"neck_channels": 8}}
    images = build_experiment(validate(recipe, source="test"), rooms).training_images()
    torch.manual_seed(1)
    first = images[0]["targets"]["depth"]
    torch.manual_seed(1)
    assert torch.equal(images[0]["targets"]["depth"], first) and first.shape == (1, 32, 32)
