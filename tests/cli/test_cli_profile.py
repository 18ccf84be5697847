from __future__ import annotations

from pathlib import Path

import pytest

from taskprism.cli import main
from taskprism.models import create_model

LIGHT = ["--backbone", "mobilenetv2_050", "--options", "neck_channels=32", "head=panoptic"]


def test_profile_of_a_model_name(capsys) -> None:
    words = ["multi_task", *LIGHT, "--tasks", "semseg=5", "depth", "--size", "64", "96"]
    assert main(["profile", *words, "--repeats", "1"]) == 0
    output = capsys.readouterr().out
    assert "multi_task on mobilenetv2_050" in output
    assert "semseg, depth" in output
    assert "1 x 3 x 64 x 96" in output
    assert "ms on cpu" in output


def test_profile_of_a_saved_model(tmp_path: Path, capsys) -> None:
    model = create_model(
        "pad_net", ["depth"], ["edge"], backbone="mobilenetv2_050", neck_channels=32, channels=8
    )
    model.save_pretrained(tmp_path / "checkpoints" / "best")
    assert main(["profile", str(tmp_path), "--size", "32", "32", "--repeats", "0"]) == 0
    output = capsys.readouterr().out
    assert "depth (auxiliary: edge)" in output
    assert "latency" not in output
    parameters = sum(p.numel() for p in model.parameters())
    assert f"{parameters / 1e6:.4f} M" in output


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["mti_nett"], "Did you mean 'mti_net'"),
        (
            ["mti_net", "--tasks", "depth=one"],
            "Expected NAME or NAME=CHANNELS for a task, got 'depth=one'",
        ),
        (["mti_net", "--options", "propagation"], "--options takes KEY=VALUE, got 'propagation'"),
        (["mti_net", "--options", "propagaton=false"], "Did you mean 'propagation'"),
        (["mti_net", "--size", "0", "64"], "at least 1"),
        (["multi_task", *LIGHT, "--device", "gpu"], "Cannot use device 'gpu'"),
    ],
)
def test_wrong_arguments_are_reported(words: list[str], reason: str, capsys) -> None:
    assert main(["profile", *words]) == 2
    assert reason in capsys.readouterr().err
