"""The command ``taskprism predict`` on images as people have them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from taskprism.cli import main
from taskprism.cli.predict import unique_names
from taskprism.data.files import find_images
from taskprism.errors import InputError
from taskprism.models import create_model
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
def test_every_kind_of_image_gets_pictures_at_its_own_size(run, images, tmp_path, size):
    out = tmp_path / "out"
    assert main(["predict", str(run), str(images), "--out", str(out), "--size", size]) == 0
    for name, shape in SIZES.items():
        with Image.open(out / "depth" / f"{name}.png") as picture:
            assert (picture.height, picture.width) == shape and picture.mode == "RGB"
        assert (out / "semseg" / f"{name}.png").is_file()
        with Image.open(out / "panels" / f"{name}.png") as picture:
            assert picture.width > 3 * 200
    assert not list(out.rglob("*.npy"))


def test_raw_arrays_hold_classes_and_meters(run, images, tmp_path):
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


def test_a_corrupt_file_is_named_and_the_others_go_on(run, images, tmp_path, capsys):
    whole = (images / "turned.jpg").read_bytes()
    (images / "broken.jpg").write_bytes(whole[: len(whole) // 2])
    (images / "text.png").write_text("not an image")
    out = tmp_path / "out"
    assert main(["predict", str(run), str(images), "--out", str(out)]) == 2
    message = capsys.readouterr().err
    assert "Cannot read 2 of 8 images" in message
    assert "broken.jpg" in message and "text.png" in message
    assert {file.stem for file in (out / "depth").iterdir()} == set(SIZES)


def test_wrong_names_answer_before_any_work(run, images, tmp_path, capsys):
    out = ["--out", str(tmp_path / "out")]
    assert main(["predict", str(run), str(images), *out, "--tasks", "albedo"]) == 2
    assert "does not predict albedo; it predicts semseg, depth" in capsys.readouterr().err
    assert main(["predict", str(run), str(tmp_path / "absent.png"), *out]) == 2
    assert "absent.png does not exist" in capsys.readouterr().err
    assert main(["predict", str(tmp_path / "nowhere"), str(images), *out]) == 2
    assert "nowhere" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_missing_checkpoint_says_which_exist(tmp_path, images, capsys):
    model = create_model("multi_task", TASKS, backbone="test_resnet")
    model.save_pretrained(tmp_path / "run" / "checkpoints" / "last")
    command = ["predict", str(tmp_path / "run"), str(images / "gray.png")]
    assert main([*command, "--out", str(tmp_path / "out")]) == 2
    assert "no checkpoint 'best'; it has last" in capsys.readouterr().err
    assert main([*command, "--out", str(tmp_path / "out"), "--checkpoint", "last"]) == 0


def test_a_model_folder_without_a_manifest_works_at_native_size(run, images, tmp_path, capsys):
    model = run / "checkpoints" / "best"
    assert main(["predict", str(model), str(images / "gray.png"), "--out", str(tmp_path)]) == 0
    assert "does not record its training size" in capsys.readouterr().err


def test_an_output_that_cannot_be_written_is_named(run, images, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    out = str(tmp_path / "file" / "out")
    assert main(["predict", str(run), str(images / "gray.png"), "--out", out]) == 2
    assert "Cannot write results" in capsys.readouterr().err


def test_images_are_found_once_and_in_order(images):
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


def test_results_of_images_with_one_name_do_not_meet():
    files = [Path("a/x.png"), Path("b/x.png"), Path("a/x.jpg"), Path("y.png")]
    assert unique_names(files) == ["x.png", "x.png_2", "x.jpg", "y"]
