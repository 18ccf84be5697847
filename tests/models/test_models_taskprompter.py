"""TaskPrompter: published sizes, the grids it accepts, and what its prompts change."""

from __future__ import annotations

import pytest
import torch

from models.base import random_images, small_model
from taskprism.errors import InputError
from taskprism.models import create_model
from taskprism.scoring.resources import count_parameters

PASCAL = {"semseg": 21, "human_parts": 7, "saliency": 2, "normals": 3, "edge": 1}
NYUD = {"semseg": 40, "depth": 1, "normals": 3, "edge": 1}
#: Tasks, transformer and its width, image size, channels, options, millions of parameters.
PUBLISHED = [
    (NYUD, "large", 1024, (128, 192), 768, 768, False, 467.72),
    (PASCAL, "large", 1024, (128, 192), 300, 350, True, 354.52),
    (PASCAL, "base", 768, (128, 192), 780, 1024, True, 400.50),
    (NYUD, "large", 1024, (448, 576), 768, 768, False, 513.5),
    (PASCAL, "large", 1024, (512, 512), 300, 350, True, 401.1),
    (PASCAL, "base", 768, (512, 512), 780, 1024, True, 418.3),
]


@pytest.mark.parametrize(
    ("tasks", "transformer", "width", "size", "embed", "channels", "reweigh", "millions"),
    [
        PUBLISHED[2],
        *(
            pytest.param(*row, marks=pytest.mark.nightly)
            for row in PUBLISHED
            if row != PUBLISHED[2]
        ),
    ],
)
def test_published_sizes(
    tasks, transformer, width, size, embed, channels, reweigh, millions
) -> None:
    with torch.device("meta"):
        model = create_model(
            "taskprompter",
            tasks,
            backbone=f"vit_{transformer}_patch16_384",
            image_size=size,
            size=size,
            embed_channels=embed,
            channels=channels,
            windows=4,
            reweigh=reweigh,
        )
    positions = size[0] * size[1] // 256
    left_out = positions * width + width + width  # a layer and the position of a class token
    accuracy = 0.005 if size == (128, 192) else 0.06
    assert (count_parameters(model) + left_out) / 1e6 == pytest.approx(millions, abs=accuracy)


def test_a_task_is_led_by_its_prompt() -> None:
    model = small_model("taskprompter", reweigh=False).eval()
    images = random_images(1)
    with torch.no_grad():
        before = model(images)
        model.prompts[1] = 0.5  # of depth, which also attends to the pixels
        after = model(images)
    change = {task: (after[task] - before[task]).norm() / before[task].norm() for task in before}
    assert change["depth"] > 2 * change["semseg"] > 0


def test_sizes_that_windows_do_not_divide_are_refused_before_the_first_step() -> None:
    with pytest.raises(InputError, match=r"4 x 6 patches into 4 x 4 .*such as \(64, 128\)"):
        small_model("taskprompter", windows=4)
    model = small_model("taskprompter", other_size="resample").eval()
    assert model(random_images(1, (96, 64)))["depth"].shape == (1, 1, 96, 64)
    for refuse in (model.check_input_size, lambda size: model(random_images(1, size))):
        with pytest.raises(InputError, match="multiples of 32 pixels"):
            refuse((80, 64))
    with pytest.raises(InputError, match=r"works at \(64, 96\) pixels only"):
        small_model("taskprompter").check_input_size((64, 64))


def test_wrong_backbones_are_named() -> None:
    for options, message in (
        ({"backbone": "test_resnet"}, "plain transformer"),
        ({"class_token": True}, "without register tokens"),
        ({"size": None}, "one image size"),
    ):
        with pytest.raises(InputError, match=message):
            small_model("taskprompter", **options)
