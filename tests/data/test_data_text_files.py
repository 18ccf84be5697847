"""Lists, YAML and JSON of any editor are read, or refused at once with their name."""

import json
import os
import time

import numpy as np
import pytest
import yaml
from torch import Tensor

from taskprism.data import create_protocol
from taskprism.data.label_tables import class_table
from taskprism.errors import DataError, RecipeError
from taskprism.recipes.files import load_recipe
from taskprism.text_files import (
    YAML_BYTES,
    parse_yaml,
    read_lines,
    read_names,
    read_text,
    read_yaml,
)

FORMS = {
    "UTF-8": lambda text: text.encode(),
    "UTF-8 with a mark": lambda text: text.encode("utf-8-sig"),
    "UTF-16": lambda text: text.encode("utf-16"),
    "UTF-16, little end first": lambda text: text.encode("utf-16-le"),
    "UTF-16, big end first": lambda text: b"\xfe\xff" + text.encode("utf-16-be"),
    "UTF-32": lambda text: text.encode("utf-32"),
    "line ends of Windows": lambda text: text.replace("\n", "\r\n").encode(),
    "line ends of old Macs": lambda text: text.replace("\n", "\r").encode(),
    "line ends of Windows in UTF-16": lambda text: text.replace("\n", "\r\n").encode("utf-16"),
}
every_form = pytest.mark.parametrize("form", FORMS)


@every_form
def test_names_of_a_split(folder, form):
    for text in ("a\nb\n", "a\n\n b \n", "a,\nb,\n", "'a'\n\"b\"", "a, b", "a,b,\n", '["a", "b"]'):
        (folder.root / "train.txt").write_bytes(FORMS[form](text))
        assert create_protocol(str(folder.write())).dataset("train").names == ["a", "b"], text


@every_form
def test_yaml_and_json(folder, form):
    folder.config["name"] = "tiny"
    folder.config["tasks"]["semseg"]["classes"] = "names.json#all"
    (folder.root / "names.json").write_bytes(FORMS[form](json.dumps({"all": ["f", "wänd", "t"]})))
    path = folder.write()
    path.write_bytes(FORMS[form](path.read_text() + "# größe\n"))
    protocol = create_protocol(str(path))
    assert protocol.task("semseg").class_names == ("f", "wänd", "t")
    recipe = folder.root / "recipe.yaml"
    text = f"extends: rooms/mti_net\nepochs: 3\ndata: {{protocol: {path.name}}}\n"
    recipe.write_bytes(FORMS[form](text))
    assert load_recipe(recipe).epochs == 3


def test_names_in_windows_1252(folder):
    (folder.root / "rgb/a.png").rename(folder.root / "rgb/straße.png")
    (folder.root / "train.txt").write_bytes("b\nstraße\n".encode("cp1252"))
    assert create_protocol(str(folder.write())).dataset("train").names == ["b", "straße"]
    folder.yaml.write_bytes(folder.yaml.read_bytes() + "# größe\n".encode("cp1252"))
    with pytest.raises(DataError, match=r"data\.yaml is not UTF-8 text \(line \d+, byte 0xf6\)"):
        create_protocol(str(folder.yaml))


def test_names_with_other_separators_of_lines_are_whole(tmp_path):
    (tmp_path / "names.txt").write_text("a\u2028b\nc\x85d\n", encoding="utf-8")
    assert read_names(tmp_path / "names.txt") == ["a\u2028b", "c\x85d"]


