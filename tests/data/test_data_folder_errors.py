"""Errors of a folder or its YAML name the problem and what to do."""

import numpy as np
import pytest

from taskprism.data import create_protocol
from taskprism.errors import DataError, InputError

HEIGHT, WIDTH = 24, 32


def fails(folder, *needles, index=None, split="train", error=DataError):
    """Opening (and reading ``index``) raises a message that holds all ``needles``."""
    with pytest.raises(error) as caught:
        dataset = create_protocol(str(folder.write())).dataset(split)
        if index is not None:
            dataset[index]
    for needle in needles:
        assert str(needle) in str(caught.value), str(caught.value)


def test_missing_image(folder):
    (folder.root / "rgb/b.png").unlink()
    fails(folder, "1 of 3 images", folder.root / "rgb/b.png", "rgb/{name}.png")


@pytest.mark.parametrize("content", [b"", b"not a png", None])
def test_error_names_a_corrupt_image(folder, content):
    path = folder.root / "rgb/a.png"
    path.write_bytes(path.read_bytes()[:200] if content is None else content)
    fails(folder, path, "cannot be read", index=0)


@pytest.mark.parametrize("content", [b"", b"not a png", None])
def test_error_names_a_corrupt_label(folder, content):
    path = folder.root / "depth/a.png"
    path.write_bytes(path.read_bytes()[:200] if content is None else content)
    fails(folder, path, "cannot be read", index=0)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".mat"])
def test_error_names_a_corrupt_array(folder, suffix):
    path = folder.root / f"depth/a{suffix}"
    path.write_bytes(b"broken")
    folder.config["tasks"]["depth"]["path"] = "depth/{name}" + suffix
    fails(folder, path, "cannot be read", index=0)


def test_pickled_arrays_raise(folder):
    np.save(folder.root / "depth/a.npy", np.array([{}], dtype=object))
    folder.config["tasks"]["depth"]["path"] = "depth/{name}.npy"
    fails(folder, "depth/a.npy", "pickle", index=0)


def test_label_of_another_size(folder):
    path = folder.save("semseg/a.png", np.zeros((10, 12), dtype=np.uint8))
    fails(folder, path, "12x10", "rgb/a.png", "32x24", index=0)


def test_wrong_label_value(folder):
    labels = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    labels[3, 4], labels[5, 5] = 7, 200
    path = folder.save("semseg/a.png", labels)
    fails(folder, path, "7, 200", "0..2", folder.yaml, "tasks.semseg.ignore", index=0)


def test_value_that_is_not_mapped(folder):
    folder.config["tasks"]["semseg"] = {
        "path": "semseg/{name}.png",
        "classes": 2,
        "map": {0: 0, 1: 1},
        "ignore": [255],
    }
    fails(folder, "semseg/a.png", "the values 2 are not in", "tasks.semseg.map", index=0)


def test_mapped_class_that_does_not_exist(folder):
    folder.config["tasks"]["semseg"] |= {"map": {0: 0, 1: 1, 2: 9}}
    fails(folder, "semseg/a.png", "9", "0..2", index=0)


def test_classes_that_are_not_whole(folder):
    folder.save("s/a.npy", np.full((HEIGHT, WIDTH), 0.5))
    folder.config["tasks"]["semseg"]["path"] = "s/{name}.npy"
    fails(folder, "s/a.npy", "needs integers", "0.5", index=0)


def test_negative_depth(folder):
    folder.config["tasks"]["depth"]["encoding"]["offset"] = -1000
    fails(folder, "depth/a.png", "negative", "tasks.depth", index=0)


def test_wrong_number_of_channels(folder):
    color = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    color[..., 0] = 1  # equal channels are gray
    folder.save("semseg/a.png", color)
    fails(folder, "semseg/a.png", "(24, 32, 3)", "1 channel", "encoding.order", index=0)


def test_archive_with_several_arrays(folder):
    np.savez(folder.root / "depth/a.npz", one=np.ones(3), two=np.ones(3))
    folder.config["tasks"]["depth"]["path"] = "depth/{name}.npz"
    fails(folder, "one, two", "encoding.key", index=0)
    folder.config["tasks"]["depth"]["encoding"] = {"key": "three"}
    fails(folder, "one, two", "'three'", index=0)


