"""Reading a folder described by one YAML."""

import json

import numpy as np
import pytest
from PIL import Image
from torch import Tensor

from taskprism.data import collate, create_protocol

HEIGHT, WIDTH = 24, 32


def read(folder, split="train", index=0, **options):
    protocol = create_protocol(str(folder.write()), **options)
    return protocol.dataset(split)[index]


def values(sample, task):
    return sample["targets"][task].as_subclass(Tensor).numpy()


def valid(sample, task):
    return sample["valid"][task].as_subclass(Tensor).numpy()


def stored(folder, path):
    return np.array(Image.open(folder.root / path))


def test_values_are_converted_to_their_units(folder):
    sample = read(folder)
    assert sample["name"] == "a"
    image = sample["image"].as_subclass(Tensor).numpy()
    np.testing.assert_allclose(
        image.transpose(1, 2, 0), stored(folder, "rgb/a.png") / 255, atol=1e-6
    )
    semseg = stored(folder, "semseg/a.png")
    assert np.array_equal(valid(sample, "semseg")[0], semseg != 255)
    assert np.array_equal(values(sample, "semseg")[0], np.where(semseg == 255, 0, semseg))
    depth = stored(folder, "depth/a.png").astype(np.float64)
    np.testing.assert_allclose(values(sample, "depth")[0], depth / 1000, rtol=1e-6)
    assert depth.max() > 2**15  # would be negative if read as a signed number
    assert np.array_equal(valid(sample, "depth")[0], depth != 0)
    assert set(np.unique(values(sample, "edge"))) == {0.0, 1.0}
    assert valid(sample, "edge").all()


def test_normals_are_brought_into_right_up_toward(folder):
    sample = read(folder)
    vectors, seen = values(sample, "normals"), valid(sample, "normals")[0]
    assert not seen[2].any()
    assert seen[3:].all()
    np.testing.assert_allclose(vectors[:, 3, 3], [0.0, 0.6, 0.8], atol=0.01)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=0)[seen], 1, atol=1e-6)
    assert not vectors[:, ~seen].any()


@pytest.mark.parametrize(
    ("axes", "expected"),
    [
        (["right", "up", "toward"], (0.48, 0.6, 0.64)),
        (["left", "down", "forward"], (-0.48, -0.6, -0.64)),
        (["forward", "right", "up"], (0.6, 0.64, -0.48)),
    ],
)
def test_axes_may_be_in_any_order(folder, axes, expected):
    vectors = np.zeros((HEIGHT, WIDTH, 3), dtype=np.float32)
    vectors[:] = [0.48, 0.6, 0.64]
    vectors[0] = np.nan
    for name in "abcd":
        folder.save(f"n/{name}.npy", vectors)
    folder.config["tasks"]["normals"] = {"path": "n/{name}.npy", "encoding": {"axes": axes}}
    sample = read(folder)
    np.testing.assert_allclose(values(sample, "normals")[:, 5, 5], expected, atol=1e-6)
    assert not valid(sample, "normals")[0, 0].any()


def test_nearly_zero_normals_have_no_label(folder):
    """8-bit files cannot hold a zero vector when 127 and 128 are the middle."""
    vectors = np.full((HEIGHT, WIDTH, 3), 128, dtype=np.uint8)
    vectors[5:] = [128, 255, 128]
    folder.save("normals/a.png", vectors)
    folder.config["tasks"]["normals"] |= {
        "encoding": {"scale": "2/255", "offset": -1, "axes": ["right", "up", "toward"]},
        "ignore": [],
    }
    seen = valid(read(folder), "normals")[0]
    assert not seen[:5].any()
    assert seen[5:].all()


def test_missing_label_file_means_no_label(folder):
    (folder.root / "depth/a.png").unlink()
    sample = read(folder)
    assert "depth" not in sample["targets"]
    assert "depth" not in sample["valid"]
    protocol = create_protocol(str(folder.yaml))
    other = protocol.dataset("train")[1]
    batch = collate([sample, other], protocol.tasks)
    assert batch.targets["depth"].shape == (2, 1, HEIGHT, WIDTH)
    assert not batch.valid["depth"][0].any()
    assert batch.valid["depth"][1].any()


def test_values_outside_the_valid_range_have_no_label(folder):
    folder.config["tasks"]["depth"]["valid_range"] = [1.0, 20.0]
    sample = read(folder)
    depth = stored(folder, "depth/a.png") / 1000
    inside = (depth >= 1) & (depth <= 20)
    assert np.array_equal(valid(sample, "depth")[0], inside)
    assert values(sample, "depth")[0][~inside].max() == 0


def test_map_merges_classes(folder):
    folder.config["tasks"]["semseg"] = {
        "path": "semseg/{name}.png",
        "classes": 2,
        "map": {0: 1, "1-2": 0, 255: None},
    }
    sample = read(folder)
    semseg = stored(folder, "semseg/a.png")
    seen = semseg != 255
    assert np.array_equal(valid(sample, "semseg")[0], seen)
    assert np.array_equal(values(sample, "semseg")[0][seen], (semseg == 0)[seen])


def test_map_and_classes_from_json(folder):
    (folder.root / "labels.json").write_text(
        json.dumps({"groups": ["floor", "rest"], "maps": {"coarse": [0, 1, 1]}})
    )
    folder.config["tasks"]["semseg"] = {
        "path": "semseg/{name}.png",
        "classes": "labels.json#groups",
        "map": "labels.json#maps.coarse",
        "unmapped": "ignore",
    }
    protocol = create_protocol(str(folder.write()))
    assert protocol.task("semseg").class_names == ("floor", "rest")
    sample = protocol.dataset("train")[0]
    semseg = stored(folder, "semseg/a.png")
    assert np.array_equal(valid(sample, "semseg")[0], semseg != 255)
    assert np.array_equal(values(sample, "semseg")[0] == 1, (semseg == 1) | (semseg == 2))


def test_positive_values_make_a_mask(folder):
    folder.config["tasks"]["saliency"] = {
        "path": "semseg/{name}.png",
        "positive": [2],
        "ignore": [255],
        "loss_weight": 7,
        "options": {"soft": True},
    }
    protocol = create_protocol(str(folder.write()))
    assert protocol.task("saliency").loss_weight == 7
    assert protocol.task("saliency").soft
    sample = protocol.dataset("train")[0]
    assert np.array_equal(values(sample, "saliency")[0], stored(folder, "semseg/a.png") == 2)


def test_two_tasks_of_one_kind(folder):
    folder.config["tasks"]["walls"] = {
        "kind": "semseg",
        "path": "semseg/{name}.png",
        "classes": ["other", "wall"],
        "map": {0: 0, 1: 1, 2: 0},
        "ignore": [255],
    }
    sample = read(folder)
    assert np.array_equal(values(sample, "walls"), values(sample, "semseg") == 1)


def test_channel_order(folder):
    color = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    color[:] = [255, 128, 0]
    folder.save("albedo/a.png", color)
    folder.config["tasks"]["albedo"] = {
        "path": "albedo/{name}.png",
        "encoding": {"scale": "1/255", "order": [2, 1, 0]},
    }
    np.testing.assert_allclose(
        values(read(folder), "albedo")[:, 0, 0], [0, 128 / 255, 1], atol=1e-6
    )
