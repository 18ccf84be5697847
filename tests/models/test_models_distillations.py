"""Every distillation inside every assembly, on both kinds of backbone."""

from __future__ import annotations

import pytest
import torch

from models.base import BACKBONES
from taskprism.analysis.resources import count_macs
from taskprism.distillation import list_distillations
from taskprism.models import create_model

ASSEMBLIES = {"pad_net": {"channels": 32}, "mti_net": {}}


@pytest.mark.parametrize("distillation", list_distillations())
@pytest.mark.parametrize("assembly", ASSEMBLIES)
@pytest.mark.parametrize("kind", BACKBONES)
def test_any_distillation_in_any_assembly(distillation: str, assembly: str, kind: str) -> None:
    model = create_model(
        assembly,
        {"semseg": 5, "depth": 1},
        {"edge": 1},
        distillation=distillation,
        size=(32, 64),
        **BACKBONES[kind],
        **ASSEMBLIES[assembly],
    )
    outputs = model(torch.randn(2, 3, 32, 64))
    sum(output.square().mean() for output in outputs.values()).backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert all(torch.isfinite(gradient).all() for gradient in gradients.values())
    # The relational context begins at 0, so being connected is all that can be asked.
    assert any(".edge." in name for name in gradients), "nothing is read from the auxiliary task"
    if (kind, assembly) == ("pyramid", "pad_net"):
        assert count_macs(model, (32, 64)) > 0, "does not run without data"
