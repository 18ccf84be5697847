"""Search spaces, objectives and trials; without Ray."""

import json
import math
from pathlib import Path

import pytest
import yaml

from taskprism.cli import main
from taskprism.data import create_protocol
from taskprism.errors import InputError, RecipeError, UnknownNameError
from taskprism.recipes import load_recipe
from taskprism.recipes.schema import Recipe
from taskprism.sweeps.objective import Objective, create_objective
from taskprism.sweeps.space import draw, load_space, parse_space
from taskprism.sweeps.tune import (
    TrialCollection,
    TrialRunner,
    best_recipe,
    plan_trials,
    rank_trials,
    trial_table,
)
from taskprism.training.run_directory import RunDirectory

EXAMPLE = Path(__file__).parents[2] / "examples" / "search_space.yaml"
ROOMS = create_protocol("rooms", tasks=["semseg", "depth"])


def test_the_example_is_a_search_space_of_a_recipe():
    space = load_space(EXAMPLE)
    points = draw(space, trials=50)
    assert len(points) == 100
    assert {point["model.options.neck_channels"] for point in points} == {64, 128}
    assert {point["data.batch_size"] for point in points} == {4, 5, 6, 7, 8}
    assert {point["optimizer.weight_decay"] for point in points} == {0.0, 1e-5, 1e-4}
    rates = sorted(point["optimizer.lr"] for point in points)
    assert 1e-5 <= rates[0] < 3e-5 and 7e-5 < rates[50] < 1.5e-4 and 5e-4 < rates[-1] <= 1e-3
    weights = [point["loss.weights.depth"] for point in points]
    assert 0.5 <= min(weights) < 0.7 and 1.8 < max(weights) <= 2
    trials = plan_trials("rooms/mti_net", points[:3])
    assert trials[2].recipe.optimizer.lr == points[2]["optimizer.lr"]
    assert trials[2].recipe.epochs == 20 and trials[2].name == "trial002"


def test_points_depend_on_the_seed_only():
    space = parse_space(
        {"a": {"uniform": [0, 1]}, "b": {"grid": [1, 2]}, "c": {"choice": "xyz"[:0] or ["x", "y"]}}
    )
    assert draw(space, 5) == draw(space, 9)[:10]
    assert draw(space, 5) != draw(space, 5, seed=1)
    assert len({point["a"] for point in draw(space, 5)}) == 10
    assert len(draw(parse_space({"b": {"grid": [1, 2]}, "c": 3}), 5)) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "must hold recipe keys"),
        ([1], "must hold recipe keys"),
        ({"a": {"unifrom": [0, 1]}}, "Did you mean 'uniform'"),
        ({"a": {"uniform": [0, 1], "grid": [1]}}, "one of choice, grid"),
        ({"a": {"choice": 3}}, "choice takes a list"),
        ({"a": {"choice": []}}, "choice takes a list"),
        ({"a": {"uniform": [1, 0]}}, "two numbers in increasing order"),
        ({"a": {"uniform": [0, 1, 2]}}, "two numbers in increasing order"),
        ({"a": {"uniform": [0, float("inf")]}}, "two numbers in increasing order"),
        ({"a": {"loguniform": [0, 1]}}, "two numbers above 0"),
        ({"a": {"randint": [0, 1.5]}}, "two integers"),
        ({"a": {"randint": [False, True]}}, "two integers"),
    ],
)
def test_wrong_spaces_are_named(content, message):
    with pytest.raises((RecipeError, UnknownNameError), match=message):
        parse_space(content)


def test_unknown_keys_are_named_before_anything_runs():
    with pytest.raises(RecipeError, match="Did you mean 'lr'"):
        plan_trials("rooms/mti_net", [{"optimizer.lrr": 1}])


def test_an_objective_is_a_metric_of_a_main_task():
    recipe = Recipe(tasks=["depth"])
    objective = create_objective("depth/rmse", recipe, ROOMS)
    assert objective.split == "val" and not objective.higher_is_better
    assert math.isnan(objective.value({"depth": {"rmse": None}}, 0))
    assert math.isnan(objective.value({}, 0))
    assert create_objective("semseg/miou", Recipe(), ROOMS).higher_is_better
    for name in ("depth/rms", "semseg/miou"):
        with pytest.raises(UnknownNameError, match="depth/rmse"):
            create_objective(name, recipe, ROOMS)


