"""Training curves: reading logs and plotting."""

from __future__ import annotations

import json

import pytest

from taskprism.errors import DataError, InputError
from taskprism.visualization import as_svg, plot_curves, read_curves

EVENTS = [
    {"event": "train", "epoch": 1, "step": 4, "losses": {"depth": 2.0, "edge": None}},
    {"event": "train", "epoch": 1, "step": 8, "losses": {"depth": 1.0}},
    {"event": "evaluate", "epoch": 1, "step": 8, "metrics": {"depth": {"rmse": 0.9}}},
    {"event": "train", "epoch": 2, "step": 12, "losses": {"depth": 0.5}},
    {"event": "evaluate", "epoch": 2, "step": 12, "metrics": {"depth": {"rmse": None}}},
]


@pytest.fixture
def run(tmp_path):
    lines = [json.dumps(event) for event in EVENTS]
    (tmp_path / "log.jsonl").write_text("\n".join(lines) + '\n{"event": "tra')
    return tmp_path


def test_losses_are_epoch_means_without_missing_values(run):
    curves = read_curves(run)
    assert curves.losses == {"depth": [(1, 1.5), (2, 0.5)]}
    assert curves.metrics == {"depth": {"rmse": [(1, 0.9)]}}


def test_broken_line_and_missing_log_are_named(run):
    text = (run / "log.jsonl").read_text()
    (run / "log.jsonl").write_text("oops\n" + text)
    with pytest.raises(DataError, match="line 1"):
        read_curves(run)
    with pytest.raises(DataError, match=r"absent.log\.jsonl"):
        read_curves(run / "absent")


def test_plot_has_one_column_per_task_and_one_line_per_run(run):
    curves = read_curves(run)
    figure = plot_curves(
        {"one": [curves, curves], "two": [curves]},
        {"depth": "rmse", "edge": "loss"},
        {"depth": False, "edge": False},
    )
    axes = figure.axes
    assert len(axes) == 4
    assert [axis.get_title(loc="left") for axis in axes[:2]] == ["depth", "edge"]
    assert len(axes[0].lines) == 3 and len(axes[2].lines) == 3 and not axes[1].lines
    assert axes[2].get_ylabel() == "test rmse ↓"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["one", "two"]
    svg = as_svg(figure)
    assert svg.lstrip().startswith("<?xml")
    with pytest.raises(InputError, match="at least one task"):
        plot_curves({"one": [curves]}, {}, {})
