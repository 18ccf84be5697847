"""Our numbers next to the paper's, compared with manual calculations."""

import json

import pytest

from reference.table_runs import PART, SCORES, make_plan, make_table, write_run
from taskprism.papers import collecting
from taskprism.papers.collecting import GainSpread, collect, run_seconds
from taskprism.papers.plan import Place
from taskprism.papers.results import Range, ordering
from taskprism.papers.sizes import Size
from taskprism.papers.text import order_notes, part_notes, setting_notes


@pytest.fixture(autouse=True)
def plain(monkeypatch):
    """No resampling, and sizes without building anything."""
    monkeypatch.setattr(GainSpread, "of", lambda *_: None)
    monkeypatch.setattr(collecting, "size_of", lambda recipe: Size(4000, 2 * 10**9))


def run_all(plan, place, rows=SCORES, **kwargs):
    for run in plan.runs:
        if set(run.rows) & set(rows):
            write_run(run.recipe, place.run(run).path, **kwargs)


@pytest.fixture
def done(tmp_path):
    plan, place = make_plan(seeds=2), Place(tmp_path)
    run_all(plan, place)
    return collect(plan, place)


def cell(result, row, column):
    rows = {each.key: each for part in result.parts for each in part.rows}
    return rows[row].cells[column]


def test_numbers_have_the_unit_of_the_paper(done):
    seg = cell(done, "shared", "seg")
    assert seg.paper == 38
    assert seg.ours.mean == pytest.approx(45.5) and seg.ours.count == 2
    assert seg.ours.std == pytest.approx(2**-0.5)
    assert cell(done, "shared", "dep").ours.mean == pytest.approx(1.095)


def test_gains_are_relative_to_our_baseline_of_the_same_seed(done):
    # seed 0: seg .45 instead of .50, dep 1.1 instead of 1.0; seed 1: .46 and .51, 1.09 and 0.99
    first = (-10 - 10) / 2
    second = 100 * ((0.46 - 0.51) / 0.51 - (1.09 - 0.99) / 0.99) / 2
    gain = cell(done, "shared", "gain")
    assert gain.ours.mean == pytest.approx((first + second) / 2)
    assert gain.ours.std == pytest.approx(abs(first - second) / 2**0.5)
    assert cell(done, "single", "gain").ours.mean == 0


def test_a_drop_is_the_negated_gain(tmp_path):
    columns = [dict(each) for each in PART["columns"]]
    columns[2]["quantity"] = "drop"
    plan, place = make_plan(table=make_table(columns=columns), seeds=1), Place(tmp_path)
    run_all(plan, place)
    result = collect(plan, place)
    assert cell(result, "shared", "gain").ours.mean == pytest.approx(10)
    assert result.parts[0].higher_is_better["gain"] is False


def test_a_seed_without_a_baseline_is_compared_with_the_mean(tmp_path):
    plan, place = make_plan(seeds=2), Place(tmp_path)
    runs = {(run.rows[0], run.seed): run for run in plan.runs}
    for name in (("single", 0), ("shared", 1)):
        write_run(runs[name].recipe, place.run(runs[name]).path)
    gain = cell(collect(plan, place), "shared", "gain")
    assert gain.ours.mean == pytest.approx(100 * ((0.46 - 0.5) / 0.5 - (1.09 - 1) / 1) / 2)


def test_relative_sizes_use_the_baseline_row(done):
    assert cell(done, "ours", "size").ours.mean == 0.5
    assert cell(done, "ours", "size").paper is None


def test_sizes_are_known_before_training(tmp_path):
    result = collect(make_plan(), Place(tmp_path))
    row = result.parts[0].rows[0]
    assert (row.parameters, row.macs, row.seeds) == (4000, 2 * 10**9, ())
    assert result.done == 0 and result.total == 6
    assert cell(result, "single", "size").ours.mean == 1
    assert cell(result, "single", "seg").ours is None


def test_quoted_rows_show_only_the_papers_numbers(done):
    row = done.parts[0].rows[-1]
    assert row.kind == "quoted" and row.cells["seg"].paper == 36
    assert all(each.ours is None for each in row.cells.values())
    assert any("figures of its authors" in note for note in part_notes(done, done.parts[0]))


def test_notes_name_rows_that_share_runs(tmp_path):
    rows = make_table().parts[""].model_dump()["rows"]
    rows["twin"] = {"label": "Twin", "paper": {"seg": 45}}
    plan, place = make_plan(table=make_table(rows=rows)), Place(tmp_path)
    plan.recipes["twin"] = plan.recipes["ours"]
    run_all(plan, place)
    result = collect(plan, place)
    assert cell(result, "twin", "seg").ours == cell(result, "ours", "seg").ours
    notes = part_notes(result, result.parts[0])
    assert any(note.endswith("request share their runs: Ours [full], Twin.") for note in notes)


