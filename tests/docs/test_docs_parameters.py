from __future__ import annotations

from pathlib import Path

import pytest
from docs.generate import parameters
from docs.generate.parameter_rows import BLOCKS, Block

PAGE = Path(__file__).parents[2] / "docs" / "parameters.md"


@pytest.mark.nightly
@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.title)
def test_page_is_up_to_date(block: Block) -> None:
    assert parameters.table(block) in PAGE.read_text(encoding="utf-8"), (
        "run: python -m docs.generate.parameters"
    )


def test_page_equals_the_output_of_the_command(tmp_path: Path, monkeypatch) -> None:
    """Apart from the tables themselves."""
    written = tmp_path / "parameters.md"
    monkeypatch.setattr(parameters, "table", lambda block: f"## {block.title}\n")
    monkeypatch.setattr("sys.argv", ["parameters", str(written)])
    parameters.main()
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    without_tables = [line for line in lines if line and not line.startswith("|")]
    assert without_tables == [line for line in written.read_text().splitlines() if line]
