"""The command ``taskprism reproduce``."""

import json
import os
import re
import signal
from pathlib import Path

import pytest
import yaml

import commands
from reference.run_files import weights
from taskprism.cli import main
from taskprism.sweeps import LocalEngine

TABLE = """
title: Made up
source: a test
baseline: single
columns:
  - {key: semseg, header: Seg, task: semseg, metric: miou, scale: 100}
  - {key: depth, header: Dep, task: depth, metric: rmse, digits: 3}
  - {key: gain, header: Δm %, quantity: gain}
recipe: {tasks: [semseg, depth], data: {protocol: rooms}}
rows:
  single: {paper: {semseg: 30, depth: 0.6, gain: 0}, recipe: {model: {name: single_task}}}
  multi: {paper: {semseg: 29, depth: 0.7, gain: -2}, recipe: {model: {name: multi_task}}}
  mti:
    paper: {semseg: 33, depth: 0.5, gain: 4}
    recipe: {model: {name: mti_net, options: {head: high_resolution}}}
  finest: {paper: {semseg: 31}, readout: {of: mti, initial_stride: 4}}
  theirs: {paper: {semseg: 28}, quoted: figures of its authors}
"""
BUDGET = {
    "seeds": 2,
    "recipe": {
        "model": {
            "backbone": "test_resnet",
            "pretrained": False,
            "options": {"neck": "fpn", "neck_channels": 8},
        },
        "data": {
            "options": {
                "input_size": [32, 48],
                "train_length": 8,
                "val_length": 2,
                "test_length": 3,
            },
            "batch_size": 4,
        },
        "epochs": 1,
    },
}


@pytest.fixture
def words(tmp_path):
    """Arguments that reproduce a made-up table on 8 rooms."""
    (tmp_path / "paper").mkdir()
    (tmp_path / "paper" / "1.yaml").write_text(TABLE, encoding="utf-8")

    def words(out, *more, epochs=1):
        budget = {**BUDGET, "recipe": {**BUDGET["recipe"], "epochs": epochs}}
        (tmp_path / "quick.yaml").write_text(yaml.safe_dump(budget))
        table, quick = tmp_path / "paper" / "1.yaml", tmp_path / "quick.yaml"
        start = ["reproduce", str(table), "--protocol", "rooms", "--budget", str(quick)]
        return [*start, "--out", str(tmp_path / out), *more]

    return words


def results(out: Path):
    (file,) = out.glob("tables/*/table.json")
    return json.loads(file.read_text(encoding="utf-8"))


@pytest.mark.slow
def test_table_is_reproduced_and_finished_runs_are_reused(words, tmp_path, capsys):
    assert main(words("all")) == 0
    printed = capsys.readouterr()
    assert "Training run 6 of 6: mti, seed 1" in printed.err
    assert "theirs" in printed.out.lower() and "Kendall" in printed.out
    content = results(tmp_path / "all")
    assert content["runs"] == content["done"] == 6
    rows = content["parts"][""]["rows"]
    assert rows["multi"]["seeds"] == rows["finest"]["seeds"] == [0, 1]
    assert rows["finest"]["cells"]["semseg"]["ours"] != rows["mti"]["cells"]["semseg"]["ours"]
    interval = rows["multi"]["cells"]["gain"]["interval"]
    assert interval["low"] <= rows["multi"]["cells"]["gain"]["ours"]["mean"] <= interval["high"]
    assert rows["finest"]["cells"]["gain"]["interval"] is None
    assert (next(tmp_path.glob("all/tables/*/report.html"))).is_file()
    assert main(words("all")) == 0
    again = capsys.readouterr()
    assert "Found 6 of 6 runs finished" in again.err and "Training" not in again.err
    assert results(tmp_path / "all") == content


@pytest.mark.nightly
@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_killed_process_is_resumed_with_the_same_numbers(words, tmp_path, capsys):
    command = words("killed", "--rows", "multi", "--seeds", "1", epochs=12)
    with commands.start(*command) as process:
        checkpoint = "killed/runs/*/checkpoints/last/config.json"
        process.wait_until(lambda: list(tmp_path.glob(checkpoint)))
        process.kill()
        assert process.wait() == -signal.SIGKILL
    assert not list(tmp_path.glob("killed/runs/multi*/metrics.json"))
    capsys.readouterr()
    assert main(command) == 0
    messages = capsys.readouterr().err
    assert re.search("Resuming run [12] of 2", messages) and "Resuming at epoch" in messages
    assert main(words("straight", "--rows", "multi", "--seeds", "1", epochs=12)) == 0
    killed, straight = results(tmp_path / "killed"), results(tmp_path / "straight")
    for row in ("single", "multi"):
        one, other = (each["parts"][""]["rows"][row]["cells"] for each in (killed, straight))
        assert one == other
    (first,) = tmp_path.glob("killed/runs/multi*")
    (second,) = tmp_path.glob("straight/runs/multi*")
    before, after = weights(first), weights(second)
    assert all(before[key].equal(after[key]) for key in before)


def test_failed_runs_are_reported_at_the_end(words, tmp_path, capsys, monkeypatch):
    def build(*_):
        raise RuntimeError("no luck")

    monkeypatch.setattr("taskprism.training.run.build_experiment", build)
    assert main(words("failed", "--rows", "multi", "--seeds", "1")) == 1
    messages = capsys.readouterr().err
    assert "2 of 2 runs failed" in messages and "RuntimeError: no luck" in messages
    assert "--retry-failed --out" in messages


def test_the_hint_after_ctrl_c_repeats_the_imports_once(words, tmp_path, capsys, monkeypatch):
    def train(*_):
        raise KeyboardInterrupt("Stopped and saved.")

    monkeypatch.setattr(LocalEngine.__init__, "__defaults__", (train,))
    parts = tmp_path / "unused_parts.py"
    parts.write_text("")
    assert main(words("stopped", "--seeds", "1", "--import", str(parts))) == 130
    hint = capsys.readouterr().err.splitlines()[-1]
    assert hint.startswith("Stopped; finished work is kept. Resume with: taskprism reproduce paper")
    assert hint.count(f"--import {parts}") == 1
    with pytest.raises(SystemExit):
        main(["reproduce", "--help"])
    assert "--imports" not in capsys.readouterr().out


def test_sizes_are_listed_without_training(words, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert main(words("none", "--list")) == 0
    out = capsys.readouterr().out
    assert "from the run of mti" in out and "quoted" in out and "test_resnet" in out
    assert not (tmp_path / "none").exists()


def test_all_tables_are_listed(capsys):
    assert main(["reproduce", "--list"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in ("mti_net/2a", "ctal/1", "tpim/2a", "astmt/3b"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "Name a table"),
        (["mti_net/2x"], "Did you mean 'mti_net/2"),
        (["mti_net/2a", "--rows", "mtl"], "Unknown row"),
        (["mti_net/2a", "--rows", "multi_task"], "taskprism data describe nyud40"),
        (["mti_net/2a", "--per-run", "gpus=1"], "--per-run needs --engine ray"),
        (["mti_net/2a", "--engine", "ray", "--per-run", "gpu=1"], "gpus=1,cpus=4"),
        (["mti_net/2a", "--budget", "huge"], "Unknown budget 'huge'"),
        (["mti_net/2a", "--protocol", "room", "--budget", "tiny"], "Did you mean 'rooms'"),
    ],
)
def test_wrong_arguments_are_reported(words, message, capsys, tmp_path):
    assert main(["reproduce", *words, "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
