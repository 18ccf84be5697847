from __future__ import annotations

from pathlib import Path

import pytest

from taskprism.analysis import parameter_table
from taskprism.analysis.parameter_block import Block

PAGE = Path(__file__).parents[2] / "docs" / "parameters.md"


@pytest.mark.slow
@pytest.mark.parametrize("block", parameter_table.BLOCKS, ids=lambda block: block.title)
def test_the_page_is_up_to_date(block: Block) -> None:
    assert parameter_table.table(block) in PAGE.read_text(encoding="utf-8"), (
        "run: python -m taskprism.analysis.parameter_table docs/parameters.md"
    )


def test_the_page_is_what_the_command_writes(tmp_path: Path, monkeypatch) -> None:
    """Apart from the tables themselves."""
    written = tmp_path / "parameters.md"
    monkeypatch.setattr(parameter_table, "table", lambda block: f"## {block.title}\n")
    monkeypatch.setattr("sys.argv", ["parameter_table", str(written)])
    parameter_table.main()
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    without_tables = [line for line in lines if line and not line.startswith("|")]
    assert without_tables == [line for line in written.read_text().splitlines() if line]
