"""`taskprism data init` on folders of other people's making."""

import shutil

import numpy as np
import pytest
import yaml
from PIL import Image
from trees import TREES
from trees_cityscapes import write_official
from trees_nyud import write_nyud

from taskprism.cli import main
from taskprism.data import create_protocol
from taskprism.data.checking import check_protocol
from taskprism.data.proposing import propose
from taskprism.errors import DataError

SIZE = (48, 64)


@pytest.fixture(scope="module")
def scene():
    """Photograph, classes, mask, depth, normals and edges of one scene per seed."""

    def make(seed):
        rng = np.random.default_rng(seed)
        classes = np.zeros(SIZE, np.uint8)
        left = int(rng.integers(5, 40))
        classes[10:30, left : left + 15] = 1
        classes[35:] = 2
        photo = classes[..., None] * 90 + rng.integers(0, 40, (*SIZE, 3))
        depth = (1000 + classes.astype(np.uint16) * 500 + rng.integers(0, 300, SIZE)).astype(
            np.uint16
        )
        depth[:3] = 0
        normals = np.empty((*SIZE, 3), np.uint8)
        normals[:] = np.round((np.array([0.0, -0.6, -0.8]) + 1) * 127.5)
        normals[:3] = 0
        edges = (classes != np.roll(classes, 1, axis=1)).astype(np.uint8) * 255
        return {
            "photo": photo.astype(np.uint8),
            "classes": classes,
            "mask": (classes == 1).astype(np.uint8) * 255,
            "depth": depth,
            "normals": normals,
            "edges": edges,
            "colors": np.array([[0, 0, 0], [128, 0, 0], [0, 128, 0]], np.uint8)[classes],
        }

    return make


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def proposed(root):
    """The proposal as YAML, after the check has found nothing wrong with it."""
    file = root / "data.yaml"
    file.write_text(propose(root).to_yaml("."))
    report = check_protocol(create_protocol(str(file)))
    assert report.problems == []
    assert report.doubts == []
    return yaml.safe_load(file.read_text())


def test_numbers_decide_where_names_say_nothing(tmp_path, scene):
    folders = {"photo": "one", "classes": "two", "depth": "three", "normals": "four"}
    folders |= {"edges": "five", "mask": "six"}
    for seed in range(6):
        for kind, folder in folders.items():
            ending = "jpg" if kind == "photo" else "png"
            save(tmp_path / folder / f"{seed:03d}.{ending}", scene(seed)[kind])
    config = proposed(tmp_path)
    assert config["image"] == "one/{name}.jpg"
    assert config["input_size"] == [64, 64]
    assert config["splits"] == {"train": 0.8, "test": 0.2}
    tasks = config["tasks"]
    assert tasks["semseg"] == {"path": "two/{name}.png", "classes": 3}
    assert tasks["depth"]["encoding"] == {"scale": 0.001}
    assert tasks["depth"]["ignore"] == [0]
    assert tasks["normals"]["encoding"]["axes"] == ["right", "down", "forward"]
    assert tasks["normals"]["ignore"] == [[0, 0, 0]]
    assert tasks["edge"] == {"path": "five/{name}.png", "positive": [255]}
    assert tasks["saliency"] == {"path": "six/{name}.png", "positive": [255]}


@pytest.mark.parametrize(
    ("image", "mask", "pattern"),
    [
        ("{split}/images/{n}.jpg", "{split}/masks/{n}.png", "{folder}/images/{stem}.jpg"),
        ("images/{split}/{n}.jpg", "masks/{split}/{n}.png", "images/{name}.jpg"),
        ("{split}/{n}_rgb.png", "{split}/{n}_label.png", "{name}_rgb.png"),
        ("images/{split}/city/{n}.jpg", "masks/{split}/city/{n}.png", "images/{name}.jpg"),
    ],
)
def test_layouts_with_folders_of_splits(tmp_path, scene, image, mask, pattern):
    for seed in range(6):
        split = "training" if seed < 4 else "validation"
        made = scene(seed)
        save(tmp_path / image.format(split=split, n=seed), made["photo"])
        save(tmp_path / mask.format(split=split, n=seed), made["classes"])
    config = proposed(tmp_path)
    assert config["image"] == pattern
    assert list(config["splits"]) == ["train", "val"]
    protocol = create_protocol(str(tmp_path / "data.yaml"))
    assert len(protocol.dataset("train")) == 4
    assert len(protocol.dataset("val")) == 2
    (task,) = config["tasks"].values()
    assert task["classes"] == 3


def test_flat_folder_with_ends_of_names(tmp_path, scene):
    for seed in range(5):
        made = scene(seed)
        save(tmp_path / f"kitchen_{seed}_color.png", made["photo"])
        save(tmp_path / f"kitchen_{seed}_depth.png", made["depth"])
        save(tmp_path / f"kitchen_{seed}_seg.png", made["classes"])
    config = proposed(tmp_path)
    assert config["image"] == "{name}_color.png"
    assert config["tasks"]["depth"]["path"] == "{name}_depth.png"
    assert config["tasks"]["semseg"]["path"] == "{name}_seg.png"


