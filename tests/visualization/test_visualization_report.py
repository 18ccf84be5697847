"""The HTML report is complete, self-contained and escaped."""

from __future__ import annotations

import base64
import io
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from taskprism.errors import CheckpointError
from taskprism.visualization import Figure, Section, TextTable, render_report, write_report


class Page(HTMLParser):
    """Collects texts by tag, attributes that refer somewhere, and checks that tags are closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.texts: dict[str, list[str]] = {}
        self.references: list[str] = []
        self.best: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        assert not self._open, self._open

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.references += [v for k, v in attrs if k in {"src", "href"}]
        if tag not in {"meta", "img", "link", "br"}:
            self._open.append(tag)
            self.texts.setdefault(tag, []).append("")
        self._is_best = values.get("class") == "best"

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open:
            self.texts[self._open[-1]][-1] += data
            if self._open[-1] == "td" and self._is_best:
                self.best.append(data)


TABLE = TextTable(
    "protocol toy",
    ["method", "miou ↑"],
    [["a <b>", "0.1"], ["c", "0.2"]],
    frozenset({(1, 1)}),
    ["one seed"],
)


def page() -> str:
    picture = np.random.default_rng(0).integers(0, 255, (20, 30, 3)).astype(np.uint8)
    sections = [
        Section("The table", ["Some words & signs."], TABLE),
        Section("Pictures", figures=[Figure("noise", picture), Figure("drawn", "<svg></svg>")]),
        Section("How", commands=["taskprism demo --out 'x y'"], facts=[("data", "Apache-2.0")]),
    ]
    return render_report("A report", ["A small demonstration."], sections)


def test_report_contains_all_content():
    parsed = Page(page())
    assert parsed.texts["h1"] == ["A report"]
    assert parsed.texts["h2"] == ["The table", "Pictures", "How"]
    assert parsed.texts["th"] == ["method", "miou ↑"]
    assert parsed.texts["td"] == ["a <b>", "0.1", "c", "0.2"]
    assert parsed.best == ["0.2"]
    assert "one seed" in parsed.texts["li"]
    assert "Some words & signs." in parsed.texts["p"]
    assert "A small demonstration." in parsed.texts["p"]
    assert parsed.texts["pre"] == ["taskprism demo --out 'x y'"]
    assert parsed.texts["dd"] == ["Apache-2.0"]


def test_report_has_no_external_references():
    parsed = Page(page())
    assert all(reference.startswith(("data:image/", "#")) for reference in parsed.references)
    anchors = [reference for reference in parsed.references if reference.startswith("#")]
    assert anchors == ["#the-table", "#pictures", "#how"]
    assert 'id="the-table"' in page()


def test_pictures_can_be_decoded():
    (jpeg, svg) = [r for r in Page(page()).references if r.startswith("data:")]
    content = base64.b64decode(jpeg.partition(",")[2])
    assert Image.open(io.BytesIO(content)).size == (30, 20)
    assert base64.b64decode(svg.partition(",")[2]) == b"<svg></svg>"


def test_report_is_deterministic():
    assert page() == page()


def test_path_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match=r"report\.html"):
        write_report(tmp_path / "file" / "report.html", "t", [], [])
    write_report(tmp_path / "deep" / "report.html", "t", [], [])
    assert (tmp_path / "deep" / "report.html").read_text().startswith("<!DOCTYPE html>")


def test_text_in_backticks_becomes_escaped_code():
    text = render_report("t", ["Set `--minutes` & `<b>`."], [Section("s", ["`x`"], TABLE)])
    assert "Set <code>--minutes</code> &amp; <code>&lt;b&gt;</code>." in text
    assert "`" not in text


def test_cells_name_their_column_for_narrow_screens():
    assert '<td class="best" data-heading="miou ↑">0.2</td>' in page()
    assert page().count('data-heading="miou ↑"') == 2
    assert "max-width: 720px" in page()
