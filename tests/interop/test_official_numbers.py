"""Imported networks give the same outputs as slow reference implementations."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from interop.official_cases import CASES, Case
from reference.released_layers import Released
from taskprism.interop import import_official


def relative(value: Tensor, expected: Tensor) -> float:
    return ((value - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize("case", [case for case in CASES if case.small], ids=str)
def test_outputs_match_the_reference(case: Case, tmp_path: Path) -> None:
    released = Released(seed=1)
    height, width = case.small
    images = torch.randn(1, 3, height, width, dtype=torch.float64)
    with torch.no_grad():
        outputs, initial = case.run(released, images, small=True)
    file = tmp_path / "checkpoint.pth"
    torch.save(dict(released), file)
    model = import_official(
        file,
        case.source,
        case.model,
        dict(reversed(case.tasks.items())),  # the order in which the caller names them is free
        dict(reversed(case.auxiliary.items())),
        **({"size": case.small} if case.model.startswith("ctal") else {}),
    )
    assert not model.training
    with torch.no_grad():
        exact = model.double()(images)
        single = model.float()(images.float())
    assert set(exact) == set(case.tasks)
    for task in case.tasks:
        expected = outputs[case.released_name(task)]
        assert expected.std() > 1e-3
        assert relative(exact[task], expected) < 1e-8
        assert relative(single[task].double(), expected) < 1e-4
    assert len(exact.initial) == len(initial)
    for scale, expected_scale in zip(exact.initial, initial, strict=True):
        assert set(scale) == {*case.tasks, *case.auxiliary}
        for task, value in scale.items():
            assert relative(value, expected_scale[case.released_name(task)]) < 1e-8
