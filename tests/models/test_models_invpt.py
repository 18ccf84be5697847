"""InvPT: published sizes, any image size, and how attention scores are passed on."""

from __future__ import annotations

import pytest
import torch

from models.base import TASKS, random_images
from taskprism.errors import InputError
from taskprism.models import create_model
from taskprism.models.invpt import CrossTaskAttention, InvPT, unused_parameters
from taskprism.scoring.resources import count_macs, count_parameters

PASCAL = {"semseg": 21, "human_parts": 7, "saliency": 2, "normals": 3, "edge": 1}
NYUD = {"semseg": 40, "depth": 1, "normals": 3, "edge": 1}
#: Tasks, size of the transformer and its width, image size, published millions and 10^9 MACs.
PUBLISHED = [
    (NYUD, "base", 768, (448, 576), 160.82, 343.7),
    (PASCAL, "base", 768, (512, 512), 176.35, 408.2),
    (NYUD, "large", 1024, (448, 576), 402.09, 601.9),
    (PASCAL, "large", 1024, (512, 512), 422.93, 672.4),
]


@pytest.mark.parametrize(
    ("tasks", "transformer", "width", "size", "millions", "macs"),
    [PUBLISHED[0], *(pytest.param(*row, marks=pytest.mark.nightly) for row in PUBLISHED[1:])],
)
def test_published_sizes(
    tasks: dict[str, int],
    transformer: str,
    width: int,
    size: tuple[int, int],
    millions: float,
    macs: float,
) -> None:
    """Released networks also run a convolution of the third map, whose result is not used."""
    with torch.device("meta"):
        backbone = f"vit_{transformer}_patch16_384"
        model = create_model("invpt", tasks, backbone=backbone, image_size=size)
    parameters = count_parameters(model) + unused_parameters(width, 576, len(tasks))
    assert parameters / 1e6 == pytest.approx(millions, abs=0.005)
    third_map = 9 * width * 576 * (size[0] // 16) * (size[1] // 16)
    assert (count_macs(model, size) + third_map) / 1e9 == pytest.approx(macs, abs=0.1)


def build(**options) -> InvPT:
    torch.manual_seed(0)
    small = {"backbone": "test_vit", "channels": 8, "prediction_channels": 8, **options}
    model = create_model("invpt", TASKS, **small)
    assert isinstance(model, InvPT)
    return model


def test_preliminary_predictions_are_at_half_the_grid_of_the_transformer() -> None:
    model = build().eval()
    for size, grid in (((64, 96), (2, 3)), ((72, 120), (3, 4))):
        outputs = model(random_images(1, size))
        assert outputs["semseg"].shape == (1, 5, *size)
        assert outputs.initial[0]["semseg"].shape == (1, 5, *grid)


def test_a_task_reads_the_other_task_only_through_the_attention() -> None:
    """Without values, the prediction of a task does not depend on the layers of the other one."""
    model = build().eval()
    images = random_images(1)

    def changes() -> bool:
        with torch.no_grad():
            before = model(images)["depth"]
            weight = model.mix["semseg"].weight
            weight.mul_(3.0)
            after = model(images)["depth"]
            weight.div_(3.0)
        return not torch.allclose(before, after, rtol=1e-6, atol=1e-7)

    assert changes()
    for stage in model.stages:
        torch.nn.init.zeros_(stage.attention.to_value.weight)
        # One norm runs over the channels of all tasks together, so its mean is not local.
        stage.norm = torch.nn.Identity()
    assert not changes()


def test_scores_of_the_stage_before_reach_the_next_stage() -> None:
    torch.manual_seed(0)
    attention = CrossTaskAttention(["depth", "edge"], 8, index=1).eval()
    maps = {task: torch.randn(1, 8, 8, 12) for task in ("depth", "edge")}
    before = torch.randn(1, 2, 2, 2, 3, 12)  # half as many queries, as many keys
    with torch.no_grad():
        own, _ = attention(maps, torch.zeros_like(before))
        mixed, scores = attention(maps, before)
    assert scores.shape == (1, 2, 2, 4, 6, 12)
    assert not torch.allclose(own["depth"], mixed["depth"])


def test_wrong_widths_and_backbones_are_named() -> None:
    with pytest.raises(InputError, match="multiple of 8"):
        build(channels=9)
    with pytest.raises(InputError, match="three maps"):
        build(backbone="test_resnet", neck="deepest")
