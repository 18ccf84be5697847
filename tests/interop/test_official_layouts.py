"""Every released layout goes through the importer, strictly; values are not needed for that."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from interop.official_cases import CASES, PASCAL_5, Case
from taskprism.interop.official import import_official
from taskprism.models import MultiTaskModel

# Importing without values copies nothing, which PyTorch points out for every tensor.
pytestmark = pytest.mark.filterwarnings("ignore:.*copying from a non-meta")

Shapes = dict[str, tuple[int, ...]]
Read = Callable[[str], Shapes]

ASTMT = {
    "astmt__nyud_se_resnet50_seenc_sedec_adapt": (
        {"edge": 1, "semseg": 41, "normals": 3, "depth": 1},
        ("se_resnet50", 45_018_606 - 39_172),  # as published, without the discriminator
    ),
    "astmt__pascal_se_mobilenet_v2_seenc_sedec": (PASCAL_5, ("mobilenet_v2", 2_639_948)),
    "astmt__pascal_se_resnet26_baseline": (PASCAL_5, ("se_resnet26", None)),
    "astmt__pascal_se_resnet26_sedec": (PASCAL_5, ("se_resnet26", None)),
    "astmt__pascal_se_resnet26_seenc_sedec_adapt": (
        PASCAL_5,
        ("se_resnet26", 31_279_377 - 4_421),
    ),
}


def save(shapes: Shapes, file: Path) -> Path:
    """A checkpoint of these shapes that takes no room: every tensor repeats one number."""
    torch.save({name: torch.zeros(()).expand(shape) for name, shape in shapes.items()}, file)
    return file


def bring(file: Path, case: Case) -> MultiTaskModel:
    with torch.device("meta"):
        return import_official(file, case.source, case.model, case.tasks, case.auxiliary)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_released_name_finds_its_place(
    case: Case, released_shapes: Read, tmp_path: Path
) -> None:
    shapes = released_shapes(case.table)
    model = bring(save(shapes, tmp_path / "file.pth"), case)
    own = model.state_dict()
    assert len(own) == len(shapes) - (len(case.tasks) - 1) * (case.model == "pap_net")
    expected = sum(torch.Size(shape).numel() for shape in shapes.values())
    assert sum(tensor.numel() for tensor in own.values()) == expected
    backbone = f"resnet{case.depth}" if case.depth else "hrnet_w18_small_v2"
    assert model.config["backbone"] == backbone
    if case.model.startswith("ctal"):
        assert model.config["options"]["size"] == list(case.size)


@pytest.mark.parametrize("table", ASTMT)
def test_every_released_name_of_astmt(table: str, released_shapes: Read, tmp_path: Path) -> None:
    tasks, (backbone, parameters) = ASTMT[table]
    file = save(released_shapes(table), tmp_path / "file.pth")
    with torch.device("meta"):
        model = import_official(file, "astmt", "astmt", tasks)
    assert model.config["backbone"] == backbone
    assert len(model.state_dict()) == len(released_shapes(table))
    if parameters is not None:
        assert sum(p.numel() for p in model.parameters()) == parameters


@pytest.mark.parametrize(
    ("se_encoder", "se_decoder", "adapters", "norm"), itertools.product([True, False], repeat=4)
)
def test_every_combination_of_astmt(
    se_encoder: bool,
    se_decoder: bool,
    adapters: bool,
    norm: bool,
    released_shapes: Read,
    tmp_path: Path,
) -> None:
    """Made from the richest one by taking away what a combination lacks."""
    shapes = released_shapes("astmt__pascal_se_resnet26_seenc_sedec_adapt")
    tasks = "edge|semseg|human_parts|normals|sal"
    found: Shapes = {}
    for name, shape in shapes.items():
        in_decoder = name.startswith("decoder.")
        if ".adapt." in name and not adapters:
            continue
        if ".se." in name and in_decoder and not se_decoder:
            continue
        if ".se." in name and not in_decoder and not se_encoder:
            name = re.sub(rf"\.fc\.({tasks})\.", ".fc.", name)
        is_norm = re.search(r"\.(bn\d|norm)\.", name)
        if is_norm and not (norm and (se_decoder or not in_decoder)):
            name = re.sub(rf"\.(bn\d|norm)\.({tasks})\.", r".\1.", name)
        found[name] = shape
    file = save(found, tmp_path / "file.pth")
    with torch.device("meta"):
        model = import_official(file, "astmt", "astmt", PASCAL_5)
    options = model.config["options"]
    assert (options["squeeze_encoder"], options["squeeze_decoder"]) == (se_encoder, se_decoder)
    assert (options["adapters"], options["encoder_norm_per_task"]) == (adapters, norm)
    assert len(model.state_dict()) == len(found)
