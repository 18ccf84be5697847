"""The importer accepts every released layout; only names and shapes are needed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from interop.official_cases import ASTMT, CASES, FRONTIER, Case
from taskprism.interop import SOURCES, import_official
from taskprism.models import MultiTaskModel

# PyTorch warns for every tensor that an import without values copies nothing.
pytestmark = pytest.mark.filterwarnings("ignore:.*copying from a non-meta")

Shapes = dict[str, tuple[int, ...]]
Read = Callable[[str], Shapes]


def bring(shapes: Shapes, file: Path, case: Case) -> MultiTaskModel:
    """Import a checkpoint of these shapes that takes no memory: every tensor repeats one number."""
    torch.save({name: torch.zeros(()).expand(shape) for name, shape in shapes.items()}, file)
    with torch.device("meta"):
        return import_official(file, case.source, case.model, case.tasks, case.auxiliary)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_released_tensor_is_imported(case: Case, tmp_path: Path) -> None:
    shapes = case.shapes()
    model = bring(shapes, tmp_path / "file.pth", case)
    own = model.state_dict()
    assert len(own) == len(shapes) - (len(case.tasks) - 1) * (case.model == "pap_net")
    expected = sum(torch.Size(shape).numel() for shape in shapes.values())
    assert sum(tensor.numel() for tensor in own.values()) == expected
    backbone = f"resnet{case.depth}" if case.depth else "hrnet_w18_small_v2"
    assert model.config["backbone"] == backbone
    if case.model.startswith("ctal"):
        assert model.config["options"]["size"] == list(case.size)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_reference_uses_the_released_names_and_shapes(case: Case, released_shapes: Read) -> None:
    """The reference implementations read exactly the released tensors."""
    assert case.shapes() == released_shapes(case.table)


@pytest.mark.parametrize("table", ASTMT)
def test_reference_of_astmt_uses_the_released_names(table: str, released_shapes: Read) -> None:
    assert ASTMT[table].shapes() == released_shapes(table)


def test_all_released_tables_are_covered(released_tables: list[str]) -> None:
    """Tables are named SOURCE__NAME; sources without an importer are ignored."""
    tables = [*(case.table for case in CASES), *ASTMT, *FRONTIER]
    prefixes = {table.partition("__")[0] for table in tables}
    assert len(prefixes) == len(SOURCES.names())
    expected = [table for table in released_tables if table.partition("__")[0] in prefixes]
    assert sorted(tables) == expected
