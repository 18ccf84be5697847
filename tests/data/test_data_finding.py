"""Images and labels are found in folders as people have them, and what is left out is counted."""

import json
import os
import pickle
import shutil
import unicodedata

import numpy as np
import pytest
from PIL import Image

from taskprism.data import create_protocol
from taskprism.data.benchmarks import names as benchmark_names
from taskprism.data.files import find_images
from taskprism.data.folder_files import fill
from taskprism.data.shards import pack
from taskprism.errors import DataError, InputError

HEIGHT, WIDTH = 24, 32


def names_of(folder, split="train"):
    return create_protocol(str(folder.write())).dataset(split).names


def all_names(folder):
    folder.config["splits"] = {"train": 1.0}
    return names_of(folder)


def remarks(folder):
    return create_protocol(str(folder.write())).remarks()


def photograph(folder, path):
    return folder.save(path, np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8))


@pytest.fixture
def simple(folder):
    """Images and class labels only."""
    folder.config["tasks"] = {"semseg": folder.config["tasks"]["semseg"]}
    for other in ("depth", "normals", "edge"):
        shutil.rmtree(folder.root / other)
    return folder


@pytest.mark.parametrize("place", ["rgb [v2]", "rgb*", "a?b", "[!x]", "rgb (1)", "r\u00e4b"])
def test_folders_with_glob_characters(simple, place):
    (simple.root / "rgb").rename(simple.root / place)
    (simple.root / "semseg").rename(simple.root / f"{place} labels")
    simple.config["image"] = f"{place}/{{name}}.png"
    simple.config["tasks"]["semseg"]["path"] = f"{place} labels/{{name}}.png"
    assert all_names(simple) == ["a", "b", "c", "d"]
    simple.config["splits"] = {"train": {"glob": f"{place}/[ab].png"}}
    assert names_of(simple) == ["a", "b"]
    assert "semseg" in create_protocol(str(simple.yaml)).dataset("train")[0]["targets"]


def test_a_root_with_glob_characters(simple, tmp_path):
    root = tmp_path / "set [1] *"
    shutil.copytree(simple.root, root, ignore=shutil.ignore_patterns("set*"))
    simple.config["root"] = str(root)
    assert all_names(simple) == ["a", "b", "c", "d"]
    assert len(create_protocol(str(simple.yaml)).fingerprint()) == 64


def test_endings_in_any_case(simple):
    (simple.root / "rgb/b.png").rename(simple.root / "rgb/b.PNG")
    (simple.root / "semseg/b.png").rename(simple.root / "semseg/b.Png")
    assert all_names(simple) == ["a", "b", "c", "d"]
    assert "semseg" in create_protocol(str(simple.yaml)).dataset("train")[1]["targets"]
    simple.config["splits"] = {"train": ["b"]}
    assert names_of(simple) == ["b"]


def test_both_spellings_of_an_ending(simple):
    for name, ending in zip("abcd", ["jpg", "jpeg", "JPG", "JPEG"], strict=True):
        with Image.open(simple.root / f"rgb/{name}.png") as opened:
            opened.save(simple.root / f"rgb/{name}.{ending}")
        (simple.root / f"rgb/{name}.png").unlink()
    simple.config["image"] = "rgb/{name}.jpg"
    assert all_names(simple) == ["a", "b", "c", "d"]


def test_several_endings_in_one_set(simple):
    with Image.open(simple.root / "rgb/b.png") as opened:
        opened.save(simple.root / "rgb/b.JPG")
    (simple.root / "rgb/b.png").unlink()
    np.save(simple.root / "semseg/c.npy", np.array(Image.open(simple.root / "semseg/c.png")))
    (simple.root / "semseg/c.png").unlink()
    assert all_names(simple) == ["a", "c", "d"]
    assert any("1 image file is in no split (rgb/b.JPG)" in line for line in remarks(simple))
    simple.config["image"] = "rgb/{name}.*"
    simple.config["tasks"]["semseg"]["path"] = "semseg/{name}.*"
    assert all_names(simple) == ["a", "b", "c", "d"]
    assert remarks(simple) == []
    dataset = create_protocol(str(simple.yaml)).dataset("train")
    assert all("semseg" in dataset[index]["targets"] for index in range(4))