def write_baseline(folder, scores, split="val", seed=0, model="single_task"):
    """A finished single-task run with other scores on the test images than on ``split``."""
    folder.mkdir()
    entries = [{"depth": {"rmse": 9.0}}, scores]
    lines = [
        {"event": "evaluate", "epoch": epoch, "split": split, "metrics": metrics}
        for epoch, metrics in enumerate(entries, start=1)
    ]
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    content = {
        "run": "single",
        "model": model,
        "backbone": "b",
        "protocol": "rooms",
        "split": "test",
        "epoch": 2,
        "seed": seed,
        "metrics": {"depth": {"rmse": 7.0}},
        "higher_is_better": {"depth": {"rmse": False}},
        "primary": {"depth": "rmse"},
    }
    (folder / "metrics.json").write_text(json.dumps(content))
    return folder


def test_gain_is_relative_to_single_task_runs_on_the_same_split(tmp_path):
    scores = {"semseg": {"miou": 0.4}, "depth": {"rmse": 2.0}}
    runs = [write_baseline(tmp_path / "0", scores)]
    runs.append(write_baseline(tmp_path / "1", {**scores, "depth": {"rmse": 1.0}}, seed=1))
    runs.append(write_baseline(tmp_path / "other", {"depth": {"rmse": 50.0}}, model="multi_task"))
    objective = create_objective("gain", Recipe(), ROOMS, runs)
    metrics = {"semseg": {"miou": 0.5}, "depth": {"rmse": 1.0}}
    # Seed 0: +25 % and +50 %; seed 1: +25 % and 0 %.
    assert objective.value(metrics, 0) == pytest.approx(37.5)
    assert objective.value(metrics, 1) == pytest.approx(12.5)
    assert objective.value(metrics, 7) == pytest.approx((25 + 100 / 3) / 2)  # to the mean
    assert math.isnan(objective.value({"semseg": {"miou": 0.5}, "depth": {"rmse": None}}, 0))


def test_gain_needs_a_baseline_for_every_task(tmp_path):
    with pytest.raises(InputError, match="--baseline"):
        create_objective("gain", Recipe(), ROOMS)
    run = write_baseline(tmp_path / "run", {"depth": {"rmse": 2.0}})
    with pytest.raises(InputError, match="nonzero semseg miou on val"):
        create_objective("gain", Recipe(), ROOMS, [run])
    other = write_baseline(tmp_path / "test", {"depth": {"rmse": 2.0}}, split="test")
    with pytest.raises(InputError, match="nonzero depth rmse on val"):
        create_objective("gain", Recipe(tasks=["depth"]), ROOMS, [other])


class Enough(BaseException):
    """The scheduler ends a trial."""


OBJECTIVE = Objective("depth/rmse", "val", higher_is_better=False)


@pytest.fixture
def trials(tmp_path):
    return plan_trials(
        "rooms/mti_net", [{"optimizer.lr": 1e-4, "epochs": 3}, {"optimizer.lr": 3e-4, "epochs": 3}]
    )


@pytest.fixture
def training(monkeypatch):
    """Replaces training: three epochs with falling errors; a call resumes after the log."""

    def train(recipe, folder, resume, reporter, on_evaluate):
        run = RunDirectory(folder)
        assert resume == run.recipe_file.is_file()
        run.path.mkdir(parents=True, exist_ok=True)
        run.write_recipe(recipe)
        for epoch in range(len(run.log) + 1, 4):
            metrics = {"depth": {"rmse": 1.0 / epoch}}
            run.log.append(
                {"event": "evaluate", "epoch": epoch, "split": "val", "metrics": metrics}
            )
            on_evaluate(epoch, "val", metrics)
        run.metrics_file.write_text("{}")

    monkeypatch.setattr("taskprism.sweeps.tune.train", train)


