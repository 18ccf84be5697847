"""`taskprism data`: describe, check, build."""

import re

import numpy as np
import pytest
from PIL import Image
from trees_cityscapes import write_mtan, write_official
from trees_nyud import HEIGHT, WIDTH, coded, write_nyud, write_nyud13

from taskprism.cli import main
from taskprism.data import create_protocol, list_protocols
from taskprism.data.checking import check_protocol
from taskprism.data.describing import describe_protocol


def problems(report):
    """All but that a miniature is smaller than the published set."""
    return [text for text in report.problems if "published set has" not in text]


TREES = {
    "nyud40-mat": ("nyud40", lambda root: write_nyud(root, "mat")),
    "nyud40-npy": ("nyud40", lambda root: write_nyud(root, "npy")),
    "nyud41-png": ("nyud41", lambda root: write_nyud(root, "png")),
    "nyud13": ("nyud13", write_nyud13),
    "cityscapes19": ("cityscapes19", write_official),
    "cityscapes7": ("cityscapes7", write_mtan),
}


@pytest.mark.parametrize("case", TREES)
def test_check_of_valid_folders_passes(tmp_path, case):
    name, write = TREES[case]
    write(tmp_path)
    report = check_protocol(create_protocol(name, root=tmp_path))
    assert problems(report) == []
    assert len(report.problems) == 2  # the counts of both splits
    assert report.splits == report.opened == {"train": 4, "test": 2}
    assert len(report.samples) == 4
    assert report.variant.startswith(create_protocol(name, root=tmp_path).found_variant().name)
    for one in report.labels:
        assert one.images == 6
        assert 0.8 < one.share <= 1


def test_statistics_are_those_of_the_labels(tmp_path):
    made = write_nyud(tmp_path, "npy")
    report = check_protocol(create_protocol("nyud40", root=tmp_path))
    by_name = {one.task.name: one for one in report.labels}
    classes = np.concatenate([one.classes.ravel() for one in made.values()])
    counts = np.bincount(classes, minlength=41)[1:]
    assert by_name["semseg"].classes.tolist() == counts.tolist()
    depth = np.concatenate([one.depth.ravel() for one in made.values()])
    assert by_name["depth"].low == depth[depth > 0].min()
    assert by_name["depth"].high == depth.max()
    assert by_name["depth"].mean.item() == pytest.approx(depth[depth > 0].mean(), rel=1e-6)
    normals = by_name["normals"]
    assert (normals.ground[1] / normals.ground_pixels).item() == pytest.approx(0.96, abs=1e-3)
    assert sum("no pixel is" in note for note in report.notes) == 1


def test_every_missing_and_broken_file_is_listed(tmp_path):
    write_nyud(tmp_path, "npy")
    (tmp_path / "depth/0003.npy").unlink()
    (tmp_path / "images/0005.jpg").unlink()
    (tmp_path / "edge/0003.npy").write_text("no array")
    Image.fromarray(np.full((HEIGHT, WIDTH), 77, np.uint8)).save(tmp_path / "segmentation/0003.png")
    (tmp_path / "images/1449.jpg").write_bytes(b"\xff\xd8 cut off")
    found = problems(check_protocol(create_protocol("nyud40", root=tmp_path)))
    assert len(found) == 5
    for part in (
        "depth/0003.npy: missing",
        "images/0005.jpg: missing",
        "edge/0003.npy: this label file cannot be read",
        "segmentation/0003.png: the labels 77 do not occur",
        "images/1449.jpg: this image cannot be read",
    ):
        assert sum(part in text for text in found) == 1


def test_wrong_axes_and_units_are_reported(tmp_path):
    write_nyud(tmp_path, "png")
    for path in (tmp_path / "normals").iterdir():
        normals = np.array(Image.open(path)).astype(int)
        Image.fromarray((255 - normals).astype(np.uint8)).save(path)
    for path in (tmp_path / "depth").iterdir():
        np.save(path, np.load(path) * 1000)
    report = check_protocol(create_protocol("nyud40", root=tmp_path))
    found = [*problems(report), *report.doubts]
    assert len(found) == 4
    assert any("depth: the median depth of 6 labels is" in text for text in found)
    assert any("normals: the mean z is" in text and "'forward'" in text for text in found)
    assert any("normals: floors face down (mean n_y = -0.9" in text for text in found)
    assert any("depth: values from" in text and "Check the unit" in text for text in found)
    turned = create_protocol(
        "nyud40",
        root=tmp_path,
        tasks=["semseg", "normals"],
        normals_axes=["left", "down", "forward"],
    )
    assert problems(check_protocol(turned)) == []


