"""Labels stored as colors."""

import json

import numpy as np
import pytest
from PIL import Image
from torch import Tensor

from taskprism.data import create_protocol
from taskprism.data.shards import pack
from taskprism.errors import DataError

HEIGHT, WIDTH = 24, 32
PASCAL = [(128, 0, 0), (0, 128, 0), (128, 128, 0)]
NAMES = ["floor", "wall", "thing"]


@pytest.fixture
def colored(folder):
    """The folder with its classes stored as three colors, and white where there is no label."""
    for name in "abcd":
        path = folder.root / f"semseg/{name}.png"
        labels = np.array(Image.open(path))
        table = np.full((256, 3), 255, dtype=np.uint8)
        table[:3] = PASCAL
        Image.fromarray(table[labels]).save(folder.root / f"semseg/{name}.png")
        np.save(folder.root / f"semseg/{name}.npy", labels)
    declare(folder, {"#800000": 0, "#008000": 1, "#808000": 2, "#ffffff": None})
    return folder


def declare(folder, colors, classes=NAMES, **further):
    task = {"path": "semseg/{name}.png", "classes": classes, "colors": colors, **further}
    folder.config["tasks"] = {"semseg": task}


def labels_of(folder):
    sample = create_protocol(str(folder.write())).dataset("train")[0]
    valid = sample["valid"]["semseg"].as_subclass(Tensor).numpy()[0]
    return np.where(valid, sample["targets"]["semseg"].as_subclass(Tensor).numpy()[0], 255)


@pytest.mark.parametrize(
    "colors",
    [
        {"128,0,0": 0, "0, 128, 0": 1, "(128 128 0)": 2, "[255, 255, 255]": None},
        {"#800000": 0, "#008000": 1, "#808000": 2, "#FFffff": None},
        {"#800000": "floor", "#008000": "wall", "#808000": "thing", "#ffffff": None},
        {0: [128, 0, 0], 1: "#008000", 2: [128, 128, 0]},
        {"floor": [128, 0, 0], "wall": [0, 128, 0], "thing": [128, 128, 0]},
        [[128, 0, 0], [0, 128, 0], [128, 128, 0]],
    ],
)
def test_forms(colored, colors):
    unmapped = {} if "None" in str(colors) else {"unmapped": "ignore"}
    declare(colored, colors, **unmapped)
    assert np.array_equal(labels_of(colored), np.load(colored.root / "semseg/a.npy"))


FILES = {
    "colors.json": json.dumps({"128,0,0": 0, "#008000": "wall", "128 128 0": 2}),
    "colors.yaml": "[128, 0, 0]: floor\n[0, 128, 0]: wall\n[128, 128, 0]: thing\n",
    "colors.txt": "128 0 0\r\n0 128 0\r\n128 128 0\r\n",
    "class_dict.csv": "name,r,g,b\nwall,0,128,0\nthing,128,128,0\nfloor,128,0,0\n",
    "named.txt": "# three classes\n128 128 0\tthing\n128 0 0\tfloor\n0 128 0\twall\n",
    "numbered.txt": "1 0 128 0\n0 128 0 0\n2 128 128 0\n",
}


@pytest.mark.parametrize("name", FILES)
def test_color_map_files(colored, name):
    (colored.root / name).write_bytes(FILES[name].encode())
    declare(colored, name, unmapped="ignore")
    assert np.array_equal(labels_of(colored), np.load(colored.root / "semseg/a.npy"))
    (colored.root / "all.json").write_text(json.dumps({"maps": {"c": {"#800000": 0}}}))
    declare(colored, "all.json#maps.c", unmapped="ignore")
    assert set(np.unique(labels_of(colored))) == {0, 255}


def test_color_keys_of_lists_in_yaml(colored):
    declare(colored, "COLORS")
    colored.write()
    colors = "{[128, 0, 0]: 0, [0, 128, 0]: wall, [128, 128, 0]: 2, [255, 255, 255]: null}"
    colored.yaml.write_text(colored.yaml.read_text().replace("COLORS", colors))
    sample = create_protocol(str(colored.yaml)).dataset("train")[0]
    found = sample["targets"]["semseg"].as_subclass(Tensor).numpy()[0]
    stored = np.load(colored.root / "semseg/a.npy")
    assert np.array_equal(found[stored != 255], stored[stored != 255])


