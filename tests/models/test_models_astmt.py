from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import SqueezeExcitation

from reference import astmt as reference
from taskprism.errors import InputError, UnknownNameError
from taskprism.layers.modulation import ResidualAdapter
from taskprism.models import ASTMT, create_model
from taskprism.models.inference import predict

TASKS = {"edge": 1, "semseg": 5, "depth": 1}
PLAIN: dict[str, Any] = {"squeeze_encoder": False, "squeeze_decoder": False, "adapters": False}


def test_options_of_timm_backbones_are_unknown() -> None:
    with pytest.raises(UnknownNameError, match=r"'neck_channels'.*'decoder_channels'"):
        create_model("astmt", TASKS, backbone="mobilenet_v2", neck_channels=32)


def test_the_decoder_of_uber_net() -> None:
    """Two 1x1 reductions and a mix per task, on the encoder's maps."""
    model = build("se_resnet26", decoder="uber_net").double()
    images = torch.randn(1, 3, 65, 97, dtype=torch.float64)
    state = {name: value.detach() for name, value in released(model).items()}
    with torch.no_grad():
        low, high = reference.resnet_encoder(state, "semseg", images, depth=26)
        head = model.heads["semseg"]
        reduced = [
            part[1](part[0](x)).relu()
            for part, x in ((head.low_level, low), (head.high_level, high))
        ]
        reduced[1] = nn.functional.interpolate(reduced[1], size=low.shape[-2:], mode="bilinear")
        mixed = torch.einsum("bihw,oi->bohw", torch.cat(reduced, 1), head.predict.weight[..., 0, 0])
        mixed = mixed + head.predict.bias[:, None, None]
        expected = nn.functional.interpolate(mixed, size=(65, 97), mode="bilinear")
        torch.testing.assert_close(model(images, ["semseg"])["semseg"], expected)
    model.float().train()
    model(torch.randn(2, 3, 32, 32))["edge"].sum().backward()
    touched = {name.split(".")[1] for name, p in model.named_parameters() if p.grad is not None}
    assert "edge" in touched
    assert not {"depth", "semseg"} & touched


def build(backbone: str = "mobilenet_v2", **options: Any) -> ASTMT:
    """A model whose values all differ from their start, so that a test covers all of them."""
    model = create_model("astmt", TASKS, backbone=backbone, **options)
    assert isinstance(model, ASTMT)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            noise = torch.rand(value.shape, generator=generator)
            if "running_var" in name or (value.ndim == 1 and name.endswith("weight")):
                value.copy_(noise + 0.5)
            elif value.ndim == 4:
                value.copy_((noise - 0.5) * (12 / value[0].numel()) ** 0.5)
            elif value.is_floating_point():
                value.copy_(noise - 0.5)
    return model.eval()


def released(model: ASTMT) -> reference.State:
    """The model's tensors under the names of the released checkpoints."""
    state = {}
    for name, value in model.state_dict().items():
        for pattern, replacement in (
            (r"^heads\.", "decoder.conv_predict."),
            (r"^encoder\.stem\.", "features.0.conv."),
            (r"^encoder\.", ""),
            (r"^decoder\.branches\.", "decoder.layer5.conv2d_list."),
            (r"^decoder\.pooled\.", "decoder.layer5.conv2d_list.4."),
            (r"^decoder\.pyramid\.", "decoder.layer5.conv2d_final."),
            (r"^decoder\.low_level\.", "decoder.low_level_reduce."),
            (r"^decoder\.fuse\.", "decoder.conv_concat."),
            (r"^decoder\.refine\.", "decoder.conv_process."),
            (r"^(decoder\..*)\.conv\.shared\.", r"\1.process.0."),
            (r"^(decoder.*list\.4)\.process\.0\.", r"\1.process.1."),
            (r"^(decoder\..*)\.bn\.", r"\1.norm."),
            (r"\.conv2?\.adapter\.", ".adapt."),
            (r"\.conv2\.shared\.", ".conv2."),
            (r"\.shortcut\.", ".downsample.process."),
            (r"\.shortcut_bn\.", ".downsample.norm."),
            (r"\.all_tasks\.", "."),
            (r"\.se\.(\w+\.)?fc1\.", r".se.fc.\g<1>0."),
            (r"\.se\.(\w+\.)?fc2\.", r".se.fc.\g<1>2."),
        ):
            name = re.sub(pattern, replacement, name)
        if match := re.match(r"blocks\.(\d+)\.(\w+?)(_bn)?\.(.*)", name):
            block, part, is_norm, rest = match.groups()
            parts = ["expand", "depthwise", "project"][block == "0" :]
            if part in parts:
                name = f"conv.{'bn' if is_norm else 'conv'}{parts.index(part) + 1}.{rest}"
            else:
                name = f"{part}.{rest}"
            name = f"features.{int(block) + 1}.{name}"
        state[name] = value[:, :, 0, 0] if ".se." in name and value.ndim == 4 else value
    return state


