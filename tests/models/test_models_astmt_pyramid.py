"""ASTMT on a feature pyramid."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from taskprism.errors import InputError
from taskprism.models import ASTMT, create_model
from taskprism.scoring.resources import count_macs, count_parameters

TASKS = {"edge": 1, "semseg": 5, "depth": 1}
PASCAL_5 = {"semseg": 21, "human_parts": 7, "saliency": 1, "edge": 1, "normals": 3}


def build(**options: object) -> ASTMT:
    torch.manual_seed(0)
    given = {"backbone": "se_resnet14_quarter", "decoder": "panoptic", "decoder_channels": 32}
    model = create_model("astmt", TASKS, **{**given, **options})
    assert isinstance(model, ASTMT)
    return model


def upsampled(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return nn.functional.interpolate(x, size=like.shape[-2:], mode="bilinear")


def test_levels_are_upsampled_step_by_step_and_added() -> None:
    model = build().eval()
    images = torch.randn(1, 3, 65, 97)
    decoder = model.decoder
    with torch.no_grad():
        maps = model.encoder(images, "semseg")
        assert [tuple(each.shape[-2:]) for each in maps] == [(17, 25), (9, 13), (5, 7), (3, 4)]
        assert [each.shape[1] for each in maps] == [64, 128, 256, 512]
        p4, p8, p16, p32 = decoder.pyramid({str(i): each for i, each in enumerate(maps)}).values()
        (a,), (b,), (c1, c2), (d1, d2, d3) = decoder.levels
        level_4 = a(p4, "semseg")
        level_8 = upsampled(b(p8, "semseg"), p4)
        level_16 = upsampled(c2(upsampled(c1(p16, "semseg"), p8), "semseg"), p4)
        level_32 = upsampled(d1(p32, "semseg"), p16)
        level_32 = upsampled(d2(level_32, "semseg"), p8)
        level_32 = upsampled(d3(level_32, "semseg"), p4)
        features = level_4 + level_8 + level_16 + level_32
        expected = upsampled(model.heads["semseg"](features), images)
        torch.testing.assert_close(model(images, ["semseg"])["semseg"], expected)


def test_a_task_touches_shared_layers_and_its_own() -> None:
    model = build()
    model(torch.randn(2, 3, 64, 64), ["depth"])["depth"].sum().backward()
    parameters = list(model.named_parameters())
    touched = {name for name, parameter in parameters if parameter.grad is not None}
    own = {id(parameter) for parameter in model.own_parameters()}
    of_depth = {name for name, parameter in parameters if id(parameter) in own and "depth" in name}
    assert touched == {name for name, p in parameters if id(p) not in own} | of_depth
    assert any(name.startswith("decoder.levels.3.2.se") for name in of_depth)


def test_an_encoder_without_modulation_runs_once() -> None:
    model = build(squeeze_encoder=False, adapters=False).eval()
    calls = []
    model.encoder.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        predictions = model(torch.randn(1, 3, 64, 64))
    assert len(calls) == 1
    assert set(predictions) == set(TASKS)


def test_size_on_pascal() -> None:
    """A ResNet-50's trunk, its pyramid and decoder, and what five tasks have for themselves."""
    with torch.device("meta"):
        model = create_model(
            "astmt",
            PASCAL_5,
            backbone="se_resnet50",
            decoder="panoptic",
            decoder_channels=128,
            adapters=False,
        )
    own = sum(parameter.numel() for parameter in model.own_parameters())
    pyramid = 3_344_384  # laterals 3840 x 256, four 3x3 of 256, biases
    decoder = 9 * (4 * 256 + 3 * 128) * 128
    trunk = 23_508_032 - 53_120 + 2 * 64  # ResNet-50, whose batch norms but the stem's are own
    assert count_parameters(model) - own == trunk + pyramid + decoder
    # Five single networks have 220.0 G; the paper prints 1 % less than these.
    assert count_macs(model, (512, 512)) / 1e9 == pytest.approx(220.0, rel=0.03)


def test_a_mobilenet_has_no_pyramid() -> None:
    with pytest.raises(InputError, match=r"'mobilenet_v2' cannot return a pyramid.*se_resnet50"):
        build(backbone="mobilenet_v2")
