"""A command that fails costs no scores, and scores are shown even where they cannot be written."""

import errno
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from filelock import FileLock
from PIL import Image
from safetensors.torch import load_file, save_file

import taskprism
from taskprism.cli import main
from taskprism.data import create_protocol
from taskprism.errors import CheckpointError, DataError, InputError
from taskprism.scoring.evaluation import check_labels, split_loader
from taskprism.training import evaluate, train
from taskprism.training.run_directory import RunDirectory
from taskprism.training.scores import Scored, write_pictures, write_scores


@pytest.fixture
def run(tiny_run):
    return tiny_run


def files(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--batch-size", "-1"], "--batch-size must be at least 1, got -1"),
        (["--batch-size", "0"], "--batch-size must be at least 1, got 0"),
        (["--workers", "-1"], "--workers must be at least 0 and at most 1,024, got -1"),
        (["--options", "a=["], "the value of 'a=[' is not YAML"),
        (["--split", "val"], "no split 'val'"),
    ],
)
def test_a_wrong_number_costs_no_scores(run, capsys, words, message):
    before = files(run)
    assert main(["evaluate", str(run), *words]) == 2
    assert message in capsys.readouterr().err
    assert files(run) == before


def test_wrong_numbers_are_refused_in_python_too(run, tiny_data):
    before = files(run)
    for numbers, message in (
        ({"batch_size": -1}, "batch_size must be an integer of at least 1, got -1"),
        ({"batch_size": True}, "batch_size must be an integer"),
        ({"workers": -1}, "workers must be an integer of at least 0"),
    ):
        with pytest.raises(InputError, match=message):
            evaluate(run, **numbers)
    assert files(run) == before
    protocol = create_protocol(str(tiny_data))
    with pytest.raises(InputError, match="batch_size"):
        split_loader(protocol, "test", taskprism.load(run), 0)


def scores_of(run, results):
    directory, model = RunDirectory(run), taskprism.load(run)
    protocol = create_protocol(directory.recipe().data.protocol)
    return write_scores(
        directory, directory.recipe(), protocol, model, results, Scored("test", "last", 1)
    )


def test_scores_of_nothing_never_replace_scores(run):
    before = files(run)
    nothing = {"semseg": {"miou": math.nan}, "depth": {"rmse": math.nan}}
    partly = {"semseg": {"miou": 0.5}, "depth": {"rmse": math.nan}}
    for results, tasks in ((nothing, "semseg, depth"), (partly, "depth"), ({}, "any task")):
        with pytest.raises(CheckpointError, match=f"Nothing was measured of {tasks}: no label"):
            scores_of(run, results)
    assert files(run) == before
    (run / "metrics.json").unlink()
    scores_of(run, partly)
    assert json.loads((run / "metrics.json").read_text())["metrics"]["depth"] == {"rmse": None}
    (run / "metrics.json").write_text("damaged")
    scores_of(run, partly)


@pytest.fixture
def ignoring(tiny_data, tmp_path):
    """Make the YAML of a copy of the set in which every depth of some images is ignored."""

    def make(*images, **changes):
        folder = tmp_path / "ignoring"
        shutil.copytree(tiny_data.parent, folder)
        for number in images:
            zeros = Image.fromarray(np.zeros((40, 48), np.uint16))
            zeros.save(folder / "depth" / f"image{number:02d}.png")
        values = yaml.safe_load((folder / "data.yaml").read_text())
        (folder / "data.yaml").write_text(yaml.safe_dump({**values, **changes}))
        return folder / "data.yaml"

    return make