def test_notes_mention_rows_with_one_seed(tmp_path):
    plan, place = make_plan(seeds=1), Place(tmp_path)
    run_all(plan, place)
    result = collect(plan, place)
    assert any(n.startswith("One seed per row") for n in part_notes(result, result.parts[0]))
    assert any("may be due to chance" in note for note in order_notes(result.parts[0]))
    plan = make_plan(seeds=2)
    run_all(plan, place, rows=["ours"])
    result = collect(plan, place)
    assert any(
        "One seed only, without spread over seeds: Single, Shared." in note
        for note in part_notes(result, result.parts[0])
    )


def test_setting_notes_say_what_can_be_compared(done, tmp_path):
    assert any("not the numbers" in note for note in setting_notes(done))
    plan, place = make_plan(seeds=1, protocol=None, budget="full"), Place(tmp_path / "full")
    run_all(plan, place, rows=["single"])
    notes = setting_notes(collect(plan, place))
    assert not any("not the numbers" in note for note in notes)
    assert "Not finished: 1 of 3 runs have scores." in notes


def test_order_of_rows_agrees_with_the_paper(done):
    part = done.parts[0]
    column = part.part.column("gain")
    order = ordering(part, column)
    assert [name for name, _ in order.paper] == ["Ours [full]", "Single", "Shared"]
    assert [name for name, _ in order.ours] == ["Ours [full]", "Single", "Shared"]
    assert (order.kendall, order.spearman) == (pytest.approx(1), pytest.approx(1))
    assert (order.agreeing, order.reversed, order.agreeing_apart) == (3, 0, 3)
    assert "does not hide" in order.findings()[-1]


def with_gains(part, gains):
    rows = []
    for row, (low, mean, high) in zip(part.rows, gains, strict=False):
        ours = row.cells["gain"].ours
        replaced = row.cells["gain"].__class__(
            paper=row.cells["gain"].paper,
            ours=ours.__class__(mean, None, 1),
            interval=Range(low, high, "made up"),
        )
        rows.append(row.__class__(**{**vars(row), "cells": {**row.cells, "gain": replaced}}))
    return part.__class__(**{**vars(part), "rows": tuple(rows)})


def test_overlapping_intervals_make_the_order_uncertain(done):
    part = with_gains(done.parts[0], [(-1, 0, 1), (0.5, 2, 4), (-3, 1, 5)])
    order = ordering(part, part.part.column("gain"))
    # the paper: ours, single, shared; here: shared, ours, single
    assert (order.agreeing, order.reversed) == (1, 2)
    assert order.kendall == pytest.approx(-1 / 3)
    assert "hides the order" in order.findings()[-1]
    part = with_gains(done.parts[0], [(-1, 0, 1), (1.5, 2, 4), (-3, 1, 5)])
    order = ordering(part, part.part.column("gain"))
    assert (order.agreeing_apart, order.reversed_apart) == (0, 1)
    assert "hides part of the order" in order.findings()[-1]


def test_duration_of_an_interrupted_run_excludes_pauses(tmp_path):
    plan, place = make_plan(seeds=1), Place(tmp_path)
    run = plan.runs[0]
    write_run(run.recipe, place.run(run).path)
    directory = place.run(run)
    assert run_seconds(directory.path) == 90
    manifest = json.loads(directory.manifest_file.read_text())
    manifest["resumed"] = ["2024-01-02T00:00:00+00:00"]
    directory.manifest_file.write_text(json.dumps(manifest))
    directory.log.append({"event": "train", "seconds": 10.0})
    directory.log.append({"event": "evaluate"})
    directory.log.append({"event": "train", "seconds": 12.0})
    assert run_seconds(directory.path) == 22
    directory.manifest_file.unlink()
    assert run_seconds(directory.path) is None


def test_gains_exclude_tasks_without_scores_with_a_note(tmp_path):
    columns = [*PART["columns"], {"key": "e", "header": "E", "task": "edge", "metric": "odsf"}]
    plan, place = make_plan(table=make_table(columns=columns), seeds=1), Place(tmp_path)
    run_all(plan, place)
    result = collect(plan, place)
    assert cell(result, "shared", "gain").ours.mean == pytest.approx(-10)
    assert result.notes == ("Δm does not include edge, because some runs have no loss for it.",)