@pytest.mark.parametrize(
    ("backbone", "options"),
    [
        ("se_resnet26", {}),
        ("se_resnet26", {"adapters": False}),
        ("se_resnet26", {**PLAIN, "adapters": True}),
        ("se_resnet26", {**PLAIN, "squeeze_decoder": True, "encoder_norm_per_task": True}),
        ("se_resnet26", PLAIN),
        ("mobilenet_v2", {}),
        ("mobilenet_v2", PLAIN),
    ],
)
def test_numbers_of_the_released_network(backbone: str, options: dict) -> None:
    model = build(backbone, **options).double()
    state = {name: value.detach() for name, value in released(model).items()}
    images = torch.randn(2, 3, 64, 96, dtype=torch.float64)
    is_mobile = backbone == "mobilenet_v2"
    with torch.no_grad():
        outputs = model(images)
        for task in TASKS:
            if is_mobile:
                low, high = reference.mobilenet_encoder(state, task, images)
            else:
                low, high = reference.resnet_encoder(state, task, images, depth=26)
            expected = reference.decoder(state, task, low, high, (64, 96), is_mobile)
            assert expected.std() > 1e-3
            torch.testing.assert_close(outputs[task], expected, rtol=1e-10, atol=1e-10)
    different = (outputs["edge"] - outputs["depth"]).abs().max()
    assert different > 1e-3


def count_calls(module: nn.Module) -> Counter[str]:
    calls: Counter[str] = Counter()
    module.register_forward_hook(lambda *_: calls.update(["all"]))
    return calls


@pytest.mark.parametrize(
    ("options", "encoder", "decoder"),
    [
        ({}, 3, 3),
        ({"squeeze_encoder": False}, 1, 3),
        ({"squeeze_encoder": False, "encoder_norm_per_task": True}, 3, 3),
        ({"squeeze_decoder": False}, 3, 3),
        (PLAIN, 1, 1),
        ({"norm_per_task": False}, 3, 3),
        ({"norm_per_task": False, "squeeze_encoder": False}, 1, 3),
    ],
)
def test_what_does_not_depend_on_the_task_runs_once(
    options: dict, encoder: int, decoder: int
) -> None:
    model = build(**options)
    encoded, decoded = count_calls(model.encoder), count_calls(model.decoder)
    with torch.no_grad():
        together = model(torch.ones(1, 3, 32, 32))
        assert (encoded["all"], decoded["all"]) == (encoder, decoder)
        alone = model(torch.ones(1, 3, 32, 32), tasks=["semseg"])
    assert (encoded["all"], decoded["all"]) == (encoder + 1, decoder + 1)
    assert list(alone) == ["semseg"]
    assert torch.equal(alone["semseg"], together["semseg"])


def test_prediction_computes_only_the_named_tasks() -> None:
    model = build()
    calls = count_calls(model.encoder)
    answers = predict(model, torch.rand(3, 40, 50), tasks=["depth", "edge"])
    assert {name: tuple(x.shape) for name, x in answers.items()} == {
        "depth": (1, 40, 50),
        "edge": (1, 40, 50),
    }
    assert calls["all"] == 2


def test_adapters_alone_need_one_encoder_pass_per_task() -> None:
    options = {**PLAIN, "adapters": True, "norm_per_task": False}
    model = build("se_resnet26", **options)
    calls = count_calls(model.encoder)
    with torch.no_grad():
        model(torch.ones(1, 3, 32, 32))
    assert calls["all"] == 3


def test_a_task_touches_shared_layers_and_its_own() -> None:
    model = build("se_resnet26").train()
    model(torch.randn(2, 3, 32, 32), tasks=["depth"])["depth"].sum().backward()
    touched = {name for name, p in model.named_parameters() if p.grad is not None}
    others = {n for n in dict(model.named_parameters()) if {"edge", "semseg"} & set(n.split("."))}
    assert touched == set(dict(model.named_parameters())) - others
    own = {id(p) for p in model.own_parameters()}
    named = {n for n in touched | others if set(TASKS) & set(n.split("."))}
    assert own == {id(p) for n, p in model.named_parameters() if n in named}


