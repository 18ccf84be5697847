"""Torchvision's functions on label maps."""

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from reference.plane import plane_sample, unit
from taskprism.data import kernels
from taskprism.errors import InputError
from taskprism.tasks.normals import NormalMap
from taskprism.tasks.target import DenseTarget, ValidMask


@pytest.fixture
def sample():
    return plane_sample(unit(0.3, 0.5, 0.8), 32, 48)


@pytest.mark.parametrize(
    ("transform", "name"),
    [
        (v2.RandomPerspective(p=1.0), "perspective"),
        (v2.ElasticTransform(), "elastic"),
        (v2.RandomResizedCrop(16), "resized_crop"),
    ],
)
def test_unsupported_geometry_raises(sample, transform, name):
    with pytest.raises(InputError, match=f"{name}.*is undefined"):
        transform(sample)


def test_shear_and_mirrored_padding_raise(sample):
    with pytest.raises(InputError, match="sheared"):
        v2.RandomAffine(0, shear=(10, 10, 10, 10))(sample)
    with pytest.raises(InputError, match="constant"):
        v2.Pad(4, padding_mode="reflect")(sample)


def test_torchvision_transforms_agree_with_ours(sample):
    rotated = v2.RandomRotation((30, 30))(sample)
    ours = kernels.rotate(sample["targets"]["normals"], 30.0)
    assert torch.equal(rotated["targets"]["normals"], ours)
    cropped = v2.CenterCrop(20)(sample)
    assert cropped["targets"]["depth"].shape == (1, 20, 20)
    assert torch.equal(
        cropped["targets"]["where"][0, 0].as_subclass(Tensor), torch.arange(14.0, 34.0)
    )


def test_rotate_and_affine_turn_opposite_ways(sample):
    target = sample["targets"]["normals"]
    one = functional.rotate(target, 20.0)
    other = functional.affine(target, -20.0, [0, 0], 1.0, [0.0, 0.0])
    torch.testing.assert_close(one[:, 10:20, 15:30], other[:, 10:20, 15:30])


def test_vertical_flip_mirrors_y():
    target = NormalMap(torch.tensor([0.3, 0.5, 0.8])[:, None, None].expand(3, 4, 4))
    flipped = functional.vertical_flip(target).as_subclass(Tensor)
    torch.testing.assert_close(flipped[:, 0, 0], torch.tensor([0.3, -0.5, 0.8]))


@pytest.mark.parametrize("size", [20, [20], (17, 23), [9, 90]])
@pytest.mark.parametrize("shape", [(33, 48), (48, 33), (40, 40)])
def test_resize_gives_labels_the_size_of_the_image(size, shape):
    sample = plane_sample(unit(0, 0, 1), *shape)
    after = v2.Resize(size)(sample)
    assert after["targets"]["depth"].shape[-2:] == after["image"].shape[-2:]
    limited = v2.Resize(30, max_size=35)(sample)
    assert limited["targets"]["depth"].shape[-2:] == limited["image"].shape[-2:]


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float32])
def test_labels_move_as_torchvision_moves_an_image(dtype):
    """Also two maps that are warped in turn with the same and with other numbers."""
    draw = torch.Generator().manual_seed(3)
    nearest = v2.InterpolationMode.NEAREST
    for shape in [(1, 33, 48), (3, 20, 31)]:
        values = torch.randint(0, 200, shape, generator=draw).to(dtype)
        target = DenseTarget(values, dtype=dtype)
        for angle, scale in [(0.0, 2.0), (17.0, 0.8), (17.0, 1.3), (-90.0, 1.0)]:
            moved = functional.affine(target, angle, [2, -3], scale, [0.0, 0.0])
            expected = functional.affine_image(
                values.float(), angle, [2, -3], scale, [0.0, 0.0], nearest, fill=0
            )
            assert moved.dtype == dtype
            assert torch.equal(moved.as_subclass(Tensor), expected.to(dtype))
            moved = functional.rotate(target, angle, expand=True, center=[4.0, 5.0])
            expected = functional.rotate_image(
                values.float(), angle, nearest, True, [4.0, 5.0], fill=0
            )
            assert torch.equal(moved.as_subclass(Tensor), expected.to(dtype))


def test_large_integers_survive_a_warp():
    labels = torch.full((1, 8, 8), 2**40 + 1)
    target = type(plane_sample(unit(0, 0, 1), 8, 8)["targets"]["semseg"])(labels)
    assert functional.rotate(target, 0.0).max() == 2**40 + 1


def test_batches_move_like_single_maps(sample):
    target = sample["targets"]["normals"]
    batch = NormalMap(torch.stack([target.as_subclass(Tensor)] * 2))
    for move in (
        functional.horizontal_flip,
        lambda x: functional.rotate(x, 10.0),
        lambda x: functional.resize(x, [16, 20]),
        lambda x: functional.pad(x, [1, 2, 3, 4]),
    ):
        assert torch.equal(move(batch)[1].as_subclass(Tensor), move(target).as_subclass(Tensor))


def test_masks_are_false_outside():
    mask = ValidMask(torch.ones(1, 10, 10))
    padded = functional.pad(mask, [2, 2, 2, 2], fill=1)
    assert padded.dtype == torch.bool
    assert padded.sum() == 100


def test_targets_can_be_indexed_by_masks(sample):
    depth, valid = sample["targets"]["depth"], sample["valid"]["depth"]
    assert type(depth[valid]) is Tensor
    assert depth[valid].numel() == 32 * 48
    assert type(depth + sample["targets"]["disparity"]) is Tensor
