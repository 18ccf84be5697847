"""The command ``taskprism analyze`` on untrained networks."""

import json

import pytest
from PIL import Image

from reference.untrained_runs import make_run
from taskprism.cli import COMMANDS, main

TASKS = ["semseg", "depth"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two single-task networks, a method with initial predictions, and ASTMT."""
    folder = tmp_path_factory.mktemp("runs")
    for task in TASKS:
        make_run(folder / f"single_{task}", "single_task", [task], name=f"single_{task}")
    make_run(folder / "mti_net", "mti_net", TASKS, scores={"semseg": 0.6, "depth": 0.4})
    other = {"name": "other", "seed": 3, "options": {}, "backbone": "se_resnet14_quarter"}
    make_run(folder / "astmt", "astmt", TASKS, **other)
    return folder


def single(runs):
    return [str(runs / f"single_{task}") for task in TASKS]


def test_help_lists_every_analysis(capsys):
    assert main(["analyze"]) == 0
    printed = capsys.readouterr().out
    assert all(f"  {name} " in printed for name in COMMANDS["analyze"].actions)


def test_flow_stores_scores_in_the_run_and_plots_them(runs, tmp_path, capsys):
    words = ["analyze", "flow", str(runs / "mti_net"), "--out", str(tmp_path), "--device", "cpu"]
    assert main([*words, "--baseline", *single(runs)]) == 0
    kept = json.loads((runs / "mti_net" / "information_flow.json").read_text())
    assert list(kept["metrics"]) == ["4", "8", "16", "32", "final"]
    assert (tmp_path / "information_flow.png").is_file()
    printed = capsys.readouterr().out
    assert printed.index("1/32") < printed.index("1/4") < printed.index("final")
    assert "single task" in printed and "Δm %" in printed


def test_flow_refuses_runs_of_different_methods(runs, tmp_path, capsys):
    words = [str(runs / "mti_net"), str(runs / "astmt"), "--out", str(tmp_path)]
    assert main(["analyze", "flow", *words]) == 2
    assert "runs of different methods" in capsys.readouterr().err


def test_resources_writes_plot_and_table(runs, tmp_path, capsys):
    words = ["analyze", "resources", *single(runs), str(runs / "mti_net"), "--out", str(tmp_path)]
    assert main([*words, "--latency", "--device", "cpu"]) == 0
    table = (tmp_path / "resources.md").read_text()
    assert table in capsys.readouterr().out
    assert "| mti_net | test_resnet |" in table and "ms per image" in table
    assert (tmp_path / "resources.png").is_file()


def test_features_lists_and_draws_places(runs, tmp_path, capsys):
    words = ["analyze", "features", str(runs / "mti_net"), "--device", "cpu"]
    assert main([*words, "--show-places"]) == 0
    assert "distillations.0" in capsys.readouterr().out
    options = ["--images", "1", "--places", "distillations.*", "--out", str(tmp_path)]
    assert main([*words, *options]) == 0
    (file,) = tmp_path.glob("features_*.png")
    with Image.open(file) as picture:
        assert picture.height > 4 * 100
    assert main([*words, "--places", "nothing"]) == 2
    assert "No place of the network matches 'nothing'" in capsys.readouterr().err
    assert main([*words, "--names", "nobody"]) == 2
    assert "has no image nobody" in capsys.readouterr().err


def test_modulation_draws_astmt_and_refuses_others(runs, tmp_path, capsys):
    options = ["--levels", "2", "--out", str(tmp_path), "--device", "cpu"]
    assert main(["analyze", "modulation", str(runs / "astmt"), *options]) == 0
    assert "decoder.refine.se" in capsys.readouterr().out
    assert (tmp_path / "modulation.png").is_file()
    assert main(["analyze", "modulation", str(runs / "mti_net"), *options]) == 2
    assert "Train astmt" in capsys.readouterr().err


def test_sheet_combines_single_task_networks_in_one_row(runs, tmp_path, capsys):
    heights = []
    for given in (single(runs), [*single(runs), str(runs / "mti_net")]):
        words = ["analyze", "sheet", *given, "--images", "1", "--tile-width", "60"]
        assert main([*words, "--out", str(tmp_path), "--device", "cpu"]) == 0
        with Image.open(tmp_path / "sheet.png") as picture:
            heights.append(picture.height)
    row = 40 + 10  # tiles and the gap above them; the legend of classes may grow by a line or two
    assert heights[0] + row <= heights[1] < heights[0] + 2 * row


def test_folders_that_are_not_runs_are_refused(tmp_path, capsys):
    for action in ("features", "modulation"):
        assert main(["analyze", action, str(tmp_path)]) == 2
        assert "not a run directory" in capsys.readouterr().err
    assert main(["analyze", "sheet", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "no finished run" in capsys.readouterr().err