def test_statistics_of_other_tasks_do_not_change() -> None:
    model = build().train()
    before = {name: value.clone() for name, value in model.named_buffers()}
    model(torch.randn(2, 3, 32, 32), tasks=["depth"])
    changed = {n for n, value in model.named_buffers() if not torch.equal(value, before[n])}
    assert changed
    assert not [name for name in changed if {"edge", "semseg"} & set(name.split("."))]


def test_the_interface_is_below_the_heads() -> None:
    images = torch.randn(1, 3, 64, 64)
    for options, channels, size in [({}, 64, 16), ({"decoder": "uber_net"}, 320, 4)]:
        model = build(**options)
        maps = model.interface(images, ["depth"])["depth"]
        assert maps[-1].shape == (1, channels, size, size)
        assert model.interface_channels == channels
        torch.testing.assert_close(
            model.output(maps, "depth", (64, 64)), model(images, ["depth"])["depth"]
        )


@pytest.mark.parametrize("backbone", ["se_resnet26", "mobilenet_v2"])
def test_initial_values(backbone: str) -> None:
    model = create_model("astmt", TASKS, backbone=backbone)
    gates = [m for m in model.modules() if isinstance(m, SqueezeExcitation)]
    layers = [layer for gate in gates for layer in (gate.fc1, gate.fc2)]
    for module in model.modules():
        if not isinstance(module, nn.Conv2d):
            continue
        assert module.bias is None or not module.bias.any()
        if isinstance(module, ResidualAdapter):
            assert not module.weight.any()
            continue
        fan_in = module.in_channels // module.groups
        fan_out = module.kernel_size[0] ** 2 * module.out_channels
        if backbone == "mobilenet_v2":
            expected = 0.01 if module in layers else (2 / fan_out) ** 0.5
        else:
            expected = (2 / fan_in) ** 0.5 if module in layers else 0.01
        spread = 5 / module.weight.numel() ** 0.5
        assert module.weight.std().item() == pytest.approx(expected, rel=max(spread, 0.02))


def test_output_stride_of_8() -> None:
    images = torch.randn(1, 3, 64, 64)
    for backbone in ("se_resnet26", "mobilenet_v2"):
        torch.manual_seed(0)
        model = build(backbone, output_stride=8)
        assert model.encoder(images, "depth")[1].shape[-2:] == (8, 8)
        assert [b.conv.shared.dilation[0] for b in model.decoder.branches] == [1, 12, 24, 36]
        assert model(images, ["edge"])["edge"].shape == (1, 1, 64, 64)
    blocks = create_model("astmt", TASKS, backbone="se_resnet26", output_stride=8).encoder
    assert [layer[1].conv2.shared.dilation[0] for layer in (blocks.layer3, blocks.layer4)] == [2, 4]


def test_raw_input_is_0_to_255_and_is_saved() -> None:
    photographs = torch.rand(1, 3, 4, 4)
    model = create_model("astmt", ["depth"], backbone="mobilenet_v2", raw_input=True)
    torch.testing.assert_close(model.normalize(photographs), photographs * 255)
    assert model.config["image_std"] == pytest.approx([1 / 255] * 3)
    usual = create_model("astmt", ["depth"], backbone="mobilenet_v2")
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    torch.testing.assert_close(usual.normalize(photographs), (photographs - mean) / std)


def test_clear_errors() -> None:
    model = build()
    images: Tensor = torch.zeros(1, 3, 32, 32)
    with pytest.raises(UnknownNameError, match=r"task of this astmt 'dept'.*'depth'"):
        model(images, tasks=["dept"])
    with pytest.raises(InputError, match="Expected one of the tasks edge, semseg, depth"):
        model.encoder(images)
    with pytest.raises(UnknownNameError, match=r"backbone .*'resnet50'.*'se_resnet50'"):
        create_model("astmt", ["depth"], backbone="resnet50")
    with pytest.raises(InputError, match="no residual adapters"):
        create_model("astmt", ["depth"], backbone="mobilenet_v2", adapters=True)
    with pytest.raises(InputError, match="output_stride must be 8 or 16, got 32"):
        create_model("astmt", ["depth"], backbone="mobilenet_v2", output_stride=32)
    with pytest.raises(UnknownNameError, match=r"decoder of Model 'astmt' 'uber'.*'uber_net'"):
        create_model("astmt", ["depth"], backbone="mobilenet_v2", decoder="uber")
    with pytest.raises(InputError, match="decoder_channels must be a multiple of 16, got 40"):
        create_model("astmt", ["depth"], backbone="mobilenet_v2", decoder_channels=40)
    with pytest.raises(InputError, match=r"got 16\. The smallest for this decoder is 32"):
        create_model("astmt", ["depth"], backbone="mobilenet_v2", decoder_channels=16)
