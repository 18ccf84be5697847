"""Changes of color."""

import pytest
import torch
from torch import Tensor
from torchvision import tv_tensors

from reference.plane import plane_sample, unit
from taskprism.data import transforms as T


@pytest.mark.parametrize(
    "transform", [T.ColorJitter(0.4, 0.4, 0.4, 0.1), T.PhotometricDistortion(p=1)]
)
def test_color_changes_affect_only_the_image(transform):
    before = plane_sample(unit(0, 0, 1), 16, 24)
    after = transform(before)
    assert not torch.equal(after["image"], before["image"])
    assert after["image"].min() >= 0
    assert after["image"].max() <= 1
    assert all(after["targets"][name] is before["targets"][name] for name in before["targets"])


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"brightness": 0.0, "contrast": (0.5, 0.5), "saturation": (1, 1), "hue": 0.0}, [0.4, 0.2]),
        ({"brightness": 0.0, "contrast": (3, 3), "saturation": (1, 1), "hue": 0.0}, [1.0, 1.0]),
        ({"brightness": 0.0, "contrast": (1, 1), "saturation": (1, 1), "hue": 0.0}, [0.8, 0.4]),
    ],
)
def test_contrast_is_a_factor_about_black(settings, expected):
    color = torch.tensor([0.8, 0.4, 0.4])[:, None, None].expand(3, 4, 4)
    changed = T.PhotometricDistortion(**settings, p=1.0)(tv_tensors.Image(color))
    torch.testing.assert_close(changed.as_subclass(Tensor)[:2, 0, 0], torch.tensor(expected))


def test_brightness_is_a_shift_within_its_limits():
    gray = tv_tensors.Image(torch.full((3, 4, 4), 0.5))
    distort = T.PhotometricDistortion(0.1, (1, 1), (1, 1), 0.0, p=1.0)
    values = torch.stack([distort(gray).as_subclass(Tensor)[0, 0, 0] for _ in range(50)])
    assert values.min() >= 0.4
    assert values.max() <= 0.6
    assert values.std() > 0.03


def test_nothing_changes_with_probability_zero():
    image = tv_tensors.Image(torch.rand(3, 8, 8))
    assert torch.equal(T.PhotometricDistortion(p=0.0)(image), image)
