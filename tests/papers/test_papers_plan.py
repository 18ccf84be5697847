"""The runs of a request."""

import pytest

from taskprism.errors import DataError, InputError, UnknownNameError
from taskprism.papers import load_table
from taskprism.papers.plan import Place, Request, check_data, make_plan
from taskprism.papers.settings import run_key
from taskprism.papers.sizes import measure, size_of

ROOMS = {"protocol": "rooms", "budget": "tiny"}


@pytest.fixture
def table(table_file):
    return load_table(table_file)


def test_every_trained_row_has_a_run_per_seed(table):
    plan = make_plan(table, Request(seeds=2, **ROOMS))
    assert [(run.rows, run.seed) for run in plan.runs] == [
        (("single",), 0),
        (("multi",), 0),
        (("single",), 1),
        (("multi",), 1),
    ]
    for run in plan.runs:
        assert run.recipe.seed == run.seed and run.recipe.data.protocol == "rooms"
        assert run.key == run.recipe.name == run_key(run.recipe)
    assert len({run.key for run in plan.runs}) == 2  # seeds share a key


def test_requested_rows_include_their_baselines(table):
    plan = make_plan(table, Request(seeds=1, rows=("coarse",), **ROOMS))
    assert list(plan.parts[""].rows) == ["single", "multi", "coarse"]
    plan = make_plan(table, Request(seeds=1, rows=("single",), **ROOMS))
    assert list(plan.recipes) == ["single"]


def test_invalid_requests_raise(table):
    with pytest.raises(UnknownNameError, match="Did you mean 'multi'"):
        make_plan(table, Request(rows=("mutli",), **ROOMS))
    with pytest.raises(UnknownNameError, match="part of table"):
        make_plan(table, Request(parts=("second",), **ROOMS))
    with pytest.raises(InputError, match="at least 1"):
        make_plan(table, Request(seeds=0, **ROOMS))


def test_missing_data_is_reported_before_training(tmp_path):
    plan = make_plan(load_table("mti_net/2a"), Request(seeds=1, rows=("multi_task",)))
    with pytest.raises(DataError, match=r"--data ROOT \(`taskprism data describe nyud40`"):
        check_data(plan)
    missing = Request(seeds=1, rows=("multi_task",), data=tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"nowhere .*does not exist.*--protocol rooms"):
        check_data(make_plan(load_table("mti_net/2a"), missing))
    with pytest.raises(DataError, match="data describe osd_rgbd"):
        plan = make_plan(load_table("mti_net/2a"), Request(protocol="osd_rgbd", budget="tiny"))
        check_data(plan)


def test_one_folder_can_contain_several_data_sets(tmp_path):
    (tmp_path / "nyud40").mkdir()
    request = Request(seeds=1, rows=("multi_task",), data=tmp_path)
    (recipe,) = make_plan(load_table("mti_net/2a"), request).recipes["multi_task"]
    assert recipe.data.root == tmp_path / "nyud40"


def test_command_repeats_the_request(table, tmp_path):
    request = Request(seeds=2, rows=("multi",), data=tmp_path / "my data", **ROOMS)
    command = make_plan(table, request).command(tmp_path, "--retry-failed")
    assert command.startswith("taskprism reproduce paper/1 --protocol rooms --data '")
    assert "--budget tiny --seeds 2 --rows multi --retry-failed --out" in command


def test_command_repeats_imports(table, tmp_path):
    request = Request(seeds=1, imports=("my parts.py", "other_parts"), **ROOMS)
    command = make_plan(table, request).command(tmp_path)
    assert "--import 'my parts.py' --import other_parts --out" in command


def test_budgets_and_protocols_have_separate_tables(table, tmp_path):
    place = Place(tmp_path)
    folders = {
        place.table(make_plan(table, Request(seeds=1, **each)))
        for each in (ROOMS, {**ROOMS, "budget": "small"}, {"protocol": "rooms"})
    }
    assert {folder.name for folder in folders} == {
        "paper-1-rooms-tiny",
        "paper-1-rooms-small",
        "paper-1-rooms-full",
    }


def test_sizes_are_computed_without_training_and_cached(table, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (recipe,) = make_plan(table, Request(seeds=1, rows=("multi",), **ROOMS)).recipes["multi"]
    size = size_of(recipe)
    assert size.parameters > 10_000 and size.macs > 1e6
    monkeypatch.setattr("taskprism.papers.sizes.measure", lambda _: pytest.fail("not kept"))
    assert size_of(recipe) == size
    (file,) = (tmp_path / "taskprism" / "sizes").iterdir()
    file.write_text("broken")
    monkeypatch.setattr("taskprism.papers.sizes.measure", measure)
    assert size_of(recipe) == size
