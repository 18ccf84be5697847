"""Prediction on images of any size."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from taskprism.errors import InputError, UnknownNameError
from taskprism.models.base import MultiTaskModel
from taskprism.models.inference import predict
from taskprism.models.predictions import Predictions
from taskprism.tasks import create_task


class Echo(MultiTaskModel):
    """Predicts functions of the channels of the image, and records its inputs."""

    name = "echo"

    def __init__(self) -> None:
        tasks = ["depth", "normals", "disparity", create_task("semseg", 3)]
        super().__init__([create_task(t) if isinstance(t, str) else t for t in tasks])
        self.image_mean += 0.5
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> Predictions:
        assert not self.training
        self.seen.append(images)
        red = images[:, :1]
        return Predictions(
            {"depth": red, "normals": images, "disparity": red + 1, "semseg": images}
        )


class FixedEcho(Echo):
    name = "fixed_echo"
    any_input_size = False


def test_predictions_have_the_size_of_the_image_and_are_decoded():
    model = Echo().train()
    image = torch.rand(3, 33, 47)
    answers = predict(model, image)
    assert model.training
    assert {name: tuple(a.shape) for name, a in answers.items()} == {
        "depth": (1, 33, 47),
        "normals": (3, 33, 47),
        "disparity": (1, 33, 47),
        "semseg": (1, 33, 47),
    }
    torch.testing.assert_close(model.seen[0][0], image - 0.5)
    torch.testing.assert_close(answers["depth"], (image[:1] - 0.5).clamp(min=0))
    torch.testing.assert_close(answers["normals"].norm(dim=0), torch.ones(33, 47))
    assert answers["semseg"].dtype == torch.int64
    assert torch.equal(answers["semseg"][0], image.argmax(dim=0))


def test_the_network_receives_about_as_many_pixels_at_the_same_aspect_ratio():
    model = Echo()
    answers = predict(model, torch.rand(3, 400, 1600), size=(100, 100))
    assert tuple(model.seen[0].shape) == (1, 3, 50, 200)
    assert answers["depth"].shape == (1, 400, 1600)


def test_a_network_of_one_size_gets_that_size():
    model = FixedEcho()
    predict(model, torch.rand(3, 40, 160), size=(96, 64))
    assert tuple(model.seen[0].shape) == (1, 3, 96, 64)


def test_a_network_with_an_input_size_needs_no_size():
    model = FixedEcho()
    model.input_size = (64, 32)
    assert predict(model, torch.rand(3, 40, 160))["depth"].shape == (1, 40, 160)
    assert tuple(model.seen[0].shape) == (1, 3, 64, 32)


@pytest.mark.parametrize("size", [None, (64, 64)])
def test_narrow_images_are_enlarged(size):
    model = Echo()
    answers = predict(model, torch.rand(3, 2, 300), size=size)
    assert min(model.seen[0].shape[-2:]) >= 32
    assert answers["depth"].shape == (1, 2, 300)


def test_lengths_in_pixels_scale_with_the_image():
    # The network predicts 1.25 px on a grid half as wide as the image, which is 2.5 px there.
    answers = predict(Echo(), torch.full((3, 64, 128), 0.75), size=(32, 64))
    torch.testing.assert_close(answers["disparity"], torch.full((1, 64, 128), 2.5))
    torch.testing.assert_close(answers["depth"], torch.full((1, 64, 128), 0.25))


def test_tasks_can_be_chosen_and_wrong_input_is_refused():
    assert list(predict(Echo(), torch.rand(3, 32, 32), tasks=["semseg", "depth"])) == [
        "semseg",
        "depth",
    ]
    with pytest.raises(UnknownNameError, match="albedo"):
        predict(Echo(), torch.rand(3, 32, 32), tasks=["albedo"])
    for wrong in (torch.rand(1, 3, 32, 32), torch.rand(4, 32, 32), torch.rand(3, 0, 5)):
        with pytest.raises(InputError, match=r"\(3, H, W\)"):
            predict(Echo(), wrong)
