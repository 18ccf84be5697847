"""Images with more than three channels: data, augmentation, training, saving and prediction."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
import yaml
from PIL import Image

from taskprism.backbones import create_backbone
from taskprism.data import create_protocol
from taskprism.data.shards.pack import pack
from taskprism.errors import DataError, InputError
from taskprism.models import create_model
from taskprism.models.hub import load
from taskprism.progress import Reporter
from taskprism.recipes.files import validate
from taskprism.training.experiment import build_experiment
from taskprism.training.trainer import Trainer


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Data YAML of three images with 16-bit range and two channels of an array."""
    root = tmp_path_factory.mktemp("channels")
    rng = np.random.default_rng(0)
    for name in "abc":
        colors = rng.integers(0, 255, (32, 32, 3)).astype(np.uint8)
        Image.fromarray(colors).save(root / f"{name}_rgb.png")
        distance = rng.integers(0, 10000, (32, 32)).astype(np.uint16)
        Image.fromarray(distance).save(root / f"{name}_range.png")
        bands = rng.random((2, 32, 32)).astype(np.float32)
        bands[0, 0, 0] = np.nan
        np.save(root / f"{name}_bands.npy", bands)
        Image.fromarray((colors[..., 0] > 100).astype(np.uint8)).save(root / f"{name}_label.png")
    content = {
        "name": "five",
        "root": ".",
        "image": "{name}_rgb.png",
        "inputs": {
            "range": {"path": "{name}_range.png", "scale": "1/10000", "mean": 0.4, "std": 0.2},
            "bands": {"path": "{name}_bands.npy", "channels": 2, "layout": "chw"},
        },
        "input_size": [32, 32],
        "splits": {"train": ["a", "b"], "test": ["c"]},
        "augmentation": ["RandomHorizontalFlip", {"ColorJitter": {"saturation": 0.9, "hue": 0.4}}],
        "tasks": {"semseg": {"path": "{name}_label.png", "classes": 2}},
    }
    (root / "five.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return root / "five.yaml"


def recipe(**settings):
    model = {"backbone": "test_resnet", "options": {"neck_channels": 8}}
    return validate({"model": model, "epochs": 1, **settings}, source="test")


def test_samples_have_the_values_of_all_files(data):
    protocol = create_protocol(data)
    image = protocol.dataset("train")[0]["image"]
    stored = np.asarray(Image.open(data.parent / "a_range.png"))
    bands = np.nan_to_num(np.load(data.parent / "a_bands.npy"))
    assert protocol.in_channels == 6 and image.shape == (6, 32, 32)
    assert np.allclose(image[3].numpy(), stored / 10000, atol=1e-6)
    assert np.array_equal(image[4:].numpy(), bands)


def test_color_changes_leave_the_other_channels_alone(data):
    protocol = create_protocol(data)
    before = protocol.dataset("train")[0]["image"].as_subclass(torch.Tensor)
    torch.manual_seed(0)
    after = protocol.train_transform()(protocol.dataset("train")[0])["image"]
    after = after.as_subclass(torch.Tensor)
    assert not torch.equal(after[:3], before[:3])
    assert torch.equal(after[3:], before[3:]) or torch.equal(after[3:], before[3:].flip(-1))
    keys = create_protocol(data, augmentation={"color": True, "zoom": [1], "horizontal_flip": 0})
    assert torch.equal(keys.train_transform()(keys.dataset("train")[0])["image"][3:], before[3:])


def test_a_model_is_built_trained_saved_and_loaded_for_all_channels(data, tmp_path):
    protocol = create_protocol(data)
    model = build_experiment(recipe(), protocol).model
    assert model.in_channels == 6
    assert model.image_mean.flatten()[3:].tolist() == pytest.approx([0.4, 0.5, 0.5])
    assert model.image_std.flatten()[3:].tolist() == pytest.approx([0.2, 0.25, 0.25])
    trainer = Trainer(model, protocol, reporter=Reporter(quiet=True), epochs=1)
    trainer.train()
    assert 0 <= trainer.evaluate("test")["semseg"]["miou"] <= 1
    model.save_pretrained(tmp_path)
    loaded = load(tmp_path)
    image = protocol.dataset("test")[0]["image"].as_subclass(torch.Tensor)
    one = model.eval().predict(image)
    again = loaded.predict(image.permute(1, 2, 0).numpy())
    assert np.array_equal(one.semseg, again.semseg) and one.image.shape == (3, 32, 32)
    assert loaded.image_mean.tolist() == model.image_mean.tolist()


def test_a_wrong_number_of_channels_names_both(data, tmp_path):
    protocol = create_protocol(data)
    rgb = create_model("multi_task", protocol.tasks, backbone="test_resnet", neck_channels=8)
    with pytest.raises(InputError, match="have 6 channels, but the model takes 3"):
        build_experiment(recipe(), protocol, rgb)
    with pytest.raises(InputError, match=r"takes images with 3 channels .* got 6"):
        rgb.normalize(torch.rand(1, 6, 32, 32))
    six = build_experiment(recipe(), protocol).model
    with pytest.raises(InputError, match=r"6 channels: an array \(H, W, 6\).*\(32, 32, 3\)"):
        six.predict(np.zeros((32, 32, 3), np.uint8))
    with pytest.raises(InputError, match="6 channels, and shards hold RGB"):
        pack(protocol, tmp_path / "packed")
    wrong = create_protocol(data, inputs={"range": {"path": "{name}_range.png", "channels": 2}})
    with pytest.raises(DataError, match=r"inputs.range .* needs \(32, 32, 2\)"):
        wrong.dataset("train")[0]


def test_pretrained_weights_of_the_first_layer_are_adapted_as_timm_does(tmp_path):
    rgb = timm.create_model("test_resnet")
    torch.save(rgb.state_dict(), tmp_path / "rgb.pth")
    backbone = create_backbone("test_resnet", str(tmp_path / "rgb.pth"), neck="none", in_channels=5)
    (first,) = [p for n, p in backbone.model.named_parameters() if p.ndim == 4 and p.shape[1] == 5]
    original = next(p for p in rgb.parameters() if p.ndim == 4 and p.shape[1] == 3)
    assert torch.allclose(first, timm.models.adapt_input_conv(5, original.detach().clone()))
