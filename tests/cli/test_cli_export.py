"""``taskprism export`` on a trained run, and ``taskprism predict`` on what it wrote."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from PIL import Image

from taskprism.cli import main
from taskprism.export import ExportReport, OnnxModel

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "run"
    words = ["train", "rooms/multi_task", "--out", str(folder), "--epochs", "1"]
    words += ["--model.backbone", "test_resnet", "--model.pretrained", "false"]
    words += ["--model.options.neck", "none", "--tasks", "semseg", "depth"]
    words += ["--data.options.input-size", "32", "48", "--data.batch-size", "2"]
    words += ["--data.options.train-length", "2", "--data.options.test-length", "2"]
    assert main(words) == 0
    return folder


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    generator = np.random.default_rng(0)
    for name in ("a", "b"):
        pixels = generator.integers(0, 256, (40, 56, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return folder


def test_a_run_is_exported_quantized_scored_and_predicts(run, photographs, tmp_path, capfd):
    file = tmp_path / "model.onnx"
    words = ["export", str(run), "--out", str(file), "--int8", str(photographs), "--evaluate"]
    assert main([*words, "--no-dynamic-size"]) == 0
    output, errors = capfd.readouterr()
    assert "Largest relative difference to PyTorch at 1 x 3 x 32 x 48" in errors
    assert "calibrated with 2 image(s)" in errors
    rows = [line for line in output.splitlines() if "miou" in line or "rmse" in line]
    for row in rows:
        torch_score, onnx_score, int8_score = map(float, row.replace("│", " ").split()[-3:])
        assert torch_score == pytest.approx(onnx_score, abs=1e-3)
        assert np.isfinite(int8_score)
    assert len(rows) >= 2
    stated = {e.key: e.value for e in onnx.load(str(file)).metadata_props}
    assert json.loads(stated["taskprism.input_size"]) == [32, 48]
    assert "weights" in json.loads(stated["taskprism.license"])
    twins = [tmp_path / folder / "photo.png" for folder in "abc"]
    for number, twin in enumerate(twins):
        twin.parent.mkdir()
        Image.new("RGB", (64, 48), (80 * number, 0, 0)).save(twin)
    assert main(["predict", str(file), *map(str, twins), "--out", str(tmp_path / "twins")]) == 0
    panels = sorted((tmp_path / "twins" / "panels").iterdir())
    reds = sorted(Image.open(panel).getpixel((0, 0))[0] for panel in panels)
    assert reds == [0, 80, 160], "images of one name in several folders are all kept"
    for name in ("model.onnx", "model_int8.onnx"):
        out = tmp_path / name.replace(".", "_")
        assert main(["predict", str(tmp_path / name), str(photographs), "--out", str(out)]) == 0
        assert Image.open(out / "depth/b.png").size == (56, 40)


def test_one_file_per_task_and_a_program(run, tmp_path, capfd):
    words = ["export", str(run), "--out", str(tmp_path / "m.onnx"), "--per-task", "--raw"]
    assert main([*words, "--no-dynamic-size"]) == 0
    assert "32 x 48 only" in capfd.readouterr().err
    for task in ("semseg", "depth"):
        model = OnnxModel(tmp_path / f"m_{task}.onnx")
        assert [each.name for each in model.tasks] == [task]
        assert not model.any_input_size
    program = tmp_path / "m.pt2"
    assert main(["export", str(run), "--out", str(program), "--format", "torch"]) == 0
    assert program.stat().st_size > 0


@pytest.mark.parametrize(("words", "expected"), [([], None), (["--no-dynamic-size"], False)])
def test_a_file_accepts_other_sizes_by_default(run, tmp_path, monkeypatch, words, expected):
    asked = []

    def write(*_, dynamic_size, **__):
        asked.append(dynamic_size)
        return ExportReport(tmp_path, 18, {}, "any", {})

    monkeypatch.setattr("taskprism.cli.export.export_onnx", write)
    assert main(["export", str(run), "--out", str(tmp_path / "m.onnx"), *words]) == 0
    assert asked == [expected]


def test_requests_that_do_not_fit_are_named(run, tmp_path, capfd):
    words = ["export", str(run), "--out", str(tmp_path / "m.onnx")]
    assert main([*words, "--tasks", "dpeth"]) == 2
    assert "Did you mean 'depth'" in capfd.readouterr().err
    assert main([*words, "--format", "torch", "--evaluate"]) == 2
    assert "--format onnx" in capfd.readouterr().err
    (tmp_path / "m.onnx").write_bytes(b"nothing")
    image = str(tmp_path / "x.png")
    assert main(["predict", str(tmp_path / "m.onnx"), image, "--out", str(tmp_path / "o")]) == 2
    assert "m.onnx" in capfd.readouterr().err