def test_labels_without_valid_pixels_are_reported(tmp_path):
    write_nyud(tmp_path, "png")
    for path in (tmp_path / "normals").iterdir():
        Image.fromarray(coded(np.zeros((HEIGHT, WIDTH, 3)))).save(path)
    found = problems(check_protocol(create_protocol("nyud40", root=tmp_path)))
    assert found == ["normals: no pixel has a label"]


def test_check_of_a_few_samples(tmp_path):
    write_nyud13(tmp_path)
    seen = []

    def track(indices, total):
        seen.append(list(indices))
        return indices

    report = check_protocol(create_protocol("nyud13", root=tmp_path), samples=3, track=track)
    assert seen == [[0, 2, 3], [0, 1]]
    assert report.opened == {"train": 3, "test": 2}
    assert not any("no pixel is" in note for note in report.notes)


def test_folders_and_rooms_can_be_checked_too(folder):
    report = check_protocol(create_protocol(str(folder.write())))
    assert report.problems == []
    assert report.variant == ""
    assert report.splits == {"train": 3, "test": 1}
    (folder.root / "semseg/a.png").write_text("broken")
    found = check_protocol(create_protocol(str(folder.write()))).problems
    assert len(found) == 1
    assert "semseg/a.png" in found[0]
    (folder.root / "rgb/d.png").unlink()
    found = check_protocol(create_protocol(str(folder.write()))).problems
    assert len(found) == 1
    assert "rgb/d.png" in found[0]
    rooms = create_protocol("rooms", input_size=[24, 32], tasks=["semseg", "depth", "normals"])
    report = check_protocol(rooms, samples=2)
    assert report.problems == []
    assert report.opened == {"train": 2, "val": 2, "test": 2}