@pytest.mark.parametrize(
    ("content", "pattern"),
    [
        (b"a" * 5000, "name 1 .* has 5000 characters"),
        (b"a\tb\n", "control characters"),
        (b"a\n\x00\x00\x01\x02b\xff", r"train\.txt"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", r"train\.txt"),
        (b'["a", 1]', "one name per line"),
        (b'["a", ', "not valid JSON"),
        (b"\xff\xfea", "UTF-16"),
    ],
)
def test_lists_that_are_not_lists(folder, content, pattern):
    (folder.root / "train.txt").write_bytes(content)
    with pytest.raises(DataError, match=pattern) as caught:
        create_protocol(str(folder.write())).dataset("train")
    assert "split 'train'" in str(caught.value)


@pytest.fixture
def pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    return tmp_path / "pipe.yaml"


def test_pipes_and_devices_are_not_read(folder, pipe, tmp_path):
    for path in (pipe, "/dev/zero", tmp_path):
        for reader in (read_text, read_lines, read_names, read_yaml):
            with pytest.raises(DataError, match=r"regular file|folder"):
                reader(type(tmp_path)(path))
        folder.config["splits"]["train"] = str(path)
        with pytest.raises(DataError, match=r"regular file|folder"):
            create_protocol(str(folder.write())).dataset("train")
    with pytest.raises(DataError, match="regular file"):
        create_protocol(str(pipe))
    with pytest.raises(RecipeError):
        load_recipe(pipe)


def test_large_files_are_not_read(tmp_path):
    path = tmp_path / "large.yaml"
    path.write_bytes(b"#" * (YAML_BYTES + 1))
    with pytest.raises(DataError, match=f"more than {YAML_BYTES}"):
        read_yaml(path)


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "\n".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
HOSTILE = {
    "lists in lists": ("a: " + "[" * 3000 + "]" * 3000, "nested too deeply"),
    "mappings in mappings": ("{a: " * 3000 + "1" + "}" * 3000, "nested too deeply"),
    "60 levels": ("a: " + "[" * 60 + "]" * 60, "nested too deeply"),
    "aliases of aliases": (BOMB, "1000000 values"),
    "a list in itself": ("a: &a [*a]", "nested too deeply"),
    "a key that occurs twice": ("epochs: 1\nepochs: 2\n", "'epochs' occurs twice"),
    "a mapping as a key": ("{a: 1}: 2", "not valid YAML"),
    "a list in a key": ("{[1, [2]]: 3}", "not valid YAML"),
    "a day that does not exist": ("a: 2020-13-45", "not valid YAML"),
    "a very long number": ("a: " + "9" * 5000, "not valid YAML"),
    "an object": ("a: !!python/object/apply:os.system [x]", "not valid YAML"),
    "a wrong tag": ("a: !!bool [1]", "not valid YAML"),
    "a tab": ("a:\n\t- b", "not valid YAML"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_yaml(tmp_path, name):
    text, pattern = HOSTILE[name]
    (tmp_path / "x.yaml").write_text(text)
    start = time.monotonic()
    with pytest.raises(DataError, match=pattern) as caught:
        create_protocol(str(tmp_path / "x.yaml"))
    assert "x.yaml" in str(caught.value)
    with pytest.raises(RecipeError, match=pattern):
        load_recipe(tmp_path / "x.yaml")
    assert time.monotonic() - start < 20


def test_hostile_json(folder):
    folder.config["tasks"]["semseg"]["classes"] = "names.json"
    for text in ("[" * 100_000, '{"a": ' * 60 + "1" + "}" * 60, "{", "", "NULL"):
        (folder.root / "names.json").write_text(text)
        with pytest.raises(DataError, match=r"tasks\.semseg\.classes.*names\.json"):
            create_protocol(str(folder.write()))


def test_merge_keys_and_lists_as_keys():
    text = "a: &x {c: 1, <<: {d: 1}}\nb: {<<: *x, c: 2}\ne: {[1, 2]: 3}"
    expected = {"a": {"c": 1, "d": 1}, "b": {"c": 2, "d": 1}, "e": {(1, 2): 3}}
    assert parse_yaml(text, "x") == expected
    assert parse_yaml("a: 1e-3", "x") == {"a": 0.001}
    assert parse_yaml("[12e4]", "x", exponents=False) == ["12e4"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("tasks.semseg.map", {"0-99999999999": 1}),
        ("tasks.semseg.map", {"0-999999": 1, "1000000-1999999": 1}),
        ("tasks.semseg.map", {"3-1": 1}),
        ("tasks.semseg.map", {10**30: 1}),
        ("tasks.semseg.map", {1: True}),
        ("tasks.semseg.map", {"1-3": 0, 2: 1}),
        ("tasks.depth.encoding.scale", "1e999999999"),
        ("tasks.depth.encoding.scale", "1" * 1000),
        ("tasks.depth.encoding.scale", float("inf")),
        ("tasks.depth.encoding.scale", True),
        ("tasks.depth.encoding.offset", "nan"),
        ("tasks.depth.encoding.order", [-1]),
        ("tasks.depth.valid_range", [0, float("nan")]),
        ("tasks.depth.loss_weight", True),
        ("tasks.depth.loss_weight", float("inf")),
        ("tasks.semseg.classes", 10**12),
        ("tasks.semseg.classes", 0),
        ("tasks.semseg.classes", True),
        ("input_size", [10**6, 10**6]),
        ("input_size", "32x48"),
        ("input_size", [32]),
        ("input_size", [True, 32]),
        ("input_size", None),
        ("input_size", [1.5, 2]),
        ("split_seed", 1.5),
        ("split_seed", True),
        ("augmentation.degrees", float("inf")),
        ("augmentation.zoom", [1e9]),
        ("augmentation.zoom", []),
        ("augmentation.zoom_range", [float("nan"), 1]),
        ("augmentation.horizontal_flip", True),
        ("splits.train", {"fraction": "1e999999999"}),
        ("splits.train", True),
    ],
)
def test_numbers_without_a_meaning(folder, key, value):
    folder.config["augmentation"] = {}
    config = folder.config
    *path, last = key.split(".")
    for part in path:
        config = config[part]
    config[last] = value
    start = time.monotonic()
    with pytest.raises(DataError) as caught:
        create_protocol(str(folder.write())).dataset("train")
    assert str(folder.yaml) in str(caught.value)
    assert key.split(".")[-1] in str(caught.value)
    assert time.monotonic() - start < 10


NAMES = ("floor", "wall", "thing")


@pytest.mark.parametrize(
    "classes",
    [
        list(NAMES),
        dict(enumerate(NAMES)),
        {str(i): name for i, name in enumerate(NAMES)},
        {name: i for i, name in enumerate(NAMES)},
        {2: "thing", 0: "floor", 1: "wall"},
        "names.txt",
        "numbered.txt",
        "names.json",
        "names.yaml",
    ],
)
def test_forms_of_class_names(folder, classes):
    (folder.root / "names.txt").write_text("floor\r\nwall,\r\n\r\nthing\r\n", encoding="utf-16")
    (folder.root / "numbered.txt").write_text("0: floor\n1, wall\n2 thing\n")
    (folder.root / "names.json").write_text(json.dumps(NAMES))
    (folder.root / "names.yaml").write_text(yaml.safe_dump({n: i for i, n in enumerate(NAMES)}))
    folder.config["tasks"]["semseg"]["classes"] = classes
    protocol = create_protocol(str(folder.write()))
    assert protocol.task("semseg").class_names == NAMES
    assert protocol.dataset("train")[0]["targets"]["semseg"].max() == 2


def test_class_numbers_with_gaps_become_indices(folder):
    labels = np.zeros((24, 32), dtype=np.uint8)
    labels[1], labels[2], labels[3] = 7, 11, 255
    path = folder.save("semseg/a.png", labels)
    folder.config["tasks"]["semseg"]["classes"] = {0: "road", 11: "car", 7: "person"}
    protocol = create_protocol(str(folder.write()))
    assert protocol.task("semseg").class_names == ("road", "person", "car")
    sample = protocol.dataset("train")[0]
    found = sample["targets"]["semseg"].as_subclass(Tensor).numpy()[0]
    assert found[:4, 0].tolist() == [0, 1, 2, 0]
    assert not sample["valid"]["semseg"][0, 3].any()
    labels[4] = 3
    folder.save("semseg/a.png", labels)
    with pytest.raises(DataError, match=r"values 3 are not in .*semseg\.classes") as caught:
        create_protocol(str(folder.write())).dataset("train")[0]
    assert str(path) in str(caught.value)
    folder.config["tasks"]["semseg"]["map"] = {0: 0, 3: 11, 7: "car", 11: 7}
    sample = create_protocol(str(folder.write())).dataset("train")[0]
    found = sample["targets"]["semseg"].unique().tolist()
    assert found == [0, 1, 2]
    folder.config["tasks"]["semseg"]["map"][3] = "train"
    with pytest.raises(DataError, match="'train' is neither the number nor the name"):
        create_protocol(str(folder.write())).dataset("train")


@pytest.mark.parametrize(
    "classes",
    [
        {},
        [],
        ["a", "a"],
        ["a", ""],
        [1, 2],
        {0: "a", 1: "a"},
        {0: "a", "b": 1},
        {"a": 0, "b": 0},
        {0: 1},
        {-1: "a"},
        {0.5: "a"},
        {0: None},
        [{"id": 0, "name": "a"}],
        True,
        2.5,
    ],
)
def test_other_class_names_are_refused(classes):
    with pytest.raises(DataError, match="here"):
        class_table(classes, "here")
