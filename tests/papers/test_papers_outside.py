"""Tables in your own folder whose rows use parts from outside taskprism."""

from __future__ import annotations

import sys

import pytest

from taskprism.papers import Place, Request, check_data, collect, load_table, make_plan
from taskprism.papers.sizes import size_of

PARTS = """
from taskprism.models import find_model
from taskprism.rooms.protocol import RoomsProtocol


class OwnModel(find_model("multi_task")):
    name = "own_model"


class OwnProtocol(RoomsProtocol):
    pass
"""
TABLE = """
title: Made up
source: Nobody et al., Table 9
baseline: shared
columns: [{key: semseg, header: Seg, task: semseg, metric: miou}]
recipe:
  extends: rooms/multi_task
  imports: [parts_of_table_9.py]
  model: {backbone: resnet10t, pretrained: false}
rows:
  shared:
  own: {recipe: {model: {name: "parts_of_table_9:OwnModel"}}}
"""


@pytest.fixture
def table(write):
    write("paper/parts_of_table_9.py", PARTS)
    yield load_table(write("paper/9.yaml", TABLE))
    sys.modules.pop("parts_of_table_9", None)


def test_a_table_imports_the_parts_that_its_rows_name(table, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    plan = make_plan(table, Request(seeds=1))
    own = plan.runs_of("own")[0]
    assert own.recipe.model.name == "parts_of_table_9:OwnModel"
    assert own.name.startswith("parts_of_table_9_OwnModel-resnet10t-rooms-")
    result = collect(plan, Place(tmp_path / "out"))
    shared, row = result.parts[0].rows
    assert shared.parameters == row.parameters == size_of(own.recipe).parameters
    assert not (tmp_path / "cache").exists()  # the code of the parts may change at any time


def test_run_key_depends_on_imported_code_but_not_on_its_folder(table, write, tmp_path):
    before = [run.key for run in make_plan(table, Request(seeds=1)).runs]
    sys.modules.pop("parts_of_table_9")
    write("elsewhere/parts_of_table_9.py", PARTS)
    moved = load_table(write("elsewhere/9.yaml", TABLE))
    assert [run.key for run in make_plan(moved, Request(seeds=1)).runs] == before
    write("elsewhere/parts_of_table_9.py", PARTS + "\n")
    changed = [run.key for run in make_plan(moved, Request(seeds=1)).runs]
    assert not set(changed) & set(before)


def test_table_can_use_your_own_protocol(table):
    plan = make_plan(table, Request(protocol="parts_of_table_9:OwnProtocol", budget="tiny"))
    check_data(plan)
    assert {run.recipe.data.protocol for run in plan.runs} == {"parts_of_table_9:OwnProtocol"}
    assert all(run.name.isascii() and not set(run.name) & set(":/\\") for run in plan.runs)
