"""Distilled labels: files, data YAML, confidence, resuming, and training on the result."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from taskprism.cli import main
from taskprism.data import create_protocol
from taskprism.data.checking import check_protocol
from taskprism.data.files import read_image
from taskprism.errors import DataError, InputError, UnknownNameError
from taskprism.progress import Reporter
from taskprism.recipes.schema import Recipe
from taskprism.tasks import create_task
from taskprism.teachers import Teacher, TeacherSource, create_teacher, distill
from taskprism.training import train

ENCODED = {"depth": 0.0006, "normals": 0.01}  # half a step, with a little room


def picture(path: Path, height: int, width: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(len(str(path.name)) * 1000 + height)
    Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three photographs in a folder and a subfolder."""
    picture(tmp_path / "photos" / "a.png", 40, 56)
    picture(tmp_path / "photos" / "deep" / "b.png", 50, 34)
    picture(tmp_path / "photos" / "deep" / "c.png", 40, 56)
    return tmp_path / "photos"


def quiet() -> Reporter:
    return Reporter(quiet=True)


def samples(file: Path, split: str = "train") -> dict:
    dataset = create_protocol(str(file)).dataset(split)
    return {sample["name"]: sample for sample in (dataset[i] for i in range(len(dataset)))}


def test_labels_are_read_back_as_the_teacher_gave_them(saved, photos, tmp_path):
    teacher = create_teacher(saved)
    first = teacher.label([read_image(photos / "a.png").as_subclass(torch.Tensor)])[0]
    limits = {task: label.confidence.median().item() for task, label in first.items()}
    file = distill(saved, photos, tmp_path / "out", thresholds=limits, reporter=quiet())
    found = samples(file)
    assert list(found) == ["a", "deep/b", "deep/c"]
    for name, sample in found.items():
        image = read_image(photos / f"{name}.png").as_subclass(torch.Tensor)
        assert sample["image"].as_subclass(torch.Tensor).equal(image)
        for task, label in teacher.label([image])[0].items():
            valid = label.certain(limits[task])
            assert name != "a" or 0.3 < valid.float().mean() < 0.8
            if task == "depth":
                valid &= label.values >= 0.0005  # 0 means that there is no label
            assert sample["valid"][task].as_subclass(torch.Tensor).equal(valid)
            expected = (label.values >= 0.5).float() if task == "saliency" else label.values
            target = sample["targets"][task].as_subclass(torch.Tensor)
            error = (target - expected).abs() * valid
            assert error.max() <= ENCODED.get(task, 0)
    protocol = create_protocol(str(file))
    assert protocol.task("semseg").class_names == ("floor", "wall", "thing")
    assert not check_protocol(protocol).problems
    assert protocol.remarks() == []
    assert (tmp_path / "out" / "panels" / "deep" / "b.png").is_file()
    record = json.loads((tmp_path / "out" / "distill.json").read_text())
    assert record["images_labeled"] == 3 and record["finished"] and record["failed"] == {}
    assert record["teacher"]["fingerprint"] == teacher.fingerprint()


class Counting(Teacher):
    """Says that bright pixels are salient and near; may stop after some images."""

    name = "counting"

    def __init__(self, source="", device="cpu", imports=(), stop_after: int = 10**9):
        self.tasks = (create_task("saliency"), create_task("inverse_depth"))
        self.seen = 0
        self.stop_after = stop_after

    def outputs(self, images, tasks):
        self.seen += len(images)
        if self.seen > self.stop_after:
            raise KeyboardInterrupt
        maps = [image.mean(0)[None, None] for image in images]
        both = [{"saliency": 8 * each - 4, "inverse_depth": each} for each in maps]
        return [{task: each[task] for task in tasks} for each in both]

    def fingerprint(self):
        return "counting"


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "distill.json")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_an_interrupted_run_resumes_and_ends_as_if_it_had_not_been(photos, tmp_path):
    whole = distill(Counting(), photos, tmp_path / "whole" / "out", batch_size=1, reporter=quiet())
    cut = tmp_path / "cut" / "out"
    with pytest.raises(KeyboardInterrupt, match="The same command resumes"):
        distill(Counting(stop_after=4), photos, cut, batch_size=1, reporter=quiet())
    assert not (cut / "data.yaml").exists()
    first = contents(cut)
    teacher = Counting()
    distill(teacher, photos, cut, batch_size=1, reporter=quiet())
    assert teacher.seen == 2 * 1  # two of three were labeled; each is seen twice
    assert contents(cut) == contents(whole.parent) and first.items() <= contents(cut).items()
    assert len(json.loads((cut / "distill.json").read_text())["resumed"]) == 1
    again = Counting()
    distill(again, photos, cut, reporter=quiet())
    assert again.seen == 0


