from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from taskprism.backbones import (
    MODULATED,
    ModulatedBackbone,
    create_modulated_backbone,
    load_modulated_weights,
    sources,
)
from taskprism.errors import CheckpointError
from taskprism.layers.modulation import Modulation, ResidualAdapter

TASKS = ("depth", "edge")


def trained(model: nn.Module) -> nn.Module:
    """Every value differs from its random start, and activations stay finite."""
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.ndim >= 2:
                value.copy_((torch.rand_like(value) - 0.5) * (12 / value[0].numel()) ** 0.5)
            elif value.is_floating_point():
                value.copy_(torch.rand_like(value) + (0.5 if not name.endswith("bias") else -0.5))
    return model.eval()


def loaded(name: str, state: dict[str, Tensor], folder: Path) -> ModulatedBackbone:
    modulation = Modulation(TASKS, squeeze=True, adapters=name != "mobilenet_v2", norm=True)
    backbone = create_modulated_backbone(name, modulation)
    save_file(state, folder / "weights.safetensors")
    load_modulated_weights(backbone, str(folder / "weights.safetensors"))
    return backbone.eval()


def se_resnet26() -> nn.Module:
    """A classifier with stride in the 3x3 convolution, as the authors trained theirs."""
    blocks = {"attn_layer": "se"}
    return timm.models.resnet.ResNet(
        timm.models.resnet.Bottleneck, (2, 2, 2, 2), block_args=blocks, num_classes=7
    )


def as_encoder(model: nn.Module) -> nn.Module:
    """Stride in the first convolution, and dilation instead of stride in the last layer."""
    for layer in (model.layer2, model.layer3):
        layer[0].conv1.stride, layer[0].conv2.stride = (2, 2), (1, 1)
    for block in model.layer4:
        block.conv1.stride = block.conv2.stride = (1, 1)
        block.conv2.dilation = block.conv2.padding = (2, 2)
    model.layer4[0].downsample[0].stride = (1, 1)
    return model


def maps_of_resnet(model: nn.Module, stem: nn.Module, images: Tensor) -> list[Tensor]:
    low = model.layer1(stem(images))
    return [low, model.layer4(model.layer3(model.layer2(low)))]


def test_every_task_starts_as_timms_se_resnet(tmp_path: Path, capsys) -> None:
    model = trained(se_resnet26())
    backbone = loaded("se_resnet26", model.state_dict(), tmp_path)
    as_encoder(model)
    images = torch.randn(1, 3, 64, 96)
    stem = nn.Sequential(model.conv1, model.bn1, model.act1, model.maxpool)
    with torch.no_grad():
        expected = maps_of_resnet(model, stem, images)
        for task in TASKS:
            for ours, theirs in zip(backbone(images, task), expected, strict=True):
                torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    said = capsys.readouterr().err
    assert ", 0 missing, 2 in the file not used" in said
    assert "fc.weight" in said
    assert "nearly open" not in said