def test_evaluations_are_reported_once_per_session(trials, training, tmp_path):
    runs, reports = TrialCollection(tmp_path), []

    def until_epoch_2(values):
        reports.append((values["epoch"], values["score"]))
        if values["epoch"] == 2:
            raise Enough

    runner = TrialRunner(trials, tmp_path, OBJECTIVE, session="one")
    with pytest.raises(Enough):
        runner.run(0, until_epoch_2)
    runner.run(0, until_epoch_2)  # Tune starts it again after its process died
    assert reports == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    assert runs.is_done(trials[0])
    reports.clear()
    TrialRunner(trials, tmp_path, OBJECTIVE, session="two").run(
        0, lambda each: reports.append(each["epoch"])
    )
    assert reports == [1, 2, 3]


def test_the_last_epoch_is_reported_when_the_trial_is_scored(trials, training, tmp_path):
    runs = TrialCollection(tmp_path)

    def report(values):
        assert runs.is_done(trials[0]) == (values["epoch"] == 3)

    TrialRunner(trials, tmp_path, OBJECTIVE, "one").run(0, report)


def test_a_stopped_trial_stays_stopped_and_is_ranked_below_finished_ones(
    trials, training, tmp_path
):
    runs = TrialCollection(tmp_path)

    def stop(values):
        raise Enough

    with pytest.raises(Enough):
        TrialRunner(trials, tmp_path, OBJECTIVE, "one").run(0, stop)
    assert runs.state(trials[0]) == "unfinished" and runs.is_open(trials[0])
    runs.note_stopped("trial000", 1)
    assert runs.state(trials[0]) == "stopped" and not runs.is_open(trials[0])
    reports = []
    runner = TrialRunner(trials, tmp_path, OBJECTIVE, "two")
    for number in (0, 1):
        runner.run(number, lambda each: reports.append(each["epoch"]))
    assert reports == [1, 1, 2, 3] and not runs.is_done(trials[0])
    scores = rank_trials(trials, runs, OBJECTIVE)
    assert [(each.trial.name, each.state, each.epoch) for each in scores] == [
        ("trial001", "finished", 3),
        ("trial000", "stopped", 1),
    ]
    table = trial_table(scores, OBJECTIVE)
    assert table.headings == ["trial", "lr", "state", "epoch", "depth/rmse ↓"]
    assert table.rows[0] == ["trial001", "0.0003", "finished", "3", "0.3333"]
    assert table.best == {(0, 4)}
    best = best_recipe(scores, "best")
    assert best is not None and best.optimizer.lr == 3e-4 and best.name == "best"


def test_a_failing_trial_is_recorded_and_ends(trials, tmp_path, monkeypatch):
    def train(*arguments, **more):
        raise InputError("no luck")

    monkeypatch.setattr("taskprism.sweeps.tune.train", train)
    TrialRunner(trials, tmp_path, OBJECTIVE, "one").run(0, lambda each: None)
    runs = TrialCollection(tmp_path)
    assert runs.state(trials[0]) == "failed"
    assert runs.failures(trials) == {"trial000": "InputError: no luck"}
    assert best_recipe(rank_trials(trials, runs, OBJECTIVE), "best") is None


def test_the_command_lists_trials_and_names_wrong_arguments(tmp_path, capsys):
    file = tmp_path / "space.yaml"
    file.write_text(yaml.safe_dump({"optimizer.lr": {"loguniform": [1e-5, 1e-3]}}))
    words = ["tune", str(file), "rooms/mti_net", "--out", str(tmp_path / "out"), "--metric"]
    assert main([*words, "depth/rmse", "--trials", "3", "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "3 trials" in printed and "trial002" in printed and "new" in printed
    assert main([*words, "depth/rms"]) == 2
    assert "Did you mean 'depth/rmse'" in capsys.readouterr().err
    assert main([*words, "gain"]) == 2
    assert "--baseline" in capsys.readouterr().err
    file.write_text("optimizer.lrr: 3")
    assert main([*words, "depth/rmse"]) == 2
    assert "Did you mean 'lr'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_best_recipe_is_a_recipe(trials, training, tmp_path):
    from taskprism.recipes.files import to_yaml

    TrialRunner(trials, tmp_path, OBJECTIVE, "one").run(1, lambda each: None)
    best = best_recipe(rank_trials(trials, TrialCollection(tmp_path), OBJECTIVE), "mti_net-best")
    (tmp_path / "best.yaml").write_text(to_yaml(best))
    assert load_recipe(tmp_path / "best.yaml") == best