def test_the_command_checks_and_draws(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_nyud(tmp_path / "tree", "npy")
    words = ["data", "check", "nyud40", "tree", "--tasks", "semseg", "depth"]
    assert main([*words, "--picture", "sheet.png"]) == 2  # fewer images than published
    out, err = capsys.readouterr()
    assert "nyud40, variant npy" in out
    assert "train: 4 of 795 samples, 4 opened" in out
    assert re.search(r"depth +│ +6 │", out)
    assert "normals" not in out
    assert "2 problem(s)" in err
    picture = np.array(Image.open("sheet.png"))
    assert picture.ndim == 3
    assert picture.std() > 10
    assert "data:image" in (tmp_path / "sheet.html").read_text()
    (tmp_path / "file").write_text("")
    assert main(["data", "check", "nyud40", "tree", "--picture", "file/sheet.png"]) == 2
    assert "Could not write file/sheet.png" in capsys.readouterr().err
    assert main(["data", "check", "nyud40", "tree", "--options", "augmentation"]) == 2
    assert "KEY=VALUE" in capsys.readouterr().err


def test_check_of_a_valid_folder_exits_with_0(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder.root)
    assert main(["data", "check", str(folder.write())]) == 0
    assert "no problems found" in capsys.readouterr().out
    assert (folder.root / "tiny_check.png").is_file()


def test_options_reach_the_protocol(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_official(tmp_path / "tree")
    options = ["--options", "target=depth", "limit=50"]
    assert main(["data", "check", "cityscapes19", "tree", *options]) == 2
    out = capsys.readouterr().out
    assert "variant official" in out
    assert "to 40" in out  # meters of the building
    assert main(["data", "check", "cityscapes19", "tree", "--options", "target=feet"]) == 2
    assert "Known: inverse_depth, depth, disparity" in capsys.readouterr().err


def test_check_of_a_wrong_folder_reports_what_was_expected(tmp_path, capsys):
    assert main(["data", "check", "cityscapes19", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert "official (as distributed by the authors)" in err
    assert "expects leftImg8bit/train, which does not exist" in err


@pytest.mark.parametrize("name", list_protocols())
def test_every_protocol_can_be_described(name):
    text = describe_protocol(name)
    assert text.startswith(f"{name}:")
    assert "License: " in text


def test_descriptions_contain_source_license_and_layout(folder, capsys):
    text = describe_protocol("nyud40")
    for part in (
        "Get it: ",
        "Used by: MTI-Net",
        "Splits: train 795, test 654",
        "normals, 3 channels, loss weight 10, ranked by mean_angle",
        "mti_net [default]: flip",
        "Scored at the original resolution",
        "Variant 'mat'",
        "key segmentation, 0..40",
        "gt_sets/train.txt",
    ):
        assert part in text
    text = describe_protocol(str(folder.write()))
    assert "semseg/{name}.png  semseg" in text
    assert "train: list train.txt" in text
    assert main(["data", "describe", "nyud"]) == 2
    assert "Did you mean" in capsys.readouterr().err


def test_actions_are_listed_and_named(capsys):
    assert main(["data", "--help"]) == 0
    out = capsys.readouterr().out
    assert all(action in out for action in ("describe", "check", "build"))
    assert main(["data", "chek"]) == 2
    assert "Did you mean 'check'" in capsys.readouterr().err


def test_the_build_command(tmp_path, capsys, monkeypatch):
    pytest.importorskip("h5py")
    import scipy.io
    import trees_nyud_official as official

    source, _ = official.write_official(tmp_path, frames=2)
    official.write_companions(tmp_path)
    scipy.io.savemat(tmp_path / "splits.mat", {"trainNdxs": [[1]], "testNdxs": [[2]]})
    words = [
        *("data", "build", "nyud", "--from", str(source)),
        *("--splits", str(tmp_path / "splits.mat")),
        *("--classes", str(tmp_path / "classMapping40.mat"), "--out", str(tmp_path / "out")),
    ]
    assert main(words) == 0
    captured = capsys.readouterr()
    assert "taskprism data check nyud40" in captured.out
    assert "images: 2/2" in captured.err
    report = check_protocol(create_protocol("nyud40", root=tmp_path / "out"))
    assert problems(report) == []
    assert main([*words, "--full"]) == 2
    assert "another crop" in capsys.readouterr().err


def doubts_of(folder, **options):
    report = check_protocol(create_protocol(str(folder.write()), **options))
    assert report.problems == []
    return report.doubts


def test_a_valid_folder_raises_no_doubt(folder):
    assert doubts_of(folder) == []


def test_depth_of_exactly_0_is_a_doubt_unless_it_is_ignored(folder):
    folder.config["tasks"] = {"depth": {**folder.config["tasks"]["depth"], "ignore": []}}
    (found,) = doubts_of(folder)
    assert "depth: 4 labels (a, b, c, ...) have a depth of exactly 0" in found
    assert "tasks.depth.ignore: [0]" in found


def test_depth_in_the_wrong_unit_is_a_doubt(folder):
    folder.config["tasks"] = {"depth": {"path": "depth/{name}.png", "ignore": [0]}}
    (found,) = doubts_of(folder)
    assert "outside 0.05 to 500 m" in found
    assert "tasks.depth.encoding.scale" in found


def test_masks_that_are_never_positive_are_a_doubt(folder):
    folder.config["tasks"] = {"edge": {"path": "edge/{name}.png", "positive": [7]}}
    (found,) = doubts_of(folder)
    assert "none of 4 labels (a, b, c, ...) has a positive pixel" in found
    assert "tasks.edge.positive" in found


def test_class_ids_that_are_multiples_are_a_doubt(folder):
    for name in "abcd":
        classes = np.arange(24 * 32).reshape(24, 32) % 3 * 40
        folder.save(f"semseg/{name}.png", classes.astype(np.uint8))
    folder.config["tasks"] = {"semseg": {"path": "semseg/{name}.png", "classes": 100}}
    (found,) = doubts_of(folder)
    assert "are 0, 40, 80, all multiples of 40" in found
    assert "tasks.semseg.map: {0: 0, 40: 1, 80: 2, ...}" in found


def test_labels_of_a_single_class_are_a_doubt(folder):
    for name in "abcd":
        folder.save(f"semseg/{name}.png", np.zeros((24, 32), np.uint8))
    folder.config["tasks"] = {"semseg": folder.config["tasks"]["semseg"]}
    (found,) = doubts_of(folder)
    assert "every labeled pixel of 4 labels (a, b, c, ...) is class 0 (floor)" in found


def test_normals_that_are_not_of_unit_length_are_a_doubt(folder):
    normals = folder.config["tasks"]["normals"]
    folder.config["tasks"] = {"normals": normals}
    normals["encoding"] |= {"scale": "1/160", "offset": "-128/160"}
    train, test = doubts_of(folder)
    assert "normals: 3 labels (a, b, c) have vectors that are not of unit length" in train
    assert "normals: 1 label (d)" in test


def test_an_order_that_merges_colors_is_a_doubt(folder):
    palette = np.array([[128, 0, 0], [0, 128, 0], [128, 128, 0]], np.uint8)
    for name in "abcd":
        classes = np.arange(24 * 32).reshape(24, 32) % 3
        folder.save(f"semseg/{name}.png", palette[classes])
    semseg = {"path": "semseg/{name}.png", "classes": 2, "map": {0: 0, 128: 1}}
    folder.config["tasks"] = {"semseg": {**semseg, "encoding": {"order": [0]}}}
    train, _ = doubts_of(folder)
    assert "3 labels (a, b, c) have more colors" in train
    assert "tasks.semseg.colors" in train
    for name in "abcd":  # as in CARLA: the other channels say nothing
        only_red = np.zeros((24, 32, 3), np.uint8)
        only_red[..., 0] = np.arange(24 * 32).reshape(24, 32) % 2 * 128
        folder.save(f"semseg/{name}.png", only_red)
    assert doubts_of(folder) == []


def test_images_in_two_splits_or_twice_in_one_are_doubts(folder):
    (folder.root / "test.txt").write_text("d\nb\n")
    (folder.root / "rgb/c.png").write_bytes((folder.root / "rgb/a.png").read_bytes())
    folder.config["tasks"] = {"edge": folder.config["tasks"]["edge"]}
    across, within = doubts_of(folder)
    assert "1 image is in more than one split" in across
    assert "train/b = test/b" in across
    assert "1 image is in a split twice: train/a = train/c" in within


def test_names_that_are_listed_twice_are_a_doubt(folder):
    (folder.root / "train.txt").write_text("a\nb\na\nc\n")
    (found,) = doubts_of(folder)
    assert "1 name(s) are listed more than once in splits.train: a." in found


def test_the_exit_status_of_a_doubt_is_1(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder.root)
    (folder.root / "test.txt").write_text("d\nb\n")
    assert main(["data", "check", str(folder.write()), "--report", "page.html"]) == 1
    assert "DECIDE: 1 image is in more than one split" in capsys.readouterr().out
    page = (folder.root / "page.html").read_text()
    assert "1 image is in more than one split" in page
    assert "semseg: " in page  # the share of each class
    assert page.count("<img") >= 5  # the samples, and a histogram per task


@pytest.mark.parametrize("samples", ["0", "-1"])
def test_a_check_opens_at_least_one_sample(folder, capsys, samples):
    assert main(["data", "check", str(folder.write()), "--samples", samples]) == 2
    assert f"--samples must be at least 1, got {samples}" in capsys.readouterr().err


def test_a_joint_protocol_passes_on_the_doubts_of_its_parts(folder):
    (folder.root / "train.txt").write_text("a\nb\na\n")
    (folder.root / "test.txt").write_text("d\nb\n")
    rooms = create_protocol("rooms", input_size=folder.config["input_size"], train_length=1)
    joint = create_protocol([str(folder.write()), rooms], tasks=["depth", "normals"])
    repeated, *_ = joint.doubts()
    assert repeated.startswith("tiny: 1 name(s) are listed more than once in splits.train: a.")
    assert any("1 image(s) are in more than one split (b)" in text for text in joint.first_doubts())
