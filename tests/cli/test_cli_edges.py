import doctest
import json
import re
from pathlib import Path

import numpy as np
import pytest

from reference import boundaries as reference
from taskprism.cli import main
from taskprism.metrics.boundaries import CONVENTIONS, BoundaryConvention, score_folders


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("berkeley")
    reference.write_berkeley_tree(root, ("coffee", "chelsea"))
    return root


def run(tree, *options):
    return main(["edges", str(tree / "predictions"), str(tree / "groundTruth"), *options])


def test_scores_are_printed_and_written(tree, tmp_path, capsys):
    record, plot = tmp_path / "scores.json", tmp_path / "curve.png"
    assert run(tree, "--thresholds", "9", "--json", str(record), "--plot", str(plot)) == 0
    found = json.loads(record.read_text())
    convention = BoundaryConvention(thresholds=tuple(k / 10 for k in range(1, 10)))
    expected = score_folders(tree / "predictions", tree / "groundTruth", convention)
    assert {name: found[name] for name in expected.as_json()} == expected.as_json()
    assert found["convention"]["max_distance"] == 0.0075
    assert plot.stat().st_size > 5000
    out = capsys.readouterr().out
    assert f"odsF {expected.ods_f:.4f} at threshold {expected.best_threshold:.3g}" in out
    assert "2 images; non-maximum suppression, 9 thresholds (>), thinning" in out


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        (["--hed-thresholds"], {"thresholds": CONVENTIONS["pascal"].thresholds}),
        (["--no-nms", "--at-least"], {"nms": False, "comparison": ">="}),
        (["--no-thin", "--max-dist", "0.02"], {"thin": False, "max_distance": 0.02}),
        (["--preset", "nyud", "--gt", "raw"], {"ground_truth": "raw", "max_distance": 0.011}),
    ],
)
def test_options_override_the_convention(tree, tmp_path, options, fields):
    record, listed = tmp_path / "scores.json", tmp_path / "list.txt"
    listed.write_text("coffee\n")
    assert run(tree, *options, "--list", str(listed), "--json", str(record)) == 0
    found = json.loads(record.read_text())
    assert found["images"] == 1
    for name, value in fields.items():
        expected = list(value) if isinstance(value, tuple) else value
        assert found["convention"][name] == expected


def test_examples_of_the_docs_page_run(tree, monkeypatch):
    manual = Path(__file__).parents[2] / "docs" / "edges.md"
    assert doctest.testfile(str(manual), module_relative=False).failed == 0
    monkeypatch.chdir(tree)
    Path("test.txt").write_text("coffee\n")
    commands = re.findall(r"^\$ taskprism (edges .*)$", manual.read_text(), re.MULTILINE)
    assert len(commands) == 4
    for command in commands:
        assert main(command.replace("--workers 2", "").split()) == 0
    assert Path("scores.json").exists() and Path("curve.png").exists()


def test_wrong_arguments_are_reported(tree, tmp_path, capsys):
    np.save(tmp_path / "coffee.npy", np.zeros((3, 3)))
    truth = str(tree / "groundTruth")
    cases = {
        "mutually exclusive": ["--thresholds", "9", "--hed-thresholds"],
        "--thresholds must be at least 1": ["--thresholds", "0"],
        "--max-dist must be at least 0 and at most 1": ["--max-dist", "4.3"],
        "Unknown boundary convention": ["--preset", "voc"],
        "there is no folder": ["--json", str(tmp_path / "absent" / "scores.json")],
        "no such list": ["--list", str(tmp_path / "absent.txt")],
    }
    for message, options in cases.items():
        assert run(tree, *options) == 2
        assert message in capsys.readouterr().err
    assert main(["edges", str(tmp_path / "absent"), truth]) == 2
    assert "no such prediction folder" in capsys.readouterr().err
    files = [str(tmp_path / "coffee.npy"), str(tree / "groundTruth" / "coffee.mat")]
    assert main(["edges", *files]) == 2
    assert "3 x 3 pixels, the ground truth 80 x 120" in capsys.readouterr().err
