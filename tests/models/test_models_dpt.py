"""DPT: sizes of the published head, its layers against a slow restatement, and its options."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from models.base import TASKS, random_images
from taskprism.errors import InputError
from taskprism.models import create_model
from taskprism.models.dpt import DPT

#: Backbone, width of the fusion, parameters of the published head in millions.
PUBLISHED = [("small", 64, 2.73), ("base", 128, 10.89), ("large", 256, 30.95)]


def build(backbone: str = "test_vit", **options) -> DPT:
    torch.manual_seed(0)
    model = create_model("dpt", TASKS, backbone=backbone, **{"channels": 8, **options})
    assert isinstance(model, DPT)
    return model


@pytest.mark.parametrize(
    ("size", "width", "millions"),
    [PUBLISHED[0], *(pytest.param(*each, marks=pytest.mark.nightly) for each in PUBLISHED[1:])],
)
def test_parameters_of_the_published_head(size: str, width: int, millions: float) -> None:
    with torch.device("meta"):
        model = create_model("dpt", ["depth"], backbone=f"vit_{size}_patch14_dinov2")
    head = sum(p.numel() for n, p in model.named_parameters() if not n.startswith("backbone."))
    unused = 2 * (9 * width * width + width)  # a residual unit that the released head never runs
    assert (head + unused) / 1e6 == pytest.approx(millions, abs=0.005)


def reference(model: DPT, maps: list[Tensor], task: str, size: tuple[int, int]) -> Tensor:
    """The head on four maps of equal stride, operation by operation, by names of weights."""
    p = dict(model.named_parameters())

    def conv(x: Tensor, name: str, **options) -> Tensor:
        weight = p[f"{name}.weight"]
        bias = p.get(f"{name}.bias")
        return F.conv2d(
            x, weight, bias, padding=options.pop("padding", weight.shape[-1] // 2), **options
        )

    def unit(x: Tensor, name: str) -> Tensor:
        return x + conv(conv(x.clamp(min=0), f"{name}.conv1").clamp(min=0), f"{name}.conv2")

    def bigger(x: Tensor, height: int, width: int) -> Tensor:
        """Bilinear with aligned corners, as two products with matrices of weights."""
        for axis, n in ((2, height), (3, width)):
            old = x.shape[axis]
            place = torch.arange(n) * ((old - 1) / max(n - 1, 1))
            weights = (1 - (place[:, None] - torch.arange(old)).abs()).clamp(min=0)
            x = torch.movedim(torch.movedim(x, axis, -1) @ weights.T, -1, axis)
        return x

    levels = []
    for level, x in enumerate(maps):
        x = conv(x, f"reassembly.project.{level}")
        name = f"reassembly.scale.{level}"
        if level < 2:
            weight, step = p[f"{name}.weight"], 4 >> level
            blocks = torch.einsum("bihw,iokl->bohkwl", x, weight)
            x = blocks.reshape(1, -1, step * x.shape[2], step * x.shape[3])
            x = x + p[f"{name}.bias"].view(1, -1, 1, 1)
        if level == 3:
            x = conv(x, name, stride=2)
        levels.append(conv(x, f"reassembly.refine.{level}"))
    path, x = f"paths.{task}", None
    for level in (3, 2, 1, 0):
        skip = levels[level]
        x = skip if x is None else x + unit(skip, f"{path}.skips.{level}")
        x = unit(x, f"{path}.units.{level}")
        target = levels[level - 1] if level else x.repeat(1, 1, 2, 2)
        x = conv(bigger(x, *target.shape[-2:]), f"{path}.outputs.{level}")
    x = conv(bigger(conv(x, f"heads.{task}.reduce"), *size), f"heads.{task}.refine")
    return conv(x.clamp(min=0), f"heads.{task}.predict")


def test_the_head_equals_a_slow_restatement() -> None:
    model = build(level_channels=[6, 7, 8, 9]).eval().double()
    images = random_images(1, (48, 80)).double()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.no_grad():
            maps, outputs = model.backbone(images), model(images)
            for task in TASKS:
                expected = reference(model, maps, task, (48, 80))
                torch.testing.assert_close(outputs[task], expected, rtol=1e-9, atol=1e-12)
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("readout", ["ignore", "project"])
def test_the_class_token_changes_predictions_only_if_it_is_read_out(readout: str) -> None:
    images = random_images(1, (32, 48))
    model = build(readout=readout).eval()
    with torch.no_grad():
        before = model(images)["depth"]
        maps, classes = model.backbone.with_class_tokens(images)
        doubled = [2 * token for token in classes]
        model.backbone.with_class_tokens = lambda _: (maps, doubled)
        assert torch.equal(before, model(images)["depth"]) == (readout == "ignore")


def test_a_shared_path_is_smaller_and_a_distillation_works_at_every_scale() -> None:
    own, shared = build(), build(shared_fusion=True)
    count = {m: sum(p.numel() for p in m.paths.parameters()) for m in (own, shared)}
    assert count[own] == 2 * count[shared]
    distilled = build(distillation="relational_context")
    assert len(distilled.distillations) == 4
    initial = distilled(random_images()).initial
    assert [tuple(each["depth"].shape[-2:]) for each in initial] == [
        (16, 24), (8, 12), (4, 6), (2, 3)
    ]  # fmt: skip
    fixed = build("test_resnet", distillation="ctal", size=(64, 96))
    assert not fixed.any_input_size and fixed.input_size == (64, 96)


def test_wrong_options_are_named() -> None:
    for options, message in (
        ({"shared_fusion": True, "distillation": "concat"}, "shared_fusion"),
        ({"level_channels": [8, 8]}, "must have 4 values"),
        ({"backbone": "test_resnet", "readout": "project"}, "class token"),
        ({"taps": [1, 2]}, "four maps"),
    ):
        with pytest.raises(InputError, match=message):
            build(**options)
