"""The notebooks run from top to bottom, and are stored without outputs."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[2] / "docs" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_notebook_is_stored_without_outputs(file):
    notebook = nbformat.read(file, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None


@pytest.mark.nightly
def test_notebooks_run(tmp_path):
    """One kernel for all of them, each in its own folder: starting PyTorch takes longest."""
    every = nbformat.v4.new_notebook()
    shown = {}
    for file in NOTEBOOKS:
        (tmp_path / file.stem).mkdir()
        enter = f"%reset -f\n%cd -q {tmp_path / file.stem}"
        every.cells.append(nbformat.v4.new_code_cell(enter))
        every.cells += nbformat.read(file, as_version=4).cells
        shown[file.stem] = len(every.cells)
    NotebookClient(every, timeout=300, kernel_name="python3").execute()
    first = 0
    for name, end in shown.items():
        outputs = [
            output
            for cell in every.cells[first:end]
            if cell.cell_type == "code"
            for output in cell.outputs
        ]
        panels = [o for o in outputs if "<img alt=" in o.get("data", {}).get("text/html", "")]
        assert panels, f"{name} shows no prediction"
        first = end
    assert (tmp_path / "quickstart" / "runs" / "rooms" / "report.html").is_file()