def test_every_task_starts_as_timms_legacy_se_resnet(tmp_path: Path, monkeypatch, capsys) -> None:
    model = trained(timm.create_model("legacy_seresnet50", num_classes=7))
    asked = []

    def fetch(url: str, **options) -> dict[str, Tensor]:
        asked.append((url.rpartition("/")[2], options["weights_only"]))
        return model.state_dict()

    monkeypatch.setattr(sources, "load_state_dict_from_url", fetch)
    backbone = create_modulated_backbone(
        "se_resnet50", Modulation(TASKS, squeeze=False, adapters=False, norm=False)
    ).eval()
    load_modulated_weights(backbone, pretrained=True)
    assert asked == [("se_resnet50-ce0d4300.pth", True)]
    for block in model.layer4:
        block.conv1.stride = (1, 1)
        block.conv2.dilation = block.conv2.padding = (2, 2)
    model.layer4[0].downsample[0].stride = (1, 1)
    stem = nn.Sequential(*list(model.layer0)[:3], nn.MaxPool2d(3, 2, 1))
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        for ours, theirs in zip(backbone(images), maps_of_resnet(model, stem, images), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    assert "license: apache-2.0" in capsys.readouterr().err


def renamed_as_released(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The authors' ImageNet layout: linear layers in squeeze-and-excitation."""
    renamed = {}
    for key, value in state.items():
        linear = value.flatten(1) if ".se." in key and value.ndim == 4 else value
        key = key.replace(".se.fc1.", ".se.fc.0.").replace(".se.fc2.", ".se.fc.2.")
        renamed[f"module.{key}"] = linear
    return renamed


def test_the_authors_own_layout(tmp_path: Path) -> None:
    state = trained(se_resnet26()).state_dict()
    backbone = loaded("se_resnet26", renamed_as_released(state), tmp_path)
    own = backbone.state_dict()
    for task in TASKS:
        assert torch.equal(own[f"layer3.1.se.{task}.fc2.weight"], state["layer3.1.se.fc2.weight"])
        assert torch.equal(
            own[f"layer2.0.shortcut_bn.{task}.bias"], state["layer2.0.downsample.1.bias"]
        )
    adapters = [m for m in backbone.modules() if isinstance(m, ResidualAdapter)]
    assert len(adapters) == 8 * len(TASKS)
    assert not any(adapter.weight.any() for adapter in adapters)


def test_weights_without_squeeze_and_excitation_leave_its_gates_open(
    tmp_path: Path, capsys
) -> None:
    model = trained(timm.create_model("resnet26", num_classes=7))
    backbone = loaded("se_resnet26", model.state_dict(), tmp_path)
    gate = backbone.layer4[1].se["edge"]
    x = torch.randn(2, 2048, 3, 3)
    torch.testing.assert_close(gate(x), x * torch.sigmoid(torch.tensor(4.0)))
    assert torch.equal(backbone.conv1.weight, model.conv1.weight)
    said = capsys.readouterr().err
    assert "no squeeze-and-excitation" in said
    assert "substitute" not in said  # weights of the user are not


@pytest.mark.parametrize("package", ["timm", "torchvision"])
def test_mobilenet_of_either_package(package: str, tmp_path: Path) -> None:
    if package == "timm":
        model = trained(timm.create_model("mobilenetv2_100", num_classes=7))
        stages = nn.Sequential(model.conv_stem, model.bn1, *model.blocks)
        convolutions = [block.conv_dw for stage in list(model.blocks)[5:] for block in stage]
    else:
        model = trained(torchvision.models.mobilenet_v2(num_classes=7))
        stages = model.features[:18]
        convolutions = [block.conv[1][0] for block in model.features[14:18]]
    backbone = loaded("mobilenet_v2", model.state_dict(), tmp_path)
    for convolution in convolutions:
        convolution.stride, convolution.dilation, convolution.padding = (1, 1), (2, 2), (2, 2)
    for block in backbone.blocks:
        for gate in block.se.values():
            nn.init.constant_(gate.fc2.bias, 100.0)  # open, so that only the other layers matter
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(
            backbone(images, "edge")[1], stages(images), rtol=1e-4, atol=1e-4
        )


def test_hub_weights_exist_and_substitutes_are_announced(monkeypatch, capsys) -> None:
    published = [each.part for each in MODULATED.entries() if each.name != "se_resnet14_quarter"]
    assert len(published) == 4
    names = [(each.hub_weights, each.plain_hub_weights) for each in published]
    for name in (each for pair in names for each in pair):
        config = timm.get_pretrained_cfg(name)
        assert config is not None
        assert config.hf_hub_id or config.url, name
        assert (config.mean, config.std) == (
            (0.485, 0.456, 0.406),
            (0.229, 0.224, 0.225),
        )
    state = trained(timm.create_model("mobilenetv2_100")).state_dict()
    monkeypatch.setattr(sources, "load_state_dict_from_hf", lambda *a, **k: state)
    backbone = create_modulated_backbone("mobilenet_v2", Modulation(TASKS, True, False, True))
    load_modulated_weights(backbone, pretrained=True)
    said = capsys.readouterr().err
    assert "hub timm/mobilenetv2_100.ra_in1k" in said
    assert "substitute" in said


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    state = timm.create_model("resnet18", num_classes=7).state_dict()
    with pytest.raises(
        CheckpointError, match=r"(?s)another network than SEResNet26.*resnet26\.bt_in1k"
    ):
        loaded("se_resnet26", state, tmp_path)


def test_a_plain_resnet_starts_as_timms(tmp_path: Path, capsys) -> None:
    """Without squeeze-and-excitation nothing is missing in a plain network's weights."""
    model = trained(timm.create_model("resnet26", num_classes=7))
    path = tmp_path / "weights.pth"
    torch.save(model.state_dict(), path)
    plain = Modulation(TASKS, squeeze=False, adapters=False, norm=False, excitation=False)
    backbone = create_modulated_backbone("se_resnet26", plain).eval()
    load_modulated_weights(backbone, str(path))
    assert ", 0 missing, 2 in the file not used" in capsys.readouterr().err
    as_encoder(model)
    images = torch.randn(1, 3, 64, 96)
    stem = nn.Sequential(model.conv1, model.bn1, model.act1, model.maxpool)
    with torch.no_grad():
        for ours, theirs in zip(backbone(images), maps_of_resnet(model, stem, images), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_weights_that_do_not_exist() -> None:
    plain = Modulation(TASKS, squeeze=False, adapters=False, norm=False)
    backbone = create_modulated_backbone("se_resnet14_quarter", plain)
    with pytest.raises(CheckpointError, match="pretrained to false"):
        load_modulated_weights(backbone, pretrained=True)