@pytest.mark.parametrize(("images", "split"), [(range(7), "train"), (range(7, 12), "test")])
@pytest.mark.usefixtures("quick")
def test_labels_that_are_all_ignored_are_an_error_at_the_start(
    tiny_recipe, ignoring, tmp_path, images, split
):
    recipe = tiny_recipe(data={"protocol": str(ignoring(*images))})
    with pytest.raises(DataError, match=f"every pixel of the {split} labels of depth is ignored"):
        train(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_ignored_labels_cost_no_scores(run, ignoring):
    before = files(run)
    with pytest.raises(DataError, match="every pixel of the test labels of depth is ignored"):
        evaluate(run, protocol=str(ignoring(*range(12))), allow_other_data=True)
    assert files(run) == before


def test_partly_labeled_data_are_allowed(ignoring, tiny_data):
    protocol = create_protocol(str(ignoring(*range(7, 11))))
    assert check_labels(protocol, "test", protocol.tasks) == []
    edges = tiny_data.parent / "edge"
    folder = Path(protocol.root)
    for file in edges.iterdir():
        if int(file.stem[5:]) >= 7:
            (folder / "edge" / file.name).unlink()
    assert check_labels(protocol, "test", protocol.tasks) == ["edge"]
    with pytest.raises(DataError, match="has no test label of edge"):
        check_labels(protocol, "test", [protocol.task("edge")])


def full_disk(monkeypatch, ending, after=0):
    """Let writing files of this ending fail after some have been written."""
    write, written = Path.write_bytes, []

    def fail(self, content):
        if self.name.endswith(f"{ending}.partial"):
            written.append(self)
            if len(written) > after:
                write(self, content[: len(content) // 2])
                raise OSError(errno.ENOSPC, "No space left on device", str(self))
        return write(self, content)

    monkeypatch.setattr(Path, "write_bytes", fail)


@pytest.mark.parametrize("after", [0, 2])
def test_a_full_disk_amid_the_pictures(tiny_recipe, run, monkeypatch, capsys, after):
    before = files(run)
    for module in ("run", "evaluation"):
        monkeypatch.setattr(f"taskprism.training.{module}.write_pictures", write_pictures)
    full_disk(monkeypatch, ".png", after)
    assert main(["evaluate", str(run)]) == 2
    printed = capsys.readouterr()
    assert "miou" in printed.out and "rmse" in printed.out
    assert "Could not write" in printed.err and "No space left" in printed.err
    assert files(run) == before and not (run / "pictures").exists()
    with pytest.raises(CheckpointError, match="No space left"):
        train(tiny_recipe(epochs=1), run, resume=True)
    monkeypatch.undo()
    assert main(["evaluate", str(run)]) == 0
    assert len(list((run / "pictures").iterdir())) == 5


@pytest.mark.parametrize("ending", ["image_states.npz", "metrics.json"])
def test_a_full_disk_before_the_scores(run, monkeypatch, capsys, ending):
    before = files(run)
    full_disk(monkeypatch, ending)
    assert main(["evaluate", str(run)]) == 2
    printed = capsys.readouterr()
    assert "miou" in printed.out and ending in printed.err
    assert files(run) == before


def test_a_run_that_cannot_be_written_is_scored_and_printed(run, monkeypatch, capsys):
    before = files(run)
    numbers = json.loads((run / "metrics.json").read_text())["metrics"]

    def fail(*arguments, **options):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(FileLock, "acquire", fail)
    monkeypatch.setattr(Path, "write_bytes", fail)
    monkeypatch.setattr(Path, "write_text", fail)
    assert main(["evaluate", str(run)]) == 2
    printed = capsys.readouterr()
    assert f"{numbers['depth']['rmse']:.4f}" in printed.out
    assert "Read-only file system" in printed.err and "scores are printed only" in printed.err
    assert files(run) == before


def test_a_baseline_does_not_replace_a_run(run, tiny_data, capsys):
    before = files(run)
    assert main(["baseline", str(tiny_data), "--out", str(run)]) == 2
    assert "holds a trained run" in capsys.readouterr().err
    assert files(run) == before


def damage(run, name, value, key=None):
    folder = run / "checkpoints" / name
    if key is not None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, key: [0.5, value, 0.5]}))
        return key
    weights = load_file(folder / "model.safetensors")
    key = next(key for key in weights if weights[key].is_floating_point())
    weights[key] = torch.full_like(weights[key], value)
    save_file(weights, folder / "model.safetensors")
    return key


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("key", [None, "image_mean", "image_std"])
def test_numbers_that_are_not_finite_are_refused(run, tiny_data, tmp_path, capsys, value, key):
    before = (run / "metrics.json").read_bytes()
    names = {damage(run, "last", value, key), damage(run, "best", value, key)}
    out = tmp_path / "out"
    image = tiny_data.parent / "rgb" / "image00.png"
    for words in (["evaluate", str(run)], ["predict", str(run), str(image), "--out", str(out)]):
        assert main(words) == 2
        message = capsys.readouterr().err
        assert all(name in message for name in names)
    assert (run / "metrics.json").read_bytes() == before and not out.exists()


def test_pictures_of_odd_names_stay_in_their_folder(run, tiny_data, tmp_path):
    protocol = create_protocol(str(tiny_data))
    samples = [protocol.dataset("test", protocol.evaluation_transform())[i] for i in range(5)]
    names = ["../up", "a/b", "a_b", "line\nbreak", ".."]
    for sample, name in zip(samples, names, strict=True):
        sample["name"] = name
    object.__setattr__(protocol, "dataset", lambda *arguments: samples)
    made = write_pictures(tmp_path / "out", protocol, "test", taskprism.load(run))
    assert (
        sorted(path.name for path in made)
        == [
            "_._up.png",
            "_..png",
            "a_b.png",
            "a_b_2.png",
            "line_break.png",
        ]
        or len({path.name for path in made}) == 5
    )
    assert {path.parent for path in made} == {tmp_path / "out"}
