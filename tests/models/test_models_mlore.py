"""MLoRE: published sizes, exact merging of experts, routing and the penalty."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.base import SIZE, TASKS, random_images, small_model
from taskprism.errors import InputError
from taskprism.layers.experts import LowRankExperts, at_positions, balance_penalty
from taskprism.losses import Criterion
from taskprism.models import MLoRE, Predictions, create_model
from taskprism.scoring.resources import count_parameters

PASCAL = {"semseg": 21, "human_parts": 7, "saliency": 2, "normals": 3, "edge": 1}
NYUD = {"semseg": 40, "depth": 1, "normals": 3, "edge": 1}
#: Tasks, transformer, image size, channels, ranks, rank of a task, millions of parameters.
PUBLISHED = [
    (PASCAL, "base", (512, 512), 640, range(16, 129, 8), 64, 259.13),
    (PASCAL, "large", (512, 512), 452, range(16, 129, 8), 72, 407.69),
    (NYUD, "large", (448, 576), 768, range(16, 241, 16), 16, 551.63),
]


@pytest.mark.parametrize(
    ("tasks", "transformer", "size", "channels", "ranks", "task_rank", "millions"),
    [PUBLISHED[0], *(pytest.param(*row, marks=pytest.mark.nightly) for row in PUBLISHED[1:])],
)
def test_published_sizes(tasks, transformer, size, channels, ranks, task_rank, millions) -> None:
    """The released ViT-B has 26.66 million more parameters, which it never uses."""
    with torch.device("meta"):
        model = create_model(
            "mlore",
            tasks,
            backbone=f"vit_{transformer}_patch16_384",
            image_size=size,
            size=size,
            channels=channels,
            ranks=tuple(ranks),
            task_rank=task_rank,
        )
    class_entry = 1024 if transformer == "large" else 768  # of the released position embeddings
    assert (count_parameters(model) + class_entry) / 1e6 == pytest.approx(millions, abs=0.005)


def block_of(ranks: list[int], kept: int, softmax_first: bool, seed: int) -> LowRankExperts:
    torch.manual_seed(seed)
    block = LowRankExperts(["a", "b"], 8, ranks, 2, kept, (4, 5), softmax_first).double().eval()
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.normal_(std=0.5)
        for norm in (*block.norm.values(), *block.norm_all.values()):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2.0)
    return block


@given(
    ranks=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    share=st.floats(0, 1),
    softmax_first=st.booleans(),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=15, deadline=None)
def test_experts_merge_exactly_into_one_convolution_per_image(
    ranks: list[int], share: float, softmax_first: bool, seed: int
) -> None:
    kept = 1 + round(share * (len(ranks) - 1))
    block = block_of(ranks, kept, softmax_first, seed)
    maps = {task: torch.randn(3, 8, 4, 5, dtype=torch.float64) for task in ("a", "b")}
    with torch.no_grad():
        parallel, weights = block(maps)
        merged, _ = block(maps, merge=True)
    for task in maps:
        torch.testing.assert_close(merged[task], parallel[task], rtol=1e-9, atol=1e-10)
        assert ((weights[task] > 0).sum(dim=1) == kept).all()
        total = weights[task].sum(dim=1)
        if softmax_first:
            assert (total <= 1 + 1e-12).all()
        else:
            torch.testing.assert_close(total, torch.ones_like(total))


def test_experts_do_not_merge_in_training() -> None:
    with pytest.raises(InputError, match=r"call eval\(\) first"):
        block_of([1, 2], 1, False, 0).train()({"a": torch.rand(1, 8, 4, 5).double()}, merge=True)


def test_a_merged_network_predicts_the_same() -> None:
    model = small_model("mlore").eval()
    assert isinstance(model, MLoRE)
    images = random_images(2)
    with torch.no_grad():
        expected = model(images)
        model.merge_experts()
        for task, output in model(images).items():
            torch.testing.assert_close(output, expected[task], rtol=1e-4, atol=1e-5)


def test_the_shared_path_sends_no_gradient_to_its_input() -> None:
    block = block_of([1, 2], 1, False, 0)
    for path in (block.own["a"], *block.experts):
        torch.nn.init.zeros_(path.expand.weight)
        torch.nn.init.zeros_(path.expand.bias)
    x = torch.randn(1, 8, 4, 5, dtype=torch.float64, requires_grad=True)
    block({"a": x})[0]["a"].sum().backward()
    shared = block.shared.weight.grad
    assert shared is not None and shared.any()
    assert block.enter["a"].weight.grad.abs().max() < 1e-6 * shared.abs().max()


def test_penalty_is_the_squared_variation_of_the_use_of_experts() -> None:
    weights = {"a": torch.tensor([[1.0, 0.0], [0.5, 0.5]]), "b": torch.tensor([[0.6, 0.4]] * 2)}
    use = [(1 + 0.5 + 0.6 + 0.6) / 4, (0 + 0.5 + 0.4 + 0.4) / 4]
    mean = sum(use) / 2
    deviation = math.sqrt(sum((each - mean) ** 2 for each in use))  # divided by 2 - 1
    assert balance_penalty([weights]).item() == pytest.approx((deviation / mean) ** 2)
    assert balance_penalty([weights] * 3).item() == pytest.approx(3 * (deviation / mean) ** 2)


def test_training_adds_the_penalty_to_the_loss() -> None:
    model = small_model("mlore", balance=0.5).train()
    outputs = model(random_images())
    assert outputs.penalty is not None and outputs.penalty.item() > 0
    targets = {
        "semseg": torch.zeros(2, 1, *SIZE, dtype=torch.long),
        "depth": torch.ones(2, 1, *SIZE),
    }
    valid = {task: torch.ones(2, 1, *SIZE, dtype=torch.bool) for task in TASKS}
    criterion = Criterion(model.tasks)
    total, _ = criterion(outputs, targets, valid)
    without, _ = criterion(Predictions(outputs), targets, valid)
    assert (total - without).item() == pytest.approx(outputs.penalty.item(), rel=1e-4)
    assert model.eval()(random_images()).penalty is None


def test_weights_per_position_are_interpolated_for_other_sizes() -> None:
    torch.testing.assert_close(
        at_positions(torch.ones(1, 12), (3, 4), (5, 2)), torch.full((1, 10), 1.2)
    )
    model = small_model("mlore", other_size="resample").eval()
    assert model.any_input_size
    assert model(random_images(1, (48, 112)))["depth"].shape == (1, 1, 48, 112)


def test_wrong_options_are_named() -> None:
    for options, message in (
        ({"size": None}, "one image size"),
        ({"channels": 6}, "multiple of 4"),
        ({"kept": 4}, "in 1 to 3"),
        ({"backbone": "test_resnet"}, "plain transformer"),
    ):
        with pytest.raises(InputError, match=message):
            small_model("mlore", **options)
