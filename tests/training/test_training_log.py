import json
import math

import pytest

from taskprism.errors import CheckpointError
from taskprism.training.run_directory import RunLog


def test_appends_lines_of_json(tmp_path):
    log = RunLog(tmp_path / "log.jsonl")
    assert log.entries() == []
    log.append({"event": "train", "losses": {"a": 1.5, "b": math.nan}})
    log.append({"event": "evaluate", "values": [math.inf, 2]})
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == log.entries()
    assert log.entries()[0]["losses"] == {"a": 1.5, "b": None}
    assert log.entries()[1]["values"] == [None, 2]
    assert len(log) == 2


def test_truncates_to_a_checkpoint(tmp_path):
    log = RunLog(tmp_path / "log.jsonl")
    for step in range(4):
        log.append({"step": step})
    log.truncate(2)
    assert [entry["step"] for entry in log.entries()] == [0, 1]
    log.append({"step": 9})
    assert [entry["step"] for entry in log.entries()] == [0, 1, 9]
    log.truncate(7)
    assert len(log) == 3


def test_a_line_cut_short_by_a_crash_is_left_out_and_cleared(tmp_path):
    log = RunLog(tmp_path / "log.jsonl")
    log.append({"step": 0})
    with log.path.open("a") as file:
        file.write('{"step": 1, "los')
    assert log.entries() == [{"step": 0}]
    log.truncate(1)
    log.append({"step": 1})
    assert log.entries() == [{"step": 0}, {"step": 1}]


def test_a_folder_that_is_gone_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"gone/log\.jsonl"):
        RunLog(tmp_path / "gone" / "log.jsonl").append({"a": 1})
