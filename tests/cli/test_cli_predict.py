"""The command ``taskprism predict`` on images of many kinds."""

from __future__ import annotations

import errno
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from taskprism.cli import main
from taskprism.cli.naming import unique_names
from taskprism.data.files import find_images
from taskprism.errors import InputError
from taskprism.models import PredictedImage, create_model
from taskprism.models.hub import load
from taskprism.stores import StorePath
from taskprism.tasks import create_task

TASKS = [create_task("semseg", class_names=("floor", "wall", "thing")), create_task("depth")]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    model = create_model("multi_task", TASKS, backbone="test_resnet")
    for checkpoint in ("best", "last"):
        model.save_pretrained(folder / "checkpoints" / checkpoint)
    (folder / "manifest.json").write_text(json.dumps({"protocol": {"input_size": [48, 64]}}))
    return folder


def pixels(*shape: int, top: int = 256, kind: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, top, shape).astype(kind)


@pytest.fixture
def images(tmp_path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    Image.fromarray(pixels(33, 47)).save(folder / "gray.png")
    Image.fromarray(pixels(40, 50, 4)).save(folder / "transparent.png")
    Image.fromarray(pixels(40, 50, top=65536, kind=np.uint16)).save(folder / "deep.png")
    Image.fromarray(pixels(60, 90, 3)).convert("P").save(folder / "palette.gif")
    Image.fromarray(pixels(300, 17, 3)).save(folder / "sliver.webp")
    rotated = Image.Exif()
    rotated[0x0112] = 6  # turned by a quarter
    Image.fromarray(pixels(30, 80, 3)).save(folder / "turned.jpg", exif=rotated)
    return folder


SIZES = {
    "gray": (33, 47),
    "transparent": (40, 50),
    "deep": (40, 50),
    "palette": (60, 90),
    "sliver": (300, 17),
    "turned": (80, 30),
}


@pytest.mark.parametrize("size", ["network", "native"])
def test_pictures_have_the_size_of_their_image(run, images, tmp_path, size):
    out = tmp_path / "out"
    assert main(["predict", str(run), str(images), "--out", str(out), "--size", size]) == 0
    for name, shape in SIZES.items():
        with Image.open(out / "depth" / f"{name}.png") as picture:
            assert (picture.height, picture.width) == shape and picture.mode == "RGB"
        assert (out / "semseg" / f"{name}.png").is_file()
        with Image.open(out / "panels" / f"{name}.png") as picture:
            assert picture.width > 3 * 200
    assert not list(out.rglob("*.npy"))


def test_raw_arrays_contain_classes_and_meters(run, images, tmp_path):
    command = ["predict", str(run), str(images / "gray.png"), "--out", str(tmp_path), "--raw"]
    assert main(command) == 0
    classes = np.load(tmp_path / "semseg" / "gray.npy")
    assert classes.shape == (33, 47) and classes.dtype == np.uint8 and classes.max() < 3
    meters = np.load(tmp_path / "depth" / "gray.npy")
    assert meters.shape == (33, 47) and meters.dtype == np.float32 and (meters >= 0).all()


def test_tasks_can_be_chosen(run, images, tmp_path):
    command = ["predict", str(run), str(images / "gray.png"), "--out", str(tmp_path / "out")]
    assert main([*command, "--tasks", "depth"]) == 0
    assert not (tmp_path / "out" / "semseg").exists()


def test_corrupt_files_are_named_and_other_images_are_predicted(run, images, tmp_path, capsys):
    whole = (images / "turned.jpg").read_bytes()
    (images / "broken.jpg").write_bytes(whole[: len(whole) // 2])
    (images / "text.png").write_text("not an image")
    out = tmp_path / "out"
    assert main(["predict", str(run), str(images), "--out", str(out)]) == 2
    message = capsys.readouterr().err
    assert "Cannot read 2 of 8 images" in message
    assert "broken.jpg" in message and "text.png" in message
    assert {file.stem for file in (out / "depth").iterdir()} == set(SIZES)


def test_wrong_names_fail_before_anything_is_written(run, images, tmp_path, capsys):
    out = ["--out", str(tmp_path / "out")]
    assert main(["predict", str(run), str(images), *out, "--tasks", "albedo"]) == 2
    assert "does not predict albedo; it predicts semseg, depth" in capsys.readouterr().err
    assert main(["predict", str(run), str(tmp_path / "absent.png"), *out]) == 2
    assert "absent.png does not exist" in capsys.readouterr().err
    assert main(["predict", str(tmp_path / "nowhere"), str(images), *out]) == 2
    assert "nowhere" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_missing_checkpoint_lists_the_existing_ones(tmp_path, images, capsys):
    model = create_model("multi_task", TASKS, backbone="test_resnet")
    model.save_pretrained(tmp_path / "run" / "checkpoints" / "best")
    command = ["predict", str(tmp_path / "run"), str(images / "gray.png")]
    assert main([*command, "--out", str(tmp_path / "out")]) == 2
    assert "no checkpoint 'last'; it has best" in capsys.readouterr().err
    assert main([*command, "--out", str(tmp_path / "out"), "--checkpoint", "best"]) == 0


def test_model_folder_without_manifest_predicts_at_native_size(run, images, tmp_path, capsys):
    create_model("multi_task", TASKS, backbone="test_resnet").save_pretrained(tmp_path / "saved")
    model = tmp_path / "saved"
    assert main(["predict", str(model), str(images / "gray.png"), "--out", str(tmp_path)]) == 0
    assert "does not record its training size" in capsys.readouterr().err


def test_output_that_cannot_be_written_is_reported(run, images, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    out = str(tmp_path / "file" / "out")
    assert main(["predict", str(run), str(images / "gray.png"), "--out", out]) == 2
    assert "Cannot write to" in capsys.readouterr().err


def test_images_are_found_once_in_order(images):
    found = find_images([images / "turned.jpg", images])
    assert [f.stem for f in found] == [
        "turned",
        "deep",
        "gray",
        "palette",
        "sliver",
        "transparent",
    ]
    (images / "empty").mkdir()
    with pytest.raises(InputError, match="contains no image"):
        find_images([images / "empty"])
    with pytest.raises(InputError, match="No image"):
        find_images([])


def test_images_with_the_same_name_get_unique_names():
    files = [Path("a/x.png"), Path("b/x.png"), Path("a/x.jpg"), Path("y.png")]
    assert unique_names(files) == ["x.png", "x.png_2", "x.jpg", "y"]


ODD = [
    "a\nb.png",
    "..png",
    "...png",
    os.fsdecode(b"caf\xe9.png"),
    "tab\there.png",
    "x" * 240 + ".png",
]


def test_odd_names_get_safe_unique_results_and_are_reported(run, images, tmp_path, capsys):
    folder = tmp_path / "odd"
    folder.mkdir()
    files = [folder / name for name in [*ODD, "a_b.png", "A_B.png"]]
    for file in files:
        file.write_bytes((images / "gray.png").read_bytes())
    out = tmp_path / "out"
    words = ["predict", str(run), *map(str, files), "--out", str(out), "--raw"]
    assert main(words) == 0
    message = " ".join(capsys.readouterr().err.split())
    assert "Predicted 8 of 8 images" in message
    assert "are named 'a_b'" in message and "are named 'caf_'" in message
    for task in ("panels", "depth", "semseg"):
        pictures = [path.name for path in (out / task).glob("*.png")]
        assert len(pictures) == len({name.casefold() for name in pictures}) == 8
        assert not any(name.startswith(".") or "\n" in name for name in pictures)
    assert len(list(out.rglob("*.npy"))) == 16
    assert {path.name for path in tmp_path.iterdir()} == {"images", "odd", "out"}


@pytest.mark.parametrize("name", ["/some/where", "../up", "a/b", ".."])
def test_the_name_of_a_task_never_leads_out_of_the_folder(
    run, images, tmp_path, capsys, monkeypatch, name
):
    def hostile(source, device):
        model = load(source, device)
        object.__setattr__(model.tasks[0], "name", name)
        return model

    monkeypatch.setattr("taskprism.cli.predict.load", hostile)
    out = tmp_path / "deep" / "out"
    assert main(["predict", str(run), str(images), "--out", str(out)]) == 2
    assert f"The name {name!r} leads out of the folder" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"images"}


@pytest.mark.parametrize("ending", [".png", ".npy"])
def test_a_full_disk_is_named_and_leaves_no_half_file(
    run, images, tmp_path, capsys, monkeypatch, ending
):
    write = Path.write_bytes

    def fail(self, content):
        if self.name.endswith(f"{ending}.partial") and self.parent.name == "depth":
            write(self, content[:10])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, content)

    monkeypatch.setattr(Path, "write_bytes", fail)
    out = tmp_path / "out"
    assert main(["predict", str(run), str(images), "--out", str(out), "--raw"]) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert not list(out.rglob("*.partial")) and not list(out.rglob(".*"))
    assert all(Image.open(file).size for file in out.rglob("*.png"))


def test_an_unknown_device_is_named(run, images, tmp_path, capsys):
    for device in ("foo", "meta"):
        words = ["predict", str(run), str(images), "--out", str(tmp_path / "o"), "--device", device]
        assert main(words) == 2
        assert f"Cannot use device '{device}'" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_image_statistics_must_be_positive(run, images, tmp_path, capsys):
    model = create_model("multi_task", TASKS, backbone="test_resnet")
    model.save_pretrained(tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    for std in ([0.2, 0.0, 0.2], [0.2, math.nan, 0.2]):
        (tmp_path / "model" / "config.json").write_text(json.dumps({**config, "image_std": std}))
        words = ["predict", str(tmp_path / "model"), str(images), "--out", str(tmp_path / "o")]
        assert main(words) == 2
        assert "image_std" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_folders_patterns_lists_and_urls_are_searched(run, images, tmp_path, capsys):
    deeper = images / "deeper" / ".hidden"
    deeper.mkdir(parents=True)
    for folder in (deeper, deeper.parent):
        Image.fromarray(pixels(40, 40, 3)).save(folder / "small.png")
    StorePath(f"memory://{tmp_path.name}/far.png").write_bytes((images / "gray.png").read_bytes())
    (tmp_path / "list.txt").write_text(f"{images}/deep.png\nmemory://{tmp_path.name}/far.png\n")
    assert [path.name for path in find_images([f"{images}/*.png"])] == [
        "deep.png",
        "gray.png",
        "transparent.png",
    ]
    assert "small.png" in {path.name for path in find_images([f"{images}/**/*.png"])}
    with pytest.raises(InputError, match="No image matches"):
        find_images([f"{images}/*.bmp"])
    words = ["predict", str(run), str(images / "deeper"), "--out", str(tmp_path / "out")]
    words += ["--recursive", "--image-list", str(tmp_path / "list.txt"), "--batch-size", "2"]
    assert main([*words, "--outputs", "arrays", "overlays"]) == 0
    assert {f.name for f in (tmp_path / "out" / "depth").iterdir()} == {
        "small.npy",
        "deep.npy",
        "far.npy",
    }
    assert "Predicted 3 of 3 images" in capsys.readouterr().err
    assert not (tmp_path / "out" / "panels").exists()


def test_an_interrupted_command_resumes(run, images, tmp_path, capsys, monkeypatch):
    out, save = tmp_path / "out", PredictedImage.save
    words = ["predict", str(run), str(images), "--out", str(out), "--raw", "--flip"]

    def stop(self, *arguments, **options):
        if self.name == "palette":
            raise KeyboardInterrupt
        return save(self, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(PredictedImage, "save", stop)
        assert main(words) == 130
    with (out / "predictions.jsonl").open("a") as file:
        file.write('{"image": "cut')
    first = (out / "depth" / "deep.npy").stat().st_mtime_ns
    assert main([*words, "--resume", "--tile", "128"]) == 2
    message = " ".join(capsys.readouterr().err.split())
    assert "other options: tile (None -> 128)" in message
    assert main([*words, "--resume"]) == 0
    message = " ".join(capsys.readouterr().err.split())
    assert "Skipping 2 of 6 images" in message and "Predicted 6 of 6 images" in message
    assert (out / "depth" / "deep.npy").stat().st_mtime_ns == first
    assert len(list((out / "depth").glob("*.npy"))) == 6
    lines = (out / "predictions.jsonl").read_text().splitlines()
    assert len([json.loads(line) for line in lines]) == 7


def test_points_need_a_camera_and_depth(run, images, tmp_path, capsys):
    words = ["predict", str(run), str(images / "gray.png"), "--out", str(tmp_path / "out")]
    words += ["--outputs", "points"]
    assert main(words) == 2
    assert "needs the task depth and --intrinsics" in capsys.readouterr().err
    camera = ["--intrinsics", "50", "50", "23", "16"]
    assert main([*words, *camera, "--tasks", "semseg"]) == 2
    assert main([*words, *camera]) == 0
    assert (tmp_path / "out" / "points" / "gray.ply").read_bytes().startswith(b"ply\n")
    assert main([*words[:-1], "video"]) == 2
    assert "Unknown output 'video'" in capsys.readouterr().err


def test_a_best_epoch_that_was_chosen_on_test_images_is_mentioned(run, images, tmp_path, capsys):
    words = ["predict", str(run), str(images / "gray.png"), "--out", str(tmp_path / "out")]
    manifest = run / "manifest.json"
    before = manifest.read_text()
    manifest.write_text(json.dumps({**json.loads(before), "best_chosen_on": "test"}))
    try:
        assert main(words) == 0
        assert "chosen on the test images" not in capsys.readouterr().err
        assert main([*words, "--checkpoint", "best"]) == 0
        assert "chosen on the test images" in " ".join(capsys.readouterr().err.split())
    finally:
        manifest.write_text(before)
