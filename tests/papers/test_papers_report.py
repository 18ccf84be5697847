"""Results of a table in the terminal and in files."""

import io
import json
from html.parser import HTMLParser

import pytest
from rich.console import Console

from reference.table_runs import SCORES, make_plan, write_run
from taskprism.papers import collecting
from taskprism.papers.collecting import GainSpread, collect
from taskprism.papers.plan import Place
from taskprism.papers.report import write_result
from taskprism.papers.results import Range
from taskprism.papers.sizes import Size
from taskprism.papers.text import markdown, print_result, to_json


@pytest.fixture
def make(tmp_path, monkeypatch):
    monkeypatch.setattr(GainSpread, "of", lambda *_: Range(-1.5, 2.5, "resampled by hand"))
    monkeypatch.setattr(collecting, "size_of", lambda recipe: Size(4000, 2 * 10**9))

    def make(**request):
        plan, place = make_plan(**request), Place(tmp_path)
        for run in plan.runs:
            if run.rows[0] in SCORES:
                write_run(run.recipe, place.run(run).path)
        return collect(plan, place)

    return make


def table_of(text):
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_markdown_shows_our_numbers_and_the_papers(make):
    head, _, single, shared, ours, theirs = table_of(markdown(make()))
    assert head[:7] == ["row", "Seg ↑ paper", "ours", "Dep ↓ paper", "ours", "Δm % ↑ paper", "ours"]
    assert single[1:3] == ["40.00", "50.50 ± 0.71"]
    assert shared[3:5] == ["0.550", "1.095 ± 0.007"]
    assert shared[6] == "-9.98 ± 0.03 [-1.50, +2.50]"
    assert single[6] == "0 (reference)"
    assert ours[0] == "Ours [full]" and ours[5] == "+9.00*"
    assert ours[2] == "**55.50 ± 0.71**"  # our best number is bold
    assert theirs[1] == "36.00" and theirs[2] == "–"
    assert head[-4:] == ["seeds", "params (M)", "MACs (G)", "time"]
    assert single[-1] == "90 s" and single[-4:-2] == ["2", "0.00"]


def test_differences_are_shown_only_for_comparable_numbers(make):
    assert "difference" not in table_of(markdown(make()))[0]
    head, _, single, *_ = table_of(markdown(make(protocol=None, budget="full")))
    assert head[1:4] == ["Seg ↑ paper", "ours", "difference"]
    assert single[3] == "+10.50"


def test_markdown_has_all_notes(make):
    text = markdown(make())
    assert "95 % interval, resampled by hand" in text
    assert "* Ours [full], Δm %: the entries give +10.00" in text
    assert "Ours [full]: as drawn in figure 1" in text
    assert "Kendall τ +1.00" in text
    assert "budget tiny" in text.splitlines()[0]


def test_json_contains_all_numbers(make):
    content = json.loads(to_json(make()))
    assert content["done"] == content["runs"] == 6
    part = content["parts"][""]
    row = part["rows"]["shared"]
    assert row["cells"]["seg"]["ours"] == pytest.approx({"mean": 45.5, "std": 0.5**0.5, "count": 2})
    assert row["cells"]["gain"]["interval"]["low"] == -1.5
    assert row["cells"]["seg"]["difference"] == pytest.approx(7.5)
    assert part["orders"]["gain"]["kendall"] == pytest.approx(1)
    assert set(row["runs"]) == {"0", "1"}


def test_commands_train_single_rows(make):
    text = markdown(make())
    assert "taskprism reproduce some_paper/1 --protocol rooms --budget tiny --seeds 2" in text
    assert "runs/rooms-shared-0123abcd-seed0 --out shared" in text
    full = markdown(make(protocol=None, budget="full"))
    assert "taskprism train some_paper/1/shared --out shared" in full


@pytest.mark.parametrize("width", [60, 300])
def test_terminal_shows_every_cell(make, width):
    console = Console(file=io.StringIO(), width=width, force_terminal=True, no_color=True)
    print_result(make(), console)
    text = console.file.getvalue()
    assert "Ours [full]" in text and "55.50 ± 0.71" in text and "…" not in text


class Page(HTMLParser):
    """Cells, headings and pictures."""

    def __init__(self, text):
        super().__init__()
        self.cells, self.pictures, self.links, self._tag = [], [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self._tag = tag
        values = dict(attrs)
        self.pictures += [values["alt"]] if tag == "img" else []
        self.links += [value for key, value in attrs if key == "href"]

    def handle_data(self, data):
        if self._tag == "td":
            self.cells.append(data.strip())


@pytest.mark.parametrize("request_", [{}, {"protocol": None, "budget": "full"}])
def test_page_is_self_contained(make, tmp_path, request_):
    page = write_result(make(**request_), tmp_path / "tables" / "one")
    text = page.read_text(encoding="utf-8")
    read = Page(text)
    assert "55.50 ± 0.71" in read.cells and "Ours [full]" in read.cells
    assert len(read.pictures) == 2
    assert all(link.startswith("#") for link in read.links)
    assert "made by a test" in text and "torch 2.0" in text and "c0ffeec0ffee" in text
    assert {file.name for file in page.parent.iterdir()} == {
        "table.md",
        "table.json",
        "report.html",
    }


def test_failures_are_reported(make, tmp_path):
    result = make()
    run = result.plan.runs[1]
    place = Place(tmp_path)
    place.run(run).metrics_file.unlink()
    place.note_failure(run, {"error": "RuntimeError: out of memory"})
    result = collect(result.plan, place)
    page = write_result(result, tmp_path / "tables" / "one")
    assert "RuntimeError: out of memory" in page.read_text(encoding="utf-8")
    assert "1 of 6 runs failed: rooms-shared-0123abcd-seed0" in markdown(result)
    shared = table_of(markdown(result))[3]
    assert "1 of 2" in shared
