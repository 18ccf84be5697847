"""Every tutorial is a complete program that runs."""

from pathlib import Path

import pytest

import commands

TUTORIALS = Path(__file__).parents[2] / "docs" / "tutorials"
FILES = sorted(TUTORIALS.glob("*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_tutorial_runs_and_prints_its_result(file, tmp_path):
    assert commands.run_script(file, folder=tmp_path, timeout=300).output.strip()


def test_page_shows_every_tutorial():
    page = (TUTORIALS / "index.md").read_text()
    assert FILES
    for file in FILES:
        assert f"{{literalinclude}} {file.name}" in page


def test_training_loop_is_short_and_does_not_use_accelerate():
    text = (TUTORIALS / "own_training_loop.py").read_text()
    assert len(text.splitlines()) < 40
    assert "accelerate" not in text.split('"""')[2]
