"""Files around the code: workflows, issue forms, citation, and what they call or repeat."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
GITHUB = ROOT / ".github"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
FORMS = [
    path for path in sorted((GITHUB / "ISSUE_TEMPLATE").glob("*.yml")) if path.stem != "config"
]


def read(path: Path) -> dict[Any, Any]:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


def steps(workflow: dict[Any, Any]) -> Iterator[dict[str, Any]]:
    for job in workflow["jobs"].values():
        yield from job["steps"]


def make_targets() -> set[str]:
    rules = re.findall(r"^([\w -]+):(?!=)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    return {target for rule in rules for target in rule.split()}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_call_make_targets_with_few_rights(path) -> None:
    workflow = read(path)
    assert workflow[True]  # `on`, which YAML 1.1 reads as a truth value
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert 0 < job["timeout-minutes"] <= 120
        assert set(job.get("permissions", {})) <= {"id-token"}
    for step in steps(workflow):
        if "run" in step:
            words = step["run"].split()
            assert words[0] == "make" and words[1] in make_targets(), step
            # What an event brings reaches the shell as a variable, not as text of the command.
            assert "github." not in step["run"], step
        else:
            assert re.fullmatch(r"[\w-]+/[\w-]+@(v\d+|release/v\d+)", step["uses"]), step


def test_every_supported_python_is_tested() -> None:
    named = [
        text.rpartition(" ")[2]
        for text in PROJECT["classifiers"]
        if re.fullmatch(r"Programming Language :: Python :: 3\.\d+", text)
    ]
    ci = read(GITHUB / "workflows" / "ci.yml")
    assert ci["jobs"]["tests"]["strategy"]["matrix"]["python"] == named
    assert PROJECT["requires-python"] == f">={named[0]}"


def test_documented_make_targets_exist() -> None:
    for page in (ROOT / "CONTRIBUTING.md", ROOT / "RELEASING.md", ROOT / "README.md"):
        text = page.read_text(encoding="utf-8")
        for target in re.findall(r"(?:^|`)make ([\w-]+)", text, re.MULTILINE):
            assert target in make_targets(), f"{page.name}: make {target}"


def test_only_the_publishing_job_gets_an_identity() -> None:
    jobs = {
        f"{path.stem}/{name}": job
        for path in WORKFLOWS
        for name, job in read(path)["jobs"].items()
        if "permissions" in job
    }
    assert list(jobs) == ["release/publish"]
    assert jobs["release/publish"]["environment"]["name"] == "pypi"


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_issue_forms_are_complete(path) -> None:
    form = read(path)
    assert form["name"] and form["description"]
    ids = [part["id"] for part in form["body"] if part["type"] != "markdown"]
    assert len(set(ids)) == len(ids) > 0
    for part in form["body"]:
        assert part["type"] in {"textarea", "input", "dropdown", "checkboxes", "markdown"}
        assert part["attributes"].get("label"), part
        if part["type"] in {"dropdown", "checkboxes"}:
            assert part["attributes"]["options"]
        assert isinstance(part.get("validations", {}).get("required", False), bool)


def test_dependabot_watches_actions_and_packages() -> None:
    content = read(GITHUB / "dependabot.yml")
    assert content["version"] == 2
    kinds = {update["package-ecosystem"] for update in content["updates"]}
    assert kinds == {"github-actions", "pip"}
    assert all(update["directory"] and update["schedule"] for update in content["updates"])


def test_the_citation_is_valid_and_agrees_with_the_project() -> None:
    citation = read(ROOT / "CITATION.cff")
    # The keys that version 1.2.0 of the format requires.
    assert citation["cff-version"] == "1.2.0"
    assert citation["message"] and citation["title"]
    for author in citation["authors"]:
        assert author.get("name") or (author.get("family-names") and author.get("given-names"))
    assert citation["type"] in {"software", "dataset"}
    assert str(citation["version"]) == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    assert citation["repository-code"] == PROJECT["urls"]["Homepage"]
    assert set(citation["keywords"]) == set(PROJECT["keywords"])
    assert [{"name": author["name"]} for author in citation["authors"]] == PROJECT["authors"]


def test_addresses_are_those_of_the_project() -> None:
    home = PROJECT["urls"]["Homepage"]
    texts = [ROOT / "SECURITY.md", ROOT / "CITATION.cff", *GITHUB.rglob("*.yml")]
    for path in texts:
        for address in re.findall(r"https://github\.com/[\w./-]+", path.read_text()):
            assert address.startswith(home), f"{path.name}: {address}"
