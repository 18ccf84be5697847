"""The papers' gains are consistent with their entries, or listed as misprints."""

from __future__ import annotations

import itertools
import re
from functools import cache
from pathlib import Path

import pytest
from docs.generate import paper_arithmetic
from docs.generate.paper_arithmetic import Check, checks, directions, entries

from taskprism.papers.table import Part, Table, list_tables, load_table

PAGE = Path(__file__).parents[2] / "docs" / "paper_arithmetic.md"
SIGNED = re.compile(r"[-+]?\d+\.\d+")


@cache
def all_checks() -> list[Check]:
    return [check for name in list_tables() for check in checks(load_table(name))]


def of(check: Check) -> str:
    return f"{check.table.name} {check.row} {check.column.key}"


def test_exactly_the_inconsistent_gains_are_listed_as_misprints():
    wrong = [of(check) for check in all_checks() if check.consistent is False]
    listed = [of(check) for check in all_checks() if check.misprints]
    assert sorted(wrong) == sorted(listed)


def test_misprints_name_the_recomputed_gain():
    for check in all_checks():
        for why in check.misprints.values():
            named = [float(number) for number in SIGNED.findall(why)]
            assert round(check.recomputed, 2) in named, f"{of(check)}: {check.recomputed:.2f}"


def test_corrected_entries_give_consistent_gains():
    """A misprint of an entry starts with the correct value."""
    corrected = 0
    for check in all_checks():
        for key, why in check.misprints.items():
            if key == check.column.key:
                continue
            part = check.table.parts[check.part]
            row = part.rows[check.row]
            paper = {**row.paper, key: float(SIGNED.findall(why)[0])}
            rows = {**part.rows, check.row: row.model_copy(update={"paper": paper})}
            fixed = part.model_copy(update={"rows": rows})
            again = Table("x/y", check.table.file, "", "", {check.part: fixed})
            assert [c.consistent for c in checks(again) if c.row == check.row] == [True], of(check)
            corrected += 1
    assert corrected


def test_tables_of_all_papers_are_checked():
    """All four papers, each with most of its gains."""
    known = [check for check in all_checks() if check.consistent is not None]
    assert {check.table.name.split("/")[0] for check in known} == {
        "astmt",
        "ctal",
        "mti_net",
        "tpim",
    }
    assert len(known) > 0.85 * len(all_checks()) > 100


def test_every_entry_has_a_direction():
    for name in list_tables():
        for part in load_table(name).parts.values():
            for task, column in entries(part).items():
                assert (task, column.metric) in directions(), f"{name} {column.key}"
    assert directions()["semseg", "miou"] and not directions()["depth", "rmse"]
    assert directions()["edge", "odsf"] and not directions()["edge", "loss"]


def a_table(quantity="gain", **gains) -> Table:
    part = Part.model_validate(
        {
            "baseline": "single",
            "columns": [
                {"key": "seg", "header": "S", "task": "semseg", "metric": "miou", "digits": 1},
                {"key": "dep", "header": "D", "task": "depth", "metric": "rmse", "digits": 2},
                {"key": "abs", "header": "A", "task": "depth", "metric": "abs_error", "digits": 2},
                {"key": "gain", "header": "G", "quantity": quantity, "digits": 2},
            ],
            "rows": {
                "single": {"paper": {"seg": 40.0, "dep": 0.60, "abs": 0.5, "gain": 0}},
                **{
                    name: {"paper": {"seg": 44.0, "dep": 0.57, "gain": value}}
                    for name, value in gains.items()
                },
                "narrow": {"paper": {"seg": 44.0, "gain": 10.0}},
                "alone": {"paper": {"gain": 1.0}},
            },
        }
    )
    return Table("toy/1", Path("toy/1.yaml"), "Toy", "A test", {"": part})


def test_range_covers_all_unrounded_entries():
    """Expected by enumeration: +10 % and 5 % less error give 7.5 %."""
    found = {check.row: check for check in checks(a_table(exact=7.5, near=8.44, far=8.6))}
    assert set(found) == {"exact", "near", "far", "narrow", "alone"}
    exact = found["exact"]
    assert exact.recomputed == pytest.approx(7.5)
    ends = [
        50 * ((44 + a) / (40 + b) - 1) - 50 * ((0.57 + c) / (0.60 + d) - 1)
        for a, b in itertools.product((-0.05, 0.05), repeat=2)
        for c, d in itertools.product((-0.005, 0.005), repeat=2)
    ]
    assert (exact.low, exact.high) == pytest.approx((min(ends), max(ends)))
    consistent = {name: check.consistent for name, check in found.items()}
    assert consistent == {
        "exact": True,
        "near": exact.high > 8.435,
        "far": False,
        "narrow": True,  # over its own task
        "alone": None,
    }


def test_drop_is_the_negated_gain():
    found = {check.row: check for check in checks(a_table("drop", ours=-7.5, wrong=7.5))}
    assert found["ours"].recomputed == pytest.approx(-7.5)
    assert found["ours"].low < -7.5 < found["ours"].high
    assert (found["ours"].consistent, found["wrong"].consistent) == (True, False)


def test_page_is_up_to_date(tmp_path, monkeypatch):
    written = tmp_path / "page.md"
    monkeypatch.setattr("sys.argv", ["paper_arithmetic", str(written)])
    paper_arithmetic.main()
    assert PAGE.read_text(encoding="utf-8") == written.read_text(encoding="utf-8"), (
        "run: python -m docs.generate.paper_arithmetic"
    )
