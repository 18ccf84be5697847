"""MTMamba: the exact scan against its recurrence, four directions, and published sizes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.base import TASKS, random_images
from taskprism.errors import InputError
from taskprism.layers.selective_scan import ImageScan, selective_scan
from taskprism.models import create_model
from taskprism.models.mtmamba import PatchExpansion
from taskprism.scoring.resources import count_parameters

NYUD = {"semseg": 40, "depth": 1, "normals": 3, "edge": 1}
PASCAL = {"semseg": 21, "human_parts": 7, "saliency": 2, "normals": 3, "edge": 1}
CITYSCAPES = {"semseg": 19, "depth": 1}
#: Variant, tasks, millions of parameters on Swin-L.
PUBLISHED = [
    ("mtmamba", NYUD, 308.0),
    ("mtmamba", PASCAL, 335.9),
    ("mtmamba", CITYSCAPES, 252.3),
    ("mtmamba++", NYUD, 315.0),
    ("mtmamba++", PASCAL, 343.2),
    ("mtmamba++", CITYSCAPES, 258.6),
]


@pytest.mark.parametrize(
    ("variant", "tasks", "millions"),
    [PUBLISHED[0], *(pytest.param(*row, marks=pytest.mark.nightly) for row in PUBLISHED[1:])],
)
def test_published_sizes(variant: str, tasks: dict[str, int], millions: float) -> None:
    with torch.device("meta"):
        model = create_model(
            "mtmamba", tasks, backbone="swin_large_patch4_window12_384", variant=variant
        )
    assert count_parameters(model) / 1e6 == pytest.approx(millions, abs=0.06)


def recurrence(
    x: Tensor, delta: Tensor, decay: Tensor, entry: Tensor, exit: Tensor, skip: Tensor
) -> Tensor:
    """The scan, step by step and channel by channel."""
    y = torch.zeros_like(x)
    batch, groups, channels, length = x.shape
    for b in range(batch):
        for g in range(groups):
            for d in range(channels):
                state = torch.zeros_like(decay[g, d])
                for t in range(length):
                    step = delta[b, g, d, t]
                    state = (step * decay[g, d]).exp() * state
                    state = state + step * entry[b, g, :, t] * x[b, g, d, t]
                    y[b, g, d, t] = exit[b, g, :, t] @ state + skip[g, d] * x[b, g, d, t]
    return y


def inputs(length: int, seed: int, size: float) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    delta = size * normal(2, 2, 3, length).exp()
    decay = -normal(2, 3, 4).exp()
    entry, exit = normal(2, 2, 4, length), normal(2, 2, 4, length)
    return [normal(2, 2, 3, length), delta, decay, entry, exit, normal(2, 3)]


@given(
    length=st.integers(1, 23),
    chunk=st.integers(1, 30),
    seed=st.integers(0, 2**16),
    size=st.sampled_from([1e-3, 1.0, 50.0]),
)
@settings(max_examples=12, deadline=None)
def test_scan_equals_the_recurrence(length: int, chunk: int, seed: int, size: float) -> None:
    """Also with steps so large that a sum of logarithms would overflow."""
    values = inputs(length, seed, size)
    torch.testing.assert_close(selective_scan(*values, chunk=chunk), recurrence(*values))


def test_gradients_of_the_scan_do_not_depend_on_the_chunk() -> None:
    values = [each.requires_grad_() for each in inputs(17, 0, 0.5)]
    gradients = [
        torch.autograd.grad(selective_scan(*values, chunk=chunk).sin().sum(), values)
        for chunk in (4, 17)
    ]
    expected = torch.autograd.grad(recurrence(*values).sin().sum(), values)
    for found in gradients:
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b)


def test_half_precision_is_computed_in_single() -> None:
    values = [each.float() for each in inputs(9, 0, 0.5)]
    half = selective_scan(*(each.bfloat16() for each in values))
    assert half.dtype == torch.bfloat16
    rounded = selective_scan(*(each.bfloat16().float() for each in values))
    torch.testing.assert_close(half, rounded.bfloat16())


def test_an_image_is_scanned_in_four_directions() -> None:
    torch.manual_seed(0)
    scan = ImageScan(channels=3, inner=2, gated=False, rank=1).double()
    image, source = (torch.randn(1, 2, 3, 4, dtype=torch.float64) for _ in range(2))
    orders = [
        [(i, j) for i in range(3) for j in range(4)],
        [(i, j) for j in range(4) for i in range(3)],
    ]
    orders += [order[::-1] for order in orders]
    expected = torch.zeros_like(image)
    with torch.no_grad():
        for way, order in enumerate(orders):
            line = torch.stack([image[:, :, i, j] for i, j in order], dim=-1)
            other = torch.stack([source[:, :, i, j] for i, j in order], dim=-1)
            mixed = scan.coefficients[way] @ other
            delta = scan.steps[way] @ mixed[:, :1] + scan.step_bias[way][:, None]
            y = recurrence(
                line[:, None],
                (1 + delta.exp()).log()[:, None],
                -scan.log_decay.exp()[2 * way : 2 * way + 2][None],
                mixed[:, None, 1:17],
                mixed[:, None, 17:],
                scan.skip[2 * way : 2 * way + 2][None],
            )[:, 0]
            for place, (i, j) in enumerate(order):
                expected[:, :, i, j] += y[:, :, place]
        torch.testing.assert_close(scan._scan(image, source), expected)


def test_expansion_puts_blocks_of_channels_beside_each_other() -> None:
    expand = PatchExpansion(4, 1)
    expand.norm = torch.nn.Identity()
    with torch.no_grad():
        expand.expand.weight.copy_(torch.eye(4))
        x = torch.arange(8.0).view(1, 1, 2, 4)
        assert expand(x)[0, :, :, 0].tolist() == [[0, 1, 4, 5], [2, 3, 6, 7]]


@pytest.mark.parametrize("variant", ["mtmamba", "mtmamba++"])
def test_each_task_reads_the_others(variant: str) -> None:
    torch.manual_seed(0)
    options = {"backbone": "test_resnet", "neck": "fpn", "neck_channels": 8, "variant": variant}
    model = create_model("mtmamba", TASKS, **options).eval()
    images = random_images(1, (32, 48))
    with torch.no_grad():
        before = model(images)["depth"]
        model.stages[0].join["semseg"].weight.mul_(3.0)
        after = model(images)["depth"]
    assert not torch.allclose(before, after)


def test_wrong_backbones_are_named() -> None:
    with pytest.raises(InputError, match="vit_pyramid"):
        create_model("mtmamba", TASKS, backbone="test_vit")
    with pytest.raises(InputError, match="chunk must be at least 1"):
        selective_scan(*inputs(3, 0, 1.0), chunk=0)
