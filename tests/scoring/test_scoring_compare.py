"""Comparison tables compared with manual calculations."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path

import pytest
from rich.console import Console

from taskprism.cli import main
from taskprism.errors import CheckpointError, DataError, InputError
from taskprism.scoring.compare import compare
from taskprism.scoring.runs import find_runs, read_run
from taskprism.scoring.tables import markdown, text_table, to_csv, to_json, write

BETTER = {"semseg": {"miou": True, "pixel_accuracy": True}, "depth": {"rmse": False}}
PRIMARY = {"semseg": "miou", "depth": "rmse"}


def make_run(root: Path, name: str, model: str, seed: int, metrics: dict, **changes) -> Path:
    folder = root / f"{name}-{seed}-{'-'.join(metrics)}"
    folder.mkdir(parents=True)
    content = {
        "protocol": "toy",
        "split": "test",
        "epoch": 3,
        "metrics": metrics,
        "higher_is_better": {task: BETTER[task] for task in metrics},
        "primary": {task: PRIMARY[task] for task in metrics},
        "parameters": 1_500_000,
        "macs": 2_000_000_000,
        "seed": seed,
        "model": model,
        "run": name,
    }
    backbone = changes.pop("backbone", "net")
    content.update(changes)
    (folder / "metrics.json").write_text(json.dumps(content))
    (folder / "recipe.yaml").write_text(f"model: {{name: {model}, backbone: {backbone}}}\n")
    return folder


def semseg(miou: float, accuracy: float = 0.5) -> dict:
    return {"semseg": {"miou": miou, "pixel_accuracy": accuracy}}


def depth(rmse: float | None) -> dict:
    return {"depth": {"rmse": rmse}}


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for seed, miou, rmse in [(0, 0.5, 2.0), (1, 0.4, 1.0)]:
        make_run(tmp_path, "single_task-semseg", "single_task", seed, semseg(miou))
        make_run(tmp_path, "single_task-depth", "single_task", seed, depth(rmse))
    make_run(tmp_path, "mti_net", "mti_net", 0, semseg(0.6) | depth(1.5))
    make_run(tmp_path, "mti_net", "mti_net", 1, semseg(0.5) | depth(1.1))
    make_run(tmp_path, "multi_task", "multi_task", 1, semseg(0.3) | depth(1.0))
    return tmp_path


def row(comparison, name):
    (found,) = [row for row in comparison.rows if row.name == name]
    return found


def test_numbers_equal_manual_calculation(runs):
    table = compare(find_runs([runs]))
    assert [r.name for r in table.rows] == ["single_task", "mti_net", "multi_task"]
    assert [(c.task, c.metric, c.higher_is_better) for c in table.columns if c.primary] == [
        ("semseg", "miou", True),
        ("depth", "rmse", False),
    ]
    mti = row(table, "mti_net")
    assert mti.seeds == (0, 1)
    miou = mti.values["semseg", "miou"]
    assert miou.mean == pytest.approx(0.55)
    assert miou.std == pytest.approx(math.sqrt(0.005))  # (0.05**2 + 0.05**2) / (2 - 1)
    # Seed 0: +20 % mIoU and 25 % less error; seed 1: +25 % mIoU and 10 % more error.
    assert mti.gain.mean == pytest.approx((22.5 + 7.5) / 2)
    assert mti.gain.std == pytest.approx(15 / math.sqrt(2))
    assert mti.task_gains["semseg"].mean == pytest.approx(22.5)
    assert mti.task_gains["depth"].mean == pytest.approx(7.5)
    # One seed: -25 % mIoU and the same error, relative to the networks of seed 1.
    multi = row(table, "multi_task")
    assert multi.gain.mean == pytest.approx(-12.5)
    assert multi.gain.std is None
    assert any("One seed, so no" in note and "multi_task" in note for note in table.notes)


def test_single_task_networks_share_a_row_with_summed_sizes(runs):
    single = row(compare(find_runs([runs])), "single_task")
    assert single.is_baseline and single.gain is None
    assert single.parameters == 3_000_000 and single.macs == 4_000_000_000
    assert single.values["depth", "rmse"].mean == pytest.approx(1.5)


def test_seed_without_baseline_is_compared_with_the_mean_and_noted(tmp_path):
    make_run(tmp_path, "single_task-semseg", "single_task", 0, semseg(0.4))
    make_run(tmp_path, "single_task-semseg", "single_task", 1, semseg(0.6))
    make_run(tmp_path, "mti_net", "mti_net", 7, semseg(0.6))
    table = compare(find_runs([tmp_path]))
    assert row(table, "mti_net").gain.mean == pytest.approx(20)
    assert any("no single_task run with seed 7" in note for note in table.notes)


def test_missing_single_task_runs_are_noted(tmp_path):
    make_run(tmp_path, "mti_net", "mti_net", 0, semseg(0.6))
    table = compare(find_runs([tmp_path]))
    assert row(table, "mti_net").gain is None
    assert any(note.startswith("No Δm for mti_net") for note in table.notes)
    assert "–" in markdown(table)


def test_gain_needs_the_same_backbone(tmp_path):
    make_run(tmp_path, "single_task-semseg", "single_task", 0, semseg(0.4))
    make_run(tmp_path, "mti_net", "mti_net", 0, semseg(0.6), backbone="other")
    table = compare(find_runs([tmp_path]))
    assert row(table, "mti_net").gain is None
    assert any("no single_task run has the backbone other" in note for note in table.notes)


def test_method_on_two_backbones_has_two_rows_and_baselines(tmp_path):
    for backbone, single, multi in [("small", 0.4, 0.5), ("large", 0.5, 0.6)]:
        folder = tmp_path / backbone
        make_run(folder, "single_task-semseg", "single_task", 0, semseg(single), backbone=backbone)
        make_run(folder, "mti_net", "mti_net", 0, semseg(multi), backbone=backbone)
    table = compare(find_runs([tmp_path]))
    assert row(table, "mti_net (small)").gain.mean == pytest.approx(25)
    assert row(table, "mti_net (large)").gain.mean == pytest.approx(20)


def test_several_baselines_of_one_backbone_give_no_gain(tmp_path):
    make_run(tmp_path, "slow-semseg", "single_task", 0, semseg(0.4))
    make_run(tmp_path, "fast-semseg", "single_task", 0, semseg(0.5))
    make_run(tmp_path, "mti_net", "mti_net", 0, semseg(0.6))
    table = compare(find_runs([tmp_path]))
    assert [r.name for r in table.rows if r.is_baseline] == ["fast", "slow"]
    assert row(table, "mti_net").gain is None
    assert any("several sets" in note for note in table.notes)


def test_gain_excludes_tasks_without_a_baseline_score(tmp_path):
    make_run(tmp_path, "single_task-semseg", "single_task", 0, semseg(0.5))
    make_run(tmp_path, "single_task-depth", "single_task", 0, depth(None))
    make_run(tmp_path, "mti_net", "mti_net", 0, semseg(0.6) | depth(1.0))
    table = compare(find_runs([tmp_path]))
    assert row(table, "mti_net").gain.mean == pytest.approx(20)
    assert any("excludes depth" in note for note in table.notes)
    assert ("depth", "rmse") not in row(table, "single_task").values


def test_method_with_fewer_tasks_is_noted(tmp_path):
    make_run(tmp_path, "single_task-semseg", "single_task", 0, semseg(0.5))
    make_run(tmp_path, "single_task-depth", "single_task", 0, depth(1.0))
    make_run(tmp_path, "narrow", "mti_net", 0, semseg(0.6))
    table = compare(find_runs([tmp_path]))
    assert row(table, "narrow").gain.mean == pytest.approx(20)
    assert any("not depth" in note for note in table.notes)


def test_names_with_a_seed_are_seeds_of_one_method(tmp_path):
    make_run(tmp_path, "mti_net-seed0", "mti_net", 0, semseg(0.6))
    make_run(tmp_path, "mti_net_s12", "mti_net", 12, semseg(0.4))
    (only,) = compare(find_runs([tmp_path])).rows
    assert only.name == "mti_net" and only.seeds == (0, 12)


@pytest.mark.parametrize(
    "change", [{"protocol": "other"}, {"split": "val"}, {"input_size": [6, 8]}]
)
def test_different_protocols_or_splits_raise(tmp_path, change):
    make_run(tmp_path, "a", "mti_net", 0, semseg(0.6))
    make_run(tmp_path, "b", "mti_net", 0, semseg(0.6), **change)
    with pytest.raises(InputError, match=r"different protocols.*one protocol at a time"):
        compare(find_runs([tmp_path]))


def test_duplicate_method_and_seed_raises(tmp_path):
    make_run(tmp_path / "x", "a", "mti_net", 0, semseg(0.6))
    make_run(tmp_path / "y", "a", "mti_net", 0, semseg(0.6))
    with pytest.raises(InputError, match="same method, seed"):
        compare(find_runs([tmp_path]))


def test_one_name_for_two_models_or_task_sets_raises(tmp_path):
    make_run(tmp_path, "a", "mti_net", 0, semseg(0.6))
    make_run(tmp_path, "a", "pad_net", 1, semseg(0.6))
    with pytest.raises(InputError, match="different models"):
        compare(find_runs([tmp_path]))
    make_run(tmp_path / "deep", "b", "mti_net", 0, semseg(0.6))
    make_run(tmp_path / "deep", "b", "mti_net", 1, depth(0.6))
    with pytest.raises(InputError, match="different tasks"):
        compare(find_runs([tmp_path / "deep"]))


def test_different_data_is_noted(tmp_path):
    for name, mark in [("a", "1"), ("b", "2")]:
        folder = make_run(tmp_path, name, "mti_net", 0, semseg(0.6))
        (folder / "manifest.json").write_text(json.dumps({"data_fingerprint": mark}))
    assert any("fingerprint" in note for note in compare(find_runs([tmp_path])).notes)


def test_missing_and_broken_runs_are_named(tmp_path):
    with pytest.raises(InputError, match="no finished run"):
        find_runs([tmp_path])
    with pytest.raises(InputError, match="absent is not a folder"):
        find_runs([tmp_path / "absent"])
    with pytest.raises(DataError, match=r"has no metrics\.json"):
        read_run(tmp_path)
    (tmp_path / "metrics.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read as JSON"):
        read_run(tmp_path)
    (tmp_path / "metrics.json").write_text("{}")
    with pytest.raises(DataError, match="not a complete score file"):
        read_run(tmp_path)
    with pytest.raises(InputError, match="No runs to compare"):
        compare([])


def test_run_given_twice_counts_once(runs):
    single = next(runs.glob("mti_net-0*"))
    assert len(find_runs([runs, single])) == 7


def test_markdown_shows_arrows_best_values_and_standard_deviations(runs):
    text = markdown(compare(find_runs([runs])))
    assert "**protocol toy, split test**" in text
    assert "| semseg miou ↑ | depth rmse ↓ | Δm (%) ↑ |" in text
    assert (
        "| mti_net | 2 | 1.50 | 2.00 | **0.5500 ± 0.0707** | 1.3000 ± 0.2828 | +15.00 ± 10.61 |"
        in text
    )
    assert "| multi_task | 1 | 1.50 | 2.00 | 0.3000 | **1.0000** | -12.50 |" in text
    assert "pixel_accuracy" not in text
    assert "semseg pixel_accuracy ↑" in markdown(compare(find_runs([runs])), all_metrics=True)


def test_csv_and_json_keep_full_precision(runs):
    table = compare(find_runs([runs]))
    rows = {line["method"]: line for line in csv.DictReader(io.StringIO(to_csv(table)))}
    assert float(rows["mti_net"]["semseg miou std"]) == pytest.approx(math.sqrt(0.005), abs=1e-12)
    assert rows["multi_task"]["semseg miou std"] == ""
    assert rows["single_task"]["gain_percent"] == ""
    content = json.loads(to_json(table, all_metrics=True))
    (mti,) = [line for line in content["rows"] if line["method"] == "mti_net"]
    assert mti["gain_percent"]["mean"] == pytest.approx(15)
    assert mti["metrics"]["semseg"]["pixel_accuracy"]["count"] == 2
    assert mti["task_gains_percent"]["depth"]["mean"] == pytest.approx(7.5)


@pytest.mark.parametrize(("width", "terminal"), [(200, True), (60, True), (20, False)])
def test_printed_table_is_complete_at_any_width(runs, width, terminal):
    console = Console(width=width, file=io.StringIO(), force_terminal=terminal, no_color=True)
    text_table(compare(find_runs([runs]))).print(console)
    text = console.file.getvalue()
    for part in ("protocol toy", "single_task", "0 (reference)", "0.5500 ± 0.0707", "depth rmse ↓"):
        assert part in text
    assert "…" not in text
    turned = [line for line in text.splitlines() if "depth rmse ↓" in line and "1.0000" in line]
    assert bool(turned) == (width == 60)


def test_command_prints_and_writes(runs, tmp_path, capsys):
    out = tmp_path / "tables" / "table.md"
    assert main(["compare", str(runs), "--out", str(out)]) == 0
    assert "mti_net" in capsys.readouterr().out
    assert "mti_net" in out.read_text()


def test_command_rejects_unknown_file_formats_first(tmp_path, capsys):
    assert main(["compare", str(tmp_path), "--out", "table.xls"]) == 2
    assert ".md, .csv, .json" in capsys.readouterr().err


def test_unwritable_table_is_named(runs, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="Cannot write the table"):
        write(compare(find_runs([runs])), tmp_path / "file" / "table.md")
