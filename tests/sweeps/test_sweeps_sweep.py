"""Sweeps: values, names, and what is checked before anything runs."""

import pytest
import yaml

from taskprism.cli import main
from taskprism.errors import InputError, RecipeError, TaskprismError
from taskprism.progress import Reporter
from taskprism.sweeps import RunCollection
from taskprism.sweeps.sweep import check_runs, parse_values, plan_sweep

TINY = {
    "name": "tiny",
    "model": {"name": "multi_task", "backbone": "test_resnet", "options": {"neck_channels": 8}},
    "tasks": ["semseg", "depth"],
    "data": {
        "protocol": "rooms",
        "batch_size": 2,
        "options": {
            "input_size": [32, 32],
            "train_length": 4,
            "val_length": 1,
            "test_length": 2,
        },
    },
    "epochs": 1,
    "evaluate_every": 1,
}


@pytest.fixture
def recipe(tmp_path):
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(TINY))
    return str(file)


def test_values_are_yaml_between_commas():
    assert parse_values(["a.b=1,2.5,1e-3,true,null,x", "model.options.neck-channels=8"]) == {
        "a.b": [1, 2.5, 1e-3, True, None, "x"],
        "model.options.neck_channels": [8],
    }
    assert parse_values(["size=[32,48],[64,96]", "c={a: 1}"]) == {
        "size": [[32, 48], [64, 96]],
        "c": [{"a": 1}],
    }
    assert parse_values(["data.root.my-set=there"]) == {"data.root.my-set": ["there"]}


@pytest.mark.parametrize("word", ["lr", "lr=", "=3", "lr=[1", "lr=1]", "lr={"])
def test_words_of_another_form_are_named(word):
    with pytest.raises(InputError, match="--set takes KEY=VALUE"):
        parse_values([word])


def test_a_key_is_named_once():
    with pytest.raises(InputError, match=r"names epochs twice.*epochs=A,B"):
        parse_values(["epochs=1", "epochs=2"])


def test_runs_are_the_product_and_named_after_what_differs(recipe):
    values = {"optimizer.lr": [1e-4, 3e-4], "epochs": [2], "tasks": [["depth"], ["semseg"]]}
    runs = plan_sweep([recipe, "mti_net"], values, seeds=2, imports=["json"])
    assert len(runs) == len({run.name for run in runs}) == 16
    assert runs[0].name == "tiny-lr=0.0001-tasks=_depth_-seed0"
    assert runs[0].recipe.name == runs[0].method == "tiny-lr=0.0001-tasks=[depth]"
    assert runs[0].label == "tiny-lr=0.0001-tasks=[depth], seed 0"
    assert [run.recipe.seed for run in runs] == [0] * 8 + [1] * 8
    assert runs[3].recipe.optimizer.lr == 3e-4 and runs[3].recipe.tasks == ["semseg"]
    assert runs[3].values == {"optimizer.lr": 3e-4, "tasks": ["semseg"]}
    assert {run.recipe.epochs for run in runs} == {2}
    assert runs[4].recipe.model.name == "mti_net"
    assert all(run.recipe.imports == ["json"] for run in runs)


def test_recipes_with_equal_names_are_named_after_their_files(tmp_path):
    files = [tmp_path / folder / "same.yaml" for folder in ("one", "two")]
    for file in files:
        file.parent.mkdir()
        file.write_text("model: {name: multi_task}")
    names = [run.name for run in plan_sweep([str(file) for file in files])]
    assert names[0].endswith("one_same-seed0") and names[1].endswith("two_same-seed0")


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"optimizer.lrr": [1]}, RecipeError, "Did you mean 'lr'"),
        ({"optimizer.lr": [1e-3, "fast"]}, RecipeError, "'optimizer.lr'.*'fast'"),
        ({"optimizer.lr": [1e-3, -1.0]}, RecipeError, "greater than 0"),
        ({"epochs": [True]}, RecipeError, "epochs"),
        ({"seed": [1, 2]}, InputError, "--seeds COUNT"),
        ({"optimizer.lr": [1e-3, 1e-3]}, InputError, "2 runs would be named"),
    ],
)
def test_wrong_values_are_named_before_anything_runs(recipe, values, error, message):
    with pytest.raises(error, match=message):
        plan_sweep([recipe], values)


def test_recipes_and_seeds_are_needed(recipe):
    with pytest.raises(InputError, match="at least one recipe"):
        plan_sweep([])
    with pytest.raises(InputError, match="at least 1 seed"):
        plan_sweep([recipe], seeds=0)
    with pytest.raises(TaskprismError, match="Did you mean 'osd/mti_net'"):
        plan_sweep(["osd/mti_nett"])


def test_options_of_parts_are_checked_before_anything_runs(recipe, tmp_path):
    jobs = plan_sweep([recipe], {"model.options.neck_chanels": [8, 16]})
    with pytest.raises(TaskprismError, match="Did you mean 'neck_channels'"):
        check_runs(jobs, RunCollection(tmp_path / "out"), Reporter(quiet=True))
    assert not (tmp_path / "out").exists()


def test_a_folder_with_other_settings_is_refused(recipe, tmp_path):
    runs = RunCollection(tmp_path / "out")
    (job,) = plan_sweep([recipe])
    directory = runs.run(job)
    directory.path.mkdir(parents=True)
    directory.write_recipe(job.recipe)
    check_runs([job], runs, Reporter(quiet=True))
    (other,) = plan_sweep([recipe], {"epochs": [7]})
    with pytest.raises(RecipeError, match=r"changed: epochs \(1 -> 7\)"):
        check_runs([other], runs, Reporter(quiet=True))


def test_a_dry_run_lists_and_trains_nothing(recipe, tmp_path, capsys):
    words = ["sweep", recipe, "--seeds", "2", "--set", "optimizer.lr=1e-4,3e-4", "--set"]
    assert main([*words, "clip_norm=1.0", "--out", str(tmp_path / "out"), "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "4 runs in" in printed and "tiny-lr=0.0003-seed1" in printed and "new" in printed
    assert not (tmp_path / "out").exists()


def test_wrong_options_end_with_a_message(recipe, tmp_path, capsys):
    out = ["--out", str(tmp_path / "out")]
    assert main(["sweep", recipe, "--set", "optimizer.lrr=1", *out]) == 2
    assert "Did you mean 'lr'" in capsys.readouterr().err
    assert main(["sweep", recipe, "--address", "auto", *out]) == 2
    assert "--address needs --engine ray" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_sweep_is_trained_compared_and_continued(recipe, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("taskprism.training.run.write_pictures", lambda *arguments: [])
    out = tmp_path / "out"
    words = ["sweep", recipe, "--set", "optimizer.lr=1e-4,-1,1e-3", "--out", str(out)]
    assert main(words) == 2  # before anything runs
    words[3] = "optimizer.lr=1e-4,1e-3"
    assert main(words) == 0
    printed = capsys.readouterr()
    assert "tiny-lr=0.0001" in printed.out and "tiny-lr=0.001" in printed.out
    assert "Training run 2 of 2: tiny-lr=0.001, seed 0" in printed.err
    assert "| tiny-lr=0.001 | 1 |" in (out / "table.md").read_text()
    words[3] = "optimizer.lr=1e-4,1e-3,1e-2"
    assert main(words) == 0
    messages = capsys.readouterr().err
    assert "Found 2 of 3 runs finished" in messages and "Training run 3 of 3" in messages
    assert main([*words, "--dry-run"]) == 0
    assert capsys.readouterr().out.count("finished") == 3