def test_missing_split_list(folder):
    (folder.root / "test.txt").unlink()
    fails(folder, folder.root / "test.txt", "splits.test", split="test")


def test_empty_split(folder):
    (folder.root / "test.txt").write_text("\n\n")
    fails(folder, "'test' is empty", split="test")


def test_unknown_split(folder):
    fails(folder, "no split 'val'", "train, test", split="val", error=InputError)


def test_pattern_without_any_file(folder):
    folder.config["tasks"]["depth"]["path"] = "deep/{name}.png"
    fails(folder, "no file matches tasks.depth.path", "deep/{name}.png")


def test_missing_root(folder):
    folder.config["root"] = "nowhere"
    fails(folder, folder.root / "nowhere", "does not exist", "'root'")


def test_root_not_given(folder):
    del folder.config["root"]
    fails(folder, folder.yaml, "root=", "data.root")


def test_missing_yaml(tmp_path):
    with pytest.raises(DataError, match=r"none\.yaml"):
        create_protocol(str(tmp_path / "none.yaml"))


@pytest.mark.parametrize("text", ["a: [", "just words", "- a list"])
def test_invalid_yaml(tmp_path, text):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(DataError, match=r"bad\.yaml"):
        create_protocol(str(path))


def change(config, keys, value):
    *path, last = keys.split(".")
    for key in path:
        config = config[key]
    if value is None:
        del config[last]
    else:
        config[last] = value


@pytest.mark.parametrize(
    ("key", "value", "needles"),
    [
        ("picture", "x", ["unknown key 'picture'", "image"]),
        ("tasks.depth.ignored", [0], ["tasks.depth.ignored", "Did you mean 'ignore'?", "path"]),
        ("tasks.depth.encoding.factor", 2, ["tasks.depth.encoding.factor", "scale, offset"]),
        ("augmentation", {"flip": 1}, ["augmentation.flip", "horizontal_flip"]),
        ("splits.train", {"file": "x"}, ["splits.train.file", "list, names, glob, fraction"]),
        ("splits.train", {}, ["give train one of"]),
        ("splits.dev", "x.txt", ["splits.dev", "'train', 'val' or 'test'"]),
        ("splits", {"train": 0.8, "test": 0.5}, ["add up to 1.3"]),
        ("image", None, ["'image' is missing"]),
        ("image", "rgb/a.png", ["image", "{name}"]),
        ("tasks.depth.path", "depth.png", ["tasks.depth.path", "{name}"]),
        ("tasks.depth.encoding.scale", "1/x", ["tasks.depth.encoding.scale", "fraction"]),
        ("tasks.normals.encoding.axes", ["right", "up", "left"], ["one of toward/forward"]),
        ("tasks.normals.encoding.axes", None, ["tasks.normals", "encoding.axes", "toward"]),
        ("tasks.normals.encoding.scale", [1, 2], ["encoding.scale has 2 numbers", "3 channel"]),
        ("tasks.depth.ignore", [[0, 0]], ["tasks.depth.ignore[0] has 2 numbers"]),
        ("tasks.normals.encoding.order", [0], ["encoding.order must choose 3"]),
        ("tasks.semseg.kind", "semsog", ["Unknown task 'semsog'", "semseg"]),
        ("tasks.semseg.classes", None, ["tasks.semseg", "number of classes"]),
        ("tasks.objects", {"path": "{name}"}, ["Unknown task 'objects'", "kind"]),
        ("tasks.depth.options", {"loss": "l2"}, ["tasks.depth", "no field loss", "losses"]),
        ("tasks.semseg.map", "labels.json#x", ["tasks.semseg.map", "labels.json"]),
        ("tasks.semseg.map", {"a": 1}, ["tasks.semseg.map", "'a': 1"]),
        ("tasks.semseg.map", {}, ["the map is empty"]),
        ("input_size", [0, 5], ["input_size.0", "greater than or equal to 1"]),
        ("fit", "crop", ["fit", "'stretch' or 'pad'"]),
        ("augmentation", {"zoom": [0]}, ["augmentation.zoom", "positive"]),
    ],
)
def test_wrong_key_or_value(folder, key, value, needles):
    change(folder.config, key, value)
    fails(folder, folder.yaml, *needles)