@pytest.mark.parametrize("form", ["palette", "rgba", "gray"])
def test_other_forms_of_files(colored, form):
    labels = np.load(colored.root / "semseg/a.npy")
    path = colored.root / "semseg/a.png"
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    if form == "palette":
        indices = np.where(labels == 255, 7, 2 - labels).astype(np.uint8)  # another order
        picture = Image.fromarray(indices, mode="P")
        colors = np.zeros((256, 3), dtype=np.uint8)
        colors[:3], colors[7] = PASCAL[::-1], 255
        picture.putpalette(colors.ravel().tolist())
    elif form == "rgba":
        picture = picture.convert("RGBA")
    else:
        picture = Image.fromarray(np.where(labels == 255, 255, labels * 100).astype(np.uint8))
        colors = {(100 * i,) * 3: i for i in range(3)} | {(255, 255, 255): None}
        declare(colored, {f"{r},{g},{b}": value for (r, g, b), value in colors.items()})
    picture.save(path)
    assert np.array_equal(labels_of(colored), labels)


def test_a_mask_of_one_color(colored):
    colored.config["tasks"] = {
        "people": {
            "kind": "saliency",
            "path": "semseg/{name}.png",
            "colors": {"0,128,0": 1, "255,255,255": None, "128,0,0": 0, "128,128,0": 0},
        }
    }
    sample = create_protocol(str(colored.write())).dataset("train")[0]
    found = sample["targets"]["people"].as_subclass(Tensor).numpy()[0]
    assert np.array_equal(found == 1, np.load(colored.root / "semseg/a.npy") == 1)


def test_unknown_colors_are_listed_with_their_number(colored):
    path = colored.root / "semseg/a.png"
    pixels = np.array(Image.open(path))
    pixels[0, :12] = np.arange(12)[:, None]
    pixels[3, :7] = [1, 2, 3]
    Image.fromarray(pixels).save(path)
    with pytest.raises(DataError) as caught:
        labels_of(colored)
    text = str(caught.value)
    assert f"{path}: 13 colors are not in" in text
    assert "tasks.semseg.colors: [1, 2, 3] (7 pixels), [0, 0, 0] (1 pixels)" in text
    assert "and 3 more" in text
    declare(colored, {"#800000": 0, "#008000": 1, "#808000": 2}, unmapped="ignore")
    assert (labels_of(colored)[3, :7] == 255).all()


def test_the_advice_for_a_color_image_names_the_key(colored):
    del colored.config["tasks"]["semseg"]["colors"]
    with pytest.raises(DataError, match=r"each color is a class, list them in .*semseg\.colors"):
        labels_of(colored)


@pytest.mark.parametrize(
    ("colors", "further", "pattern"),
    [
        ({}, {}, "there is no color"),
        ({"128,0": 0}, {}, "'128,0' is not a color"),
        ({"128,0,256": 0}, {}, "0 to 255"),
        ({"red": 0}, {}, "'red' is not a color"),
        ({"#800000": 0, "128,0,0": 1}, {}, r"\[128, 0, 0\] has two classes"),
        ({"#800000": "ceiling"}, {}, "'ceiling' is neither .*floor, wall, thing"),
        ({"#800000": 0.5}, {}, "0.5 is neither"),
        ({"#800000": 0}, {"map": {0: 1}}, "give one of map, colors"),
        ({"#800000": 0}, {"ignore": [255]}, r"null.*in colors"),
        ("missing.txt", {}, "missing.txt"),
        (7, {}, "tasks.semseg.colors"),
    ],
)
def test_wrong_colors(colored, colors, further, pattern):
    declare(colored, colors, **further)
    with pytest.raises(DataError, match=pattern) as caught:
        labels_of(colored)
    assert str(colored.yaml) in str(caught.value)


def test_colors_are_packed_and_part_of_the_fingerprint(colored, tmp_path):
    first = create_protocol(str(colored.write())).fingerprint()
    out = tmp_path / "out"
    pack(create_protocol(str(colored.yaml)), out)
    packed = create_protocol(out).dataset("train")[0]
    labels = np.load(colored.root / "semseg/a.npy")
    found = packed["targets"]["semseg"].as_subclass(Tensor).numpy()[0]
    assert np.array_equal(found[labels != 255], labels[labels != 255])
    colored.config["tasks"]["semseg"]["colors"]["#010101"] = None
    assert create_protocol(str(colored.write())).fingerprint() != first
