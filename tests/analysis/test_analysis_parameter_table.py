from __future__ import annotations

from pathlib import Path

import pytest

from taskprism.analysis import parameter_table

PAGE = Path(__file__).parents[2] / "docs" / "parameters.md"


@pytest.mark.slow
def test_the_page_is_up_to_date(tmp_path: Path, monkeypatch) -> None:
    written = tmp_path / "parameters.md"
    monkeypatch.setattr("sys.argv", ["parameter_table", str(written)])
    parameter_table.main()
    assert PAGE.read_text(encoding="utf-8") == written.read_text(encoding="utf-8"), (
        "run: python -m taskprism.analysis.parameter_table docs/parameters.md"
    )
