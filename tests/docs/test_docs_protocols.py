"""Every protocol has a documentation page with the required sections."""

import dataclasses
import re
from pathlib import Path

import pytest

from taskprism.data import PROTOCOLS, list_protocols
from taskprism.data.benchmarks.base import BenchmarkProtocol

FOLDER = Path(__file__).parents[2] / "docs" / "protocols"
PAGES = {page.stem: page.read_text(encoding="utf-8") for page in FOLDER.glob("*.md")}
NAMES = {
    page: re.findall(r"`(\w+)`", text.splitlines()[0])
    for page, text in PAGES.items()
    if page != "index"
}
KINDS = {entry.name: entry.part for entry in PROTOCOLS.entries()}


def page_of(protocol):
    (page,) = [page for page, names in NAMES.items() if protocol in names]
    return PAGES[page]


def test_every_protocol_has_one_page():
    assert sorted(name for names in NAMES.values() for name in names) == sorted(list_protocols())


@pytest.mark.parametrize("name", list_protocols())
def test_page_has_files_conventions_users_and_license(name):
    text = page_of(name)
    for part in ("## Tree", "onventions", "used by|Used by|No paper|Used for", "## License"):
        assert re.search(part, text), part
    assert "taskprism data" in text


@pytest.mark.parametrize("name", [n for n, k in KINDS.items() if issubclass(k, BenchmarkProtocol)])
def test_page_names_every_option_and_variant(name):
    text, kind = page_of(name), KINDS[name]
    general = {"name", "root", "tasks", "license", "variant", "input_size"}
    for field in dataclasses.fields(kind):
        assert field.name in general or f"`{field.name}`" in text, field.name
    variants = kind().variants()
    assert len(variants) == 1 or all(f"`{variant.name}`" in text for variant in variants)


def test_index_links_all_pages():
    assert "{toctree}\n:glob:\n\n*\n" in PAGES["index"]