def test_one_name_with_two_endings(simple):
    photograph(simple, "rgb/b.bmp")
    assert all_names(simple) == ["a", "b", "c", "d"]
    assert any("rgb/b.bmp" in line for line in remarks(simple))
    simple.config["image"] = "rgb/{name}.*"
    with pytest.raises(DataError, match=r"'b' is ambiguous.*b\.bmp and b\.png"):
        all_names(simple)
    (simple.root / "rgb/b.bmp").rename(simple.root / "rgb/b.PNG")
    simple.config["image"] = "rgb/{name}.png"
    with pytest.raises(DataError, match=r"b\.PNG and b\.png"):
        all_names(simple)
    (simple.root / "rgb/b.PNG").unlink()
    (simple.root / "semseg/b.PNG").write_bytes(b"")
    with pytest.raises(DataError, match=r"semseg has b\.PNG and b\.png"):
        create_protocol(str(simple.write())).dataset("train")[1]


HIDDEN = ["rgb/._a.png", "rgb/.DS_Store", "rgb/Thumbs.db", "rgb/.cache/x.png", "__MACOSX/rgb/a.png"]


def test_hidden_files_are_ignored(simple):
    for path in HIDDEN:
        (simple.root / path).parent.mkdir(parents=True, exist_ok=True)
        (simple.root / path).write_bytes(b"broken")
    assert all_names(simple) == ["a", "b", "c", "d"]
    assert remarks(simple) == []
    simple.config["splits"] = {"train": {"glob": "rgb/*"}}
    assert names_of(simple) == ["a", "b", "c", "d"]
    simple.config["splits"] = {"train": {"glob": "**/*.png"}}
    assert names_of(simple) == ["a", "b", "c", "d"]
    assert [path.name for path in find_images([simple.root / "rgb"])] == [
        f"{name}.png" for name in "abcd"
    ]
    with pytest.raises(InputError, match="no image"):
        find_images([simple.root / "__MACOSX"])
    (simple.root / "rgb/.cache/x.png").unlink()
    found = benchmark_names.found(simple.root, base="rgb", folder=".", ending=".png")
    assert found == ["a", "b", "c", "d"]


def test_folders_in_folders(simple):
    for name in ("a", "b"):
        for kind in ("rgb", "semseg"):
            target = simple.root / kind / "town" / "east"
            target.mkdir(parents=True, exist_ok=True)
            (simple.root / kind / f"{name}.png").rename(target / f"{name}.png")
    assert all_names(simple) == ["c", "d", "town/east/a", "town/east/b"]
    dataset = create_protocol(str(simple.yaml)).dataset("train")
    assert all("semseg" in dataset[index]["targets"] for index in range(4))