def test_classes_as_colors_lists_and_names(tmp_path, scene):
    for seed in range(6):
        made = scene(seed)
        save(tmp_path / f"JPEGImages/{seed}.jpg", made["photo"])
        save(tmp_path / f"SegmentationClass/{seed}.png", made["colors"])
        save(tmp_path / f"ids/{seed}.png", made["classes"])
    (tmp_path / "train.txt").write_text("0\n1\n2\n3\n")
    (tmp_path / "test.txt").write_bytes("4\r\n5\r\n".encode("utf-16"))
    (tmp_path / "classes.txt").write_text("floor\nwall\nthing\n")
    config = proposed(tmp_path)
    assert config["splits"] == {"train": "train.txt", "test": "test.txt"}
    by_path = {task["path"].partition("/")[0]: task for task in config["tasks"].values()}
    assert by_path["ids"]["classes"] == "classes.txt"
    assert len(by_path["SegmentationClass"]["colors"]) == 3
    protocol = create_protocol(str(tmp_path / "data.yaml"))
    sample = protocol.dataset("train")[0]
    first, second = (sample["targets"][name] for name in config["tasks"])
    order = {tuple(color) for color in scene(0)["colors"].reshape(-1, 3).tolist()}
    assert len(order) == 3
    assert first.unique().tolist() == second.unique().tolist() == [0, 1, 2]


def test_every_file_is_searched_for_classes(tmp_path, scene):
    for seed in range(40):
        made = scene(seed)
        classes = made["classes"].copy()
        if seed == 17:  # not among the files that are opened first
            classes[0, :4] = 9
        save(tmp_path / f"rgb/{seed:02d}.jpg", made["photo"])
        save(tmp_path / f"labels/{seed:02d}.png", classes)
    assert proposed(tmp_path)["tasks"]["semseg"]["classes"] == 10


def test_shipped_sets_under_other_names(tmp_path, real_data):
    source = real_data / "osd_rgbd"
    names = {"rgb": "photos", "depth": "d", "semseg": "ann", "normals": "vec", "edge": "lines"}
    for before, after in names.items():
        (tmp_path / after).mkdir()
        for file in sorted((source / before).iterdir())[:8]:
            shutil.copy(file, tmp_path / after)
    tasks = proposed(tmp_path)["tasks"]
    assert tasks["semseg"] == {"path": "ann/{name}.png", "classes": 2, "ignore": [255]}
    assert tasks["depth"]["encoding"] == {"scale": 0.001}
    assert tasks["edge"] == {"path": "lines/{name}.png", "positive": [1], "ignore": [255]}
    assert tasks["normals"]["encoding"]["axes"] == ["right", "down", "forward"]


@pytest.mark.parametrize("layout", ["png", "npy"])
def test_the_miniature_of_nyud(tmp_path, layout):
    write_nyud(tmp_path, layout)
    found = {task.name for task in propose(tmp_path).tasks}
    assert {"semseg", "depth", "normals"} <= found


def test_the_miniature_of_cityscapes(tmp_path):
    write_official(tmp_path)
    proposal = propose(tmp_path)
    assert proposal.image == "leftImg8bit/{name}_leftImg8bit.png"
    assert set(proposal.splits) == {"train", "val"}
    paths = {task.keys["path"] for task in proposal.tasks}
    assert "gtFine/{name}_gtFine_labelIds.png" in paths


@pytest.mark.parametrize("name", TREES)
def test_every_miniature_is_proposed_or_refused_by_name(tmp_path, name):
    """What is proposed reads; what is not (arrays as images, MATLAB structs) is a named error."""
    TREES[name].write(tmp_path)
    try:
        proposal = propose(tmp_path)
    except DataError as error:
        assert "looks like photographs" in str(error) or "no labels were recognized" in str(error)
        return
    (tmp_path / "data.yaml").write_text(proposal.to_yaml("."))
    report = check_protocol(create_protocol(str(tmp_path / "data.yaml")))
    assert report.problems == []
    assert len(report.labels) == len(proposal.tasks) >= 1


def test_three_commands_and_no_documentation(tmp_path, scene, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed in range(6):
        made = scene(seed)
        split = "train" if seed < 4 else "val"
        save(tmp_path / f"stuff/{split}/images/{seed}.jpg", made["photo"])
        save(tmp_path / f"stuff/{split}/masks/{seed}.png", made["classes"])
        save(tmp_path / f"stuff/{split}/depth/{seed}.png", made["depth"])
    assert main(["data", "init", "stuff"]) == 0
    out = capsys.readouterr().out
    assert "no problems found" in out
    command = next(line for line in out.splitlines() if "taskprism train" in line).split()
    short = ["--epochs", "1", "--model.backbone", "test_resnet", "--data.batch-size", "2"]
    short += ["--data.options.input_size", "[32, 32]", "--model.options.neck_channels", "8"]
    assert main([*command[1:], *short]) == 0
    images = "stuff/val/images"
    assert main(["predict", "runs/stuff", images, "--out", "answers"]) == 0
    assert len(list((tmp_path / "answers").rglob("*4*"))) >= 2


def test_an_existing_yaml_is_kept(tmp_path, capsys):
    (tmp_path / "data.yaml").write_text("name: mine\n")
    assert main(["data", "init", str(tmp_path)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert (tmp_path / "data.yaml").read_text() == "name: mine\n"


def test_folders_without_images_or_labels(tmp_path, scene):
    with pytest.raises(DataError, match="is not a folder"):
        propose(tmp_path / "nowhere")
    with pytest.raises(DataError, match="contains no image"):
        propose(tmp_path)
    save(tmp_path / "rgb/a.jpg", scene(0)["photo"])
    save(tmp_path / "other/b.png", scene(0)["classes"])
    with pytest.raises(DataError, match=r"no labels were recognized: other/\{name\}\.png"):
        propose(tmp_path)
