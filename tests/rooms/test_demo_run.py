"""The complete demonstration with tiny settings."""

from __future__ import annotations

import io
import json
from html.parser import HTMLParser

import pytest
from rich.console import Console

from taskprism.errors import CheckpointError
from taskprism.progress import Reporter
from taskprism.rooms.demo import run as running
from taskprism.rooms.demo import run_demo

TINY = {
    "epochs": 1,
    "evaluate_every": 1,
    "model.backbone": "test_resnet",
    "model.pretrained": False,
    "data.batch_size": 4,
    "data.options.input_size": [48, 64],
    "data.options.train_length": 4,
    "data.options.val_length": 2,
    "data.options.test_length": 2,
}


class Page(HTMLParser):
    """Collects cells, headings, links, pictures and the columns of bold cells."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.headings: list[str] = []
        self.pictures: list[tuple[str, str]] = []
        self.links: list[str] = []
        self.best: set[str] = set()
        self._tag = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self._tag = tag
        if values.get("class") == "best":
            self.best.add(values["data-heading"])
        if tag == "img":
            self.pictures.append((values["src"].partition(";")[0], values["alt"]))
        self.links += [value for key, value in attrs if key == "href"]

    def handle_data(self, data):
        if self._tag == "td":
            self.cells.append(data.strip())
        if self._tag == "h2":
            self.headings.append(data.strip())


def demonstrate(out, **settings):
    log = io.StringIO()
    console = Console(file=log, width=200)
    report = run_demo(out, overrides=TINY, reporter=Reporter(console), **settings)
    return report, log.getvalue()


@pytest.mark.slow
def test_demo_writes_a_report_and_trains_only_unfinished_runs_again(tmp_path, capsys):
    report, log = demonstrate(tmp_path / "demo")
    printed = capsys.readouterr().out
    assert "protocol rooms, split test" in printed
    assert "small demonstration" in printed
    assert all(
        word in printed for word in ("single_task", "multi_task", "mti_net", "trivial", "Δm")
    )
    page = Page(report.read_text(encoding="utf-8"))
    assert all(name in page.cells for name in ("single_task", "multi_task", "mti_net", "trivial"))
    assert "0 (reference)" in page.cells
    kinds = [kind for kind, _ in page.pictures]
    assert kinds == ["data:image/svg+xml"] + ["data:image/jpeg"] * 6  # 2 rooms, 4 photographs
    assert any("Motorcycle" in words for _, words in page.pictures)
    assert "Photographs" in page.headings and "How to reproduce this page" in page.headings
    assert all(link.startswith("#") for link in page.links)
    metrics = {"semseg miou ↑", "depth rmse ↓", "normals mean_angle ↓", "edge loss ↓"}
    methods = {"single_task", "multi_task", "mti_net", "trivial"}
    assert metrics <= page.best <= metrics | methods  # and not seeds, parameters or Δm
    text = report.read_text(encoding="utf-8")
    assert "`" not in text.split("</style>")[1]
    assert "small demonstration" in text and "Apache-2.0" in text and "taskprism demo" in text
    table = (tmp_path / "demo" / "table.md").read_text(encoding="utf-8")
    assert "| mti_net |" in table and "depth delta1" in table

    # Again: only the unfinished run is trained.
    (tmp_path / "demo" / "runs" / "mti_net" / "metrics.json").unlink()
    report.unlink()
    again, log = demonstrate(tmp_path / "demo", minutes=0.0)
    assert (
        "Skipping single_task: it is already trained" in log
        and "Skipping multi_task: it is already trained" in log
    )
    assert "Skipping mti_net: it is already trained" not in log
    assert again.is_file()
    manifest = json.loads((tmp_path / "demo" / "runs" / "mti_net" / "manifest.json").read_text())
    assert len(manifest["resumed"]) == 1


def test_interrupt_message_shows_how_to_resume(tmp_path, monkeypatch):
    def stop(*_args, **_more):
        raise KeyboardInterrupt("saved")

    monkeypatch.setattr(running, "_plan", stop)
    with pytest.raises(KeyboardInterrupt, match=r"taskprism demo --out .*my demo"):
        run_demo(tmp_path / "my demo", reporter=Reporter(quiet=True))


def test_output_folder_that_cannot_be_created_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="Cannot create"):
        run_demo(tmp_path / "file" / "demo", reporter=Reporter(quiet=True))