def test_links(simple, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (simple.root / "rgb/a.png").rename(elsewhere / "a.png")
    (simple.root / "rgb/a.png").symlink_to(elsewhere / "a.png")
    (simple.root / "rgb").rename(elsewhere / "rgb")
    (simple.root / "rgb").symlink_to(elsewhere / "rgb")
    (elsewhere / "rgb/loop").symlink_to(elsewhere / "rgb")
    (elsewhere / "rgb/gone.png").symlink_to(elsewhere / "nothing")
    assert all_names(simple) == ["a", "b", "c", "d"]
    assert len(create_protocol(str(simple.yaml)).fingerprint()) == 64
    simple.config["splits"] = {"train": ["gone"]}
    with pytest.raises(DataError, match=r"gone\.png"):
        names_of(simple)


def test_pipes_are_not_found(simple):
    os.mkfifo(simple.root / "rgb/z.png")
    assert all_names(simple) == ["a", "b", "c", "d"]
    simple.config["splits"] = {"train": ["z"]}
    with pytest.raises(DataError, match=r"z\.png"):
        names_of(simple)


@pytest.mark.parametrize("masks", ["masks", "annotations"])
def test_a_folder_per_split(simple, masks):
    for name, split in zip("abcd", ["train", "train", "valid", "test"], strict=True):
        for kind, folder in (("rgb", "images"), ("semseg", masks)):
            (simple.root / split / folder).mkdir(parents=True, exist_ok=True)
            target = simple.root / split / folder / f"{name}.png"
            (simple.root / kind / f"{name}.png").rename(target)
    simple.config["image"] = "{folder}/images/{stem}.png"
    simple.config["tasks"]["semseg"]["path"] = f"{{folder}}/{masks}/{{stem}}.png"
    simple.config["splits"] = {
        "train": {"glob": "train/images/*"},
        "val": {"glob": "valid/images/*.png"},
        "test": ["test/d"],
    }
    assert names_of(simple) == ["train/a", "train/b"]
    assert names_of(simple, "val") == ["valid/c"]
    sample = create_protocol(str(simple.yaml)).dataset("test")[0]
    assert sample["name"] == "test/d"
    assert "semseg" in sample["targets"]
    assert remarks(simple) == []
    assert all_names(simple) == ["test/d", "train/a", "train/b", "valid/c"]


def test_labels_beside_the_images_are_not_images(simple):
    for name in "abcd":
        (simple.root / f"semseg/{name}.png").rename(simple.root / f"rgb/{name}_mask.png")
    simple.config["tasks"]["semseg"]["path"] = "rgb/{name}_mask.png"
    assert all_names(simple) == ["a", "b", "c", "d"]
    simple.config["image"] = "{name}.png"
    for name in "abcd":
        (simple.root / f"rgb/{name}.png").rename(simple.root / f"{name}.png")
        (simple.root / f"rgb/{name}_mask.png").rename(simple.root / f"rgb/{name}.png")
    simple.config["tasks"]["semseg"]["path"] = "rgb/{name}.png"
    assert all_names(simple) == ["a", "b", "c", "d"]


def test_lists_with_endings_or_paths(simple):
    for text in ("a.png\nb.png", "rgb/a.png\nrgb/b.png", "a\nrgb/b.png"):
        (simple.root / "train.txt").write_text(text)
        assert names_of(simple) == ["a", "b"]


def test_names_in_another_unicode_form(simple):
    composed, decomposed = (unicodedata.normalize(form, "größe") for form in ("NFC", "NFD"))
    (simple.root / "rgb/a.png").rename(simple.root / f"rgb/{decomposed}.png")
    (simple.root / "semseg/a.png").rename(simple.root / f"semseg/{composed}.png")
    (simple.root / "train.txt").write_text(f"{composed}\n", encoding="utf-16")
    assert names_of(simple) == [composed]
    assert "semseg" in create_protocol(str(simple.yaml)).dataset("train")[0]["targets"]


def test_what_is_left_out_is_counted(simple):
    simple.config["splits"] = {"train": ["a"], "test": ["b"]}
    photograph(simple, "rgb/x.tiff")
    (simple.root / "semseg/b.png").unlink()
    (simple.root / "semseg/d.png").rename(simple.root / "semseg/other.png")
    found = remarks(simple)
    assert found[0].startswith("3 image files are in no split (rgb/c.png, rgb/d.png, rgb/x.tiff)")
    assert found[1] == (
        "semseg: 2 files are the label of no image in a split (semseg/c.png, semseg/other.png)"
    )
    assert found[2] == "semseg: 1 of 2 images have no label file (b)"


def test_an_empty_split_says_what_is_there(simple):
    simple.config["image"] = "rgb/{name}.jpg"
    simple.config["splits"] = {"train": 0.5}
    with pytest.raises(DataError, match=r"'train' is empty.*4 image files.*a\.png"):
        names_of(simple)


@pytest.mark.parametrize(
    ("key", "value", "pattern"),
    [
        ("image", "/data/{name}.png", "relative"),
        ("image", "rgb/{id}.png", "{name}"),
        ("image", "{split}/{name}.png", "{split}"),
        ("image", "rgb/{stem}.png", "{folder}"),
        ("splits", {"train": ["../a"]}, "leads out of the folder"),
        ("splits", {"train": ["/a"]}, "leads out of the folder"),
        ("splits", {"train": ["a" * 300]}, "too long"),
        ("splits", {"train": ["a\nb"]}, "control characters"),
        ("splits", {"train": {"glob": ""}}, "splits.train.glob"),
        ("splits", {"train": {"glob": "/rgb/*"}}, "relative"),
        ("name", "/some/where", "no slash"),
        ("name", "..", "no dot in front"),
        ("name", "", "name"),
        ("orientation", "up", "orientation"),
    ],
)
def test_wrong_patterns_and_names(simple, key, value, pattern):
    simple.config[key] = value
    with pytest.raises(DataError) as caught:
        names_of(simple)
    assert pattern in str(caught.value)


def test_fill():
    assert fill("{folder}/depth/{stem}.npy", "train/17") == "train/depth/17.npy"
    assert fill("{folder}/depth/{stem}.npy", "17") == "depth/17.npy"
    assert fill("rgb/{name}.png", "a/b") == "rgb/a/b.png"


def test_files_are_found_in_other_processes(simple):
    dataset = create_protocol(str(simple.write())).dataset("train")
    again = pickle.loads(pickle.dumps(dataset))
    assert again.names == dataset.names
    assert again[0]["targets"].keys() == dataset[0]["targets"].keys()


def turned(folder, tag):
    """Image ``a`` with an EXIF tag; its labels are drawn on the pixels as stored."""
    pixels = np.arange(HEIGHT * WIDTH * 3, dtype=np.uint8).reshape(HEIGHT, WIDTH, 3)
    exif = Image.Exif()
    exif[0x0112] = tag
    Image.fromarray(pixels).save(folder.root / "rgb/a.png", exif=exif)
    return pixels


def test_orientation_as_stored(simple):
    pixels = turned(simple, 6)
    with pytest.raises(DataError, match=r"32x24.*24x32.*'orientation: stored'"):
        create_protocol(str(simple.write())).dataset("train")[0]
    simple.config["orientation"] = "stored"
    sample = create_protocol(str(simple.write())).dataset("train")[0]
    np.testing.assert_allclose(sample["image"].numpy() * 255, pixels.transpose(2, 0, 1), atol=1e-3)
    labels = np.array(Image.open(simple.root / "semseg/a.png"))
    found = sample["targets"]["semseg"].numpy()[0]
    assert np.array_equal(found[labels != 255], labels[labels != 255])
    with Image.open(simple.root / "semseg/a.png") as opened:
        Image.fromarray(np.rot90(np.asarray(opened), -1)).save(simple.root / "semseg/a.png")
    with pytest.raises(DataError, match="'orientation: exif'"):
        create_protocol(str(simple.write())).dataset("train")[0]
    simple.config["orientation"] = "exif"
    sample = create_protocol(str(simple.write())).dataset("train")[0]
    assert sample["image"].shape == (3, WIDTH, HEIGHT)


def test_turned_images_whose_labels_fit_both_ways_are_doubted(simple):
    turned(simple, 3)
    dataset = create_protocol(str(simple.write())).dataset("train")
    (doubt,) = dataset.doubts(dataset.names)
    assert "(a)" in doubt
    assert "orientation: stored" in doubt
    for declared in ("exif", "stored"):
        simple.config["orientation"] = declared
        dataset = create_protocol(str(simple.write())).dataset("train")
        assert dataset.doubts(dataset.names) == []


def test_new_keys_at_their_defaults_keep_the_fingerprint(simple):
    first = create_protocol(str(simple.write())).fingerprint()
    content = create_protocol(str(simple.yaml)).config.model_dump(mode="json")
    assert "orientation" not in content
    assert not {"values", "lossy"} & set(content["tasks"]["semseg"]["encoding"])
    assert "colors" not in content["tasks"]["semseg"]
    simple.config["orientation"] = "exif"
    assert create_protocol(str(simple.write())).fingerprint() == first
    simple.config["orientation"] = "stored"
    assert create_protocol(str(simple.write())).fingerprint() != first


@pytest.fixture
def packed(simple, tmp_path):
    out = tmp_path / "out"
    pack(create_protocol(str(simple.write())), out)
    return out


def change_index(packed, change):
    index = json.loads((packed / "index.json").read_text())
    change(index)
    (packed / "index.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("change", "pattern"),
    [
        (lambda index: index.update(protocol="/some/where"), "no slash"),
        (lambda i: i["splits"]["train"][0]["samples"][0].update(name="../x"), "name of a sample"),
        (lambda i: i["splits"]["train"][0]["samples"][0]["members"].pop("image"), "no image"),
        (lambda index: index["folder"].update(input_size=[0, 1]), "input_size"),
        (lambda index: index["folder"].pop("image"), "'image' is missing"),
    ],
)
def test_hostile_indexes_are_refused(packed, change, pattern):
    change_index(packed, change)
    with pytest.raises(DataError, match=pattern) as caught:
        create_protocol(packed)
    assert "index.json" in str(caught.value)