def test_labels_of_other_settings_are_not_mixed(photos, tmp_path):
    out = tmp_path / "out"
    distill(Counting(), photos, out, ["saliency"], reporter=quiet())
    with pytest.raises(InputError, match=r"the tasks: saliency, now inverse_depth"):
        distill(Counting(), photos, out, ["inverse_depth"], reporter=quiet())
    other = Counting()
    other.fingerprint = lambda: "changed"
    with pytest.raises(InputError, match=r"fingerprint of the teacher: counting, now changed"):
        distill(other, photos, out, ["saliency"], reporter=quiet())
    (out / "distill.json").unlink()
    with pytest.raises(InputError, match=r"is not empty .* has no distill\.json"):
        distill(Counting(), photos, out, ["saliency"], reporter=quiet())
    with pytest.raises(UnknownNameError, match="Known: saliency, inverse_depth"):
        distill(Counting(), photos, tmp_path / "new", ["depth"], reporter=quiet())
    with pytest.raises(InputError, match="threshold of saliency"):
        distill(Counting(), photos, tmp_path / "new", thresholds=1.5, reporter=quiet())


def test_images_that_cannot_be_read_are_named_and_left_out(photos, tmp_path):
    (photos / "deep" / "broken.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"1 of 4 images could not be read.*broken\.png"):
        distill(Counting(), photos, tmp_path / "out", reporter=quiet())
    assert list(samples(tmp_path / "out" / "data.yaml")) == ["a", "deep/b", "deep/c"]
    record = json.loads((tmp_path / "out" / "distill.json").read_text())
    assert list(record["failed"]) == ["deep/broken"] and record["images_labeled"] == 3


@pytest.mark.parametrize("form", ["pattern", "list", "inside", "mixed endings"])
def test_images_are_found_by_pattern_list_and_folder(form, photos, tmp_path):
    out, source, names = tmp_path / "out", str(photos), ["a", "deep/b", "deep/c"]
    if form == "pattern":
        source, names = f"{photos}/**/[bc].png", ["deep/b", "deep/c"]
    if form == "list":
        (tmp_path / "some.txt").write_text("photos/a.png\nphotos/deep/c.png\n")
        source, names = str(tmp_path / "some.txt"), ["a", "deep/c"]
    if form == "inside":  # results in the folder of the images are no images
        out = photos / "labels"
    if form == "mixed endings":
        picture(photos / "d.jpg", 40, 40)
        names = ["a", "d", "deep/b", "deep/c"]
    for _ in range(2):
        file = distill(Counting(), source, out, ["saliency"], reporter=quiet())
        assert list(samples(file)) == names


def test_names_that_would_clash_and_missing_sources_are_refused(photos, tmp_path):
    picture(photos / "a.jpg", 40, 40)
    with pytest.raises(InputError, match="differ only in their endings"):
        distill(Counting(), photos, tmp_path / "out", reporter=quiet())
    with pytest.raises(InputError, match="does not exist"):
        distill(Counting(), tmp_path / "missing", tmp_path / "out", reporter=quiet())
    (tmp_path / "list.txt").write_text("photos/z.png\n")
    with pytest.raises(DataError, match=r"1 of 1 images do not exist: .*z\.png"):
        distill(Counting(), tmp_path / "list.txt", tmp_path / "out", reporter=quiet())


@pytest.fixture
def labeled(photos, tmp_path):
    """A data YAML of the photographs, with saliency of two of them and classes in its file."""
    for name in ("a", "deep/b"):
        mask = np.zeros(read_image(photos / f"{name}.png").shape[1:], np.uint8)
        mask[:7] = 200
        path = tmp_path / "masks" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(path)
        Image.fromarray(mask // 200).save(path.with_name(f"{path.stem}_classes.png"))
    config = {
        "name": "real",
        "root": ".",
        "license": "my own",
        "image": "photos/{name}.png",
        "input_size": [32, 48],
        "splits": {"train": ["a", "deep/c"], "test": ["deep/b"]},
        "tasks": {
            "saliency": {"path": "masks/{name}.png", "positive": [200], "loss_weight": 2},
            "semseg": {
                "path": "masks/{name}_classes.png",
                "classes": ["no", "yes"],
                "map": {0: 0, 1: 1},
            },
        },
    }
    (tmp_path / "real.yaml").write_text(yaml.safe_dump(config))
    return tmp_path / "real.yaml"


@pytest.mark.parametrize("relabel", [False, True])
def test_of_a_data_yaml_only_missing_labels_are_made(labeled, tmp_path, relabel):
    out = tmp_path / "nested" / "out"
    teacher = Counting()
    file = distill(teacher, labeled, out, relabel=relabel, thresholds=0, reporter=quiet())
    protocol = create_protocol(str(file))
    assert protocol.name == "real_distilled" and set(protocol.splits) == {"train", "test"}
    assert protocol.license.startswith("my own Labels of saliency, inverse_depth made by counting")
    assert [task.name for task in protocol.tasks] == ["saliency", "semseg", "inverse_depth"]
    assert protocol.task("saliency").loss_weight == 2
    before, after = samples(labeled), samples(file)
    bright = after["deep/c"]["image"].mean(0) > 0.5
    assert set(after["deep/c"]["targets"]) == {"saliency", "inverse_depth"}
    assert (after["deep/c"]["targets"]["saliency"][0] > 0).equal(bright)
    same = after["a"]["targets"]["saliency"].equal(before["a"]["targets"]["saliency"])
    assert same is not relabel
    assert after["a"]["targets"]["semseg"].equal(before["a"]["targets"]["semseg"])
    test = samples(file, "test")["deep/b"]
    assert set(test["targets"]) == {"saliency", "semseg"}  # only the training split is labeled
    assert test["targets"]["saliency"].equal(
        samples(labeled, "test")["deep/b"]["targets"]["saliency"]
    )
    assert teacher.seen == 4


def test_a_task_that_means_another_thing_in_the_data_yaml_is_refused(labeled, saved, tmp_path):
    with pytest.raises(
        InputError, match=r"'semseg' is semseg with 3 classes .*2 classes \(no, yes"
    ):
        distill(saved, labeled, tmp_path / "out", ["semseg"], reporter=quiet())


def test_the_command_labels_and_the_result_can_be_trained_on(saved, photos, tmp_path, capsys):
    out = tmp_path / "my labels"
    words = ["distill", str(saved), str(photos), "--out", str(out), "--tasks", "depth,saliency"]
    words += [
        "--threshold",
        "depth=0.3",
        "saliency=0",
        "--held-out",
        "0.34",
        "--pictures",
        "0",
        "--device",
        "cpu",
    ]
    assert main([*words, "--input-size", "32", "32"]) == 0
    printed = capsys.readouterr()
    assert "my labels/data.yaml'" in printed.out
    assert "License of the teacher: not known." in printed.err
    assert "depth (threshold 0.3), saliency (threshold 0)" in printed.err
    config = yaml.safe_load((out / "data.yaml").read_text())
    assert config["tasks"]["depth"]["confidence"]["threshold"] == 0.3
    shutil.move(photos.parent, tmp_path.parent / f"{tmp_path.name}_moved")  # both move together
    moved = tmp_path.parent / f"{tmp_path.name}_moved" / "my labels" / "data.yaml"
    recipe = Recipe.model_validate(
        {
            "model": {"backbone": "test_resnet", "options": {"neck": "none"}},
            "data": {"protocol": str(moved), "batch_size": 2},
            "epochs": 1,
        }
    )
    run = train(recipe, tmp_path / "run", reporter=quiet())
    metrics = json.loads((run / "metrics.json").read_text())["metrics"]
    assert set(metrics) == {"depth", "saliency"} and metrics["depth"]["rmse"] > 0
    assert main([*words[:-2], "--threshold", "much"]) == 2
    assert "--threshold takes a number from 0 to 1" in capsys.readouterr().err


def test_a_source_loads_its_teacher(saved):
    source = TeacherSource(str(saved), options={"size": [32, 32]})
    assert source.load().input_size == (32, 32)
