"""Every Python example of the README and the docs runs; every command they show exists."""

import re
import shlex
from pathlib import Path

import pytest

from taskprism.cli import COMMANDS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def _blocks(page: Path, *languages: str) -> list[str]:
    fenced = re.findall(r"^```(\S*)[^\n]*\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    return [block for language, block in fenced if language in languages]


EXAMPLES = [
    pytest.param(block, id=f"{page.stem}-{index}")
    for page in PAGES
    for index, block in enumerate(_blocks(page, "python"))
]


@pytest.mark.parametrize("source", EXAMPLES)
def test_python_example_runs(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(source, "example", "exec"), {"__name__": "example"})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_shown_commands_exist(page):
    for block in _blocks(page, "", "console", "bash", "sh"):
        for line in block.splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True) if line else []
            if words[:1] == ["taskprism"]:
                assert words[1] in COMMANDS or words[1].startswith("-"), line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_linked_files_exist(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"
