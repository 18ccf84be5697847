"""Every released layout goes through the importer, strictly; values are not needed for that."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from interop.official_cases import ASTMT, CASES, Case
from taskprism.interop import SOURCES, import_official
from taskprism.models import MultiTaskModel

# Importing without values copies nothing, which PyTorch points out for every tensor.
pytestmark = pytest.mark.filterwarnings("ignore:.*copying from a non-meta")

Shapes = dict[str, tuple[int, ...]]
Read = Callable[[str], Shapes]


def bring(shapes: Shapes, file: Path, case: Case) -> MultiTaskModel:
    """Import a checkpoint of these shapes that takes no room: every tensor repeats one number."""
    torch.save({name: torch.zeros(()).expand(shape) for name, shape in shapes.items()}, file)
    with torch.device("meta"):
        return import_official(file, case.source, case.model, case.tasks, case.auxiliary)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_released_name_finds_its_place(case: Case, tmp_path: Path) -> None:
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
def test_names_and_shapes_are_the_released_ones(case: Case, released_shapes: Read) -> None:
    """What holds the restatements to the facts: they read these tensors, all of them, only them."""
    assert case.shapes() == released_shapes(case.table)


@pytest.mark.parametrize("table", ASTMT)
def test_names_and_shapes_of_astmt_are_the_released_ones(table: str, released_shapes: Read) -> None:
    assert ASTMT[table].shapes() == released_shapes(table)


def test_no_released_table_is_left_out(released_tables: list[str]) -> None:
    """Tables are named SOURCE__NAME; those of sources that cannot be imported yet do not count."""
    prefixes = {table.partition("__")[0] for table in (*(case.table for case in CASES), *ASTMT)}
    assert len(prefixes) == len(SOURCES.names())
    expected = [table for table in released_tables if table.partition("__")[0] in prefixes]
    assert sorted([*(case.table for case in CASES), *ASTMT]) == expected
