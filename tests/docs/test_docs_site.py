"""The documentation site, and the metadata of the project."""

import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def dry_run(target):
    command = ["make", "--dry-run", "--always-make", target]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_make_docs_builds_the_site_without_warnings():
    assert "-m sphinx -q -W --keep-going -b html docs docs/_build/html" in dry_run("docs")


def test_make_test_builds_the_site():
    assert "-m sphinx" in dry_run("test")


def test_project_lists_urls_and_python_versions():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {"Homepage", "Documentation", "Changelog"} <= set(project["urls"])
    for version in ("3.11", "3.12", "3.13"):
        assert f"Programming Language :: Python :: {version}" in project["classifiers"]
