"""MTLoRA: published numbers of trainable parameters, merging, and small checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import taskprism
from models.base import TASKS, assert_equal_outputs, random_images
from taskprism.backbones.low_rank import trainable_report
from taskprism.errors import CheckpointError, InputError
from taskprism.layers import LowRankLinear
from taskprism.models import MultiTaskModel, create_model
from taskprism.models.low_rank import load_trained, merge_low_rank, save_trained
from taskprism.scoring.resources import count_macs

PASCAL_4 = {"semseg": 21, "normals": 3, "saliency": 1, "human_parts": 7}
SWIN = "swin_tiny_patch4_window7_224"
#: Rank, variant, trainable parameters: all, updates, decoders, rest.
PUBLISHED = [
    (64, "mtlora", 8_344_634, 4_798_464, 1_946_624, 1_599_546),
    (32, "mtlora", 6_083_642, 2_537_472, 1_946_624, 1_599_546),
    (16, "mtlora", 4_953_146, 1_406_976, 1_946_624, 1_599_546),
    (64, "mtlora+", 7_054_394, 5_056_512, 1_946_624, 51_258),
]


@pytest.mark.parametrize(
    ("rank", "variant", "total", "updates", "decoders", "rest"),
    [PUBLISHED[0], *(pytest.param(*row, marks=pytest.mark.nightly) for row in PUBLISHED[1:])],
)
def test_published_trainable_parameters(
    rank: int, variant: str, total: int, updates: int, decoders: int, rest: int
) -> None:
    options = {"backbone": SWIN, "image_size": (448, 448), "rank": rank, "variant": variant}
    with torch.device("meta"):
        model = create_model("mtlora", PASCAL_4, **options)
    report = trainable_report(model)
    unused = rank * (4 * 768 + 768)  # the shared update of the very last layer
    assert report["total"] + unused == total
    assert (report["updates"] + unused, report["decoders"], report["rest"]) == (
        updates,
        decoders,
        rest,
    )
    if (rank, variant) == (64, "mtlora"):
        everything = sum(parameter.numel() for parameter in model.parameters())
        assert (everything + unused) / 1e6 == pytest.approx(34.26, abs=0.005)
        assert count_macs(model, (448, 448)) / 1e9 == pytest.approx(31.0, abs=0.05)


def perturb(module: nn.Module) -> None:
    """Updates start at zero; give them values."""
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, LowRankLinear):
                for update in (layer.shared, *layer.tasks.values()):
                    if update is not None:
                        update.up.normal_(std=0.1)


@pytest.mark.parametrize("mode", ["matrix", "matrixv2", "addition"])
def test_outputs_of_an_adapted_layer(mode: str) -> None:
    torch.manual_seed(0)
    layer = LowRankLinear(nn.Linear(5, 4), 2, 3.0, tasks=["a", "b"], task_rank=1, mode=mode)
    perturb(layer)
    x, own = torch.randn(6, 5), {"a": torch.randn(6, 5), "b": torch.randn(6, 5)}
    frozen = x @ layer.linear.weight.T + layer.linear.bias
    update = {t: 3.0 * own[t] @ (m.up @ m.down).T for t, m in layer.tasks.items()}
    with torch.no_grad():
        shared, outputs = layer.with_tasks(x, own)
        if mode == "addition":
            total = 2 * frozen + update["a"] + update["b"]
            expected = frozen + nn.functional.layer_norm(total, (4,))
        else:
            expected = frozen + 3.0 * x @ (layer.shared.up @ layer.shared.down).T
        base = expected if mode == "matrixv2" else frozen
    torch.testing.assert_close(shared, expected)
    for task in ("a", "b"):
        torch.testing.assert_close(outputs[task], base + update[task])


def adapted(**options) -> MultiTaskModel:
    torch.manual_seed(0)
    low_rank = {"rank": 2, "dropout": 0.0}
    small = {"backbone": "test_vit", "neck_channels": 8, "low_rank": low_rank, **options}
    return create_model("multi_task", TASKS, **small)


def test_updates_that_are_zero_change_nothing_and_others_are_merged_exactly(
    tmp_path: Path,
) -> None:
    model = adapted().eval()
    images = random_images(1)
    with torch.no_grad():
        start = model(images)["depth"]
        merged_start = model(images)["depth"]
        perturb(model)
        expected = model(images)
        assert torch.equal(start, merged_start)
        assert not torch.allclose(start, expected["depth"])
        assert merge_low_rank(model) == 24
        assert not any(isinstance(each, LowRankLinear) for each in model.modules())
        for task, output in model(images).items():
            torch.testing.assert_close(output, expected[task], rtol=1e-4, atol=1e-5)
    model.save_pretrained(tmp_path)
    assert_equal_outputs(model, taskprism.load(tmp_path))
    with pytest.raises(InputError, match="nothing to merge"):
        merge_low_rank(model)


def test_updates_of_tasks_are_not_merged() -> None:
    model = create_model("mtlora", TASKS, backbone="test_vit", rank=2, task_rank=2)
    with pytest.raises(InputError, match="updates of semseg, depth"):
        merge_low_rank(model)
    assert any(isinstance(each, LowRankLinear) for each in model.modules())


def test_only_updates_norms_and_decoders_are_trained() -> None:
    model = adapted().train()
    frozen = {n: p.clone() for n, p in model.named_parameters() if not p.requires_grad}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    sum(output.mean() for output in model(random_images()).values()).backward()
    optimizer.step()
    named = dict(model.named_parameters())
    assert frozen and all(torch.equal(named[name], value) for name, value in frozen.items())
    assert all(".linear." in name for name in frozen)


def test_a_small_checkpoint_holds_what_was_trained(tmp_path: Path) -> None:
    file = tmp_path / "updates.safetensors"
    trained = adapted()
    perturb(trained)
    count = save_trained(trained, file)
    everything = sum(tensor.numel() for tensor in trained.state_dict().values())
    frozen = sum(each.numel() for each in trained.parameters() if not each.requires_grad)
    assert frozen > 200_000 and count == everything - frozen
    fresh = adapted()  # the same frozen weights, from the same seed
    load_trained(fresh, file)
    assert_equal_outputs(trained, fresh)
    torch.manual_seed(1)
    other = create_model(
        "multi_task", TASKS, backbone="test_vit", neck_channels=8, low_rank={"rank": 2}
    )
    with pytest.raises(CheckpointError, match="other frozen weights"):
        load_trained(other, file)
    with pytest.raises(CheckpointError, match="no file"):
        load_trained(fresh, tmp_path / "nothing.safetensors")
    with pytest.raises(CheckpointError, match="does not fit"):
        load_trained(adapted(low_rank={"rank": 3}), file)
    file.write_bytes(b"broken")
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        load_trained(fresh, file)


def test_wrong_requests_are_named() -> None:
    with pytest.raises(InputError, match="needs a rank"):
        adapted(low_rank={})
    with pytest.raises(InputError, match="cannot be adapted"):
        adapted(backbone="test_resnet")
    with pytest.raises(InputError, match="neither a Swin"):
        create_model("mtlora", TASKS, backbone="test_resnet")
    with pytest.raises(InputError, match="must have 4 values"):
        create_model("mtlora", TASKS, backbone="test_vit", level_channels=[8])
