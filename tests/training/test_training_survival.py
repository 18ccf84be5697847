"""The benchmark that kills trainings: it compares bits, and its report counts the kills."""

import copy
import importlib.util
import sys
from pathlib import Path

import pytest
import torch

FILE = Path(__file__).parents[2] / "benchmarks" / "survival.py"


@pytest.fixture(scope="module")
def survival():
    spec = importlib.util.spec_from_file_location("survival", FILE)
    module = importlib.util.module_from_spec(spec)
    sys.modules["survival"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["survival"]


def test_values_are_compared_bit_for_bit(survival):
    state = {"moments": [torch.tensor([0.0, 1.0]), (torch.tensor(3), None)], "epoch": 2}
    assert survival.same(state, copy.deepcopy(state))
    for change in (torch.tensor([-0.0, 1.0]), torch.tensor([0.0, 1.0]).double(), [0.0, 1.0]):
        assert not survival.same(state, {**state, "moments": [change, state["moments"][1]]})
    assert not survival.same(state, {**state, "epoch": 3})
    assert not survival.same(state, {"epoch": 2})


@pytest.mark.slow
def test_killed_runs_end_as_the_uninterrupted_one(survival, tmp_path, monkeypatch):
    report = tmp_path / "report.md"
    words = ["--kills", "2", "--modes", "folder", "--out", str(report)]
    monkeypatch.setattr(sys, "argv", ["survival.py", *words])
    with pytest.raises(SystemExit) as ended:
        survival.main()
    assert ended.value.code == 0
    cells = report.read_text().splitlines()[-1].split("|")
    assert sum(int(cell) for cell in cells[2:4]) == 2
    assert len(set(cells[4].split()) - {"of"}) == 1
