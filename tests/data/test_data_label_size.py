"""Scores at label size count the pixels of the labels."""

import math

import pytest
import torch
from torch import Tensor
from trees_nyud import write_nyud

from taskprism.data import create_protocol
from taskprism.scoring.baselines import fit_constants
from taskprism.training import score, split_loader


def test_scores_at_label_size_count_label_pixels(tmp_path):
    write_nyud(tmp_path, "npy")
    options = {"root": tmp_path, "input_size": (64, 64), "tasks": ["semseg", "depth"]}
    for evaluation in ("network", "original"):
        protocol = create_protocol("nyud40", evaluation=evaluation, **options)
        sample = protocol.dataset("test", protocol.evaluation_transform())[0]
        own = (34, 44) if evaluation == "original" else (64, 64)
        assert sample["image"].shape[-2:] == (64, 64)
        assert sample["targets"]["depth"].shape[-2:] == own
        model = fit_constants(protocol.dataset("train"), protocol.tasks)
        results = score(model, split_loader(protocol, "test", model, batch_size=2))
        pixels = squared = 0.0
        for one in protocol.dataset("test", protocol.evaluation_transform()):
            depth = one["targets"]["depth"].as_subclass(Tensor)
            valid = one["valid"]["depth"].as_subclass(Tensor)
            error = model.outputs["depth"].reshape(()) - depth[valid].double()
            pixels, squared = pixels + valid.sum().item(), squared + error.square().sum().item()
        assert results["depth"]["rmse"] == pytest.approx(math.sqrt(squared / pixels), rel=1e-5)
        assert torch.isfinite(torch.tensor(results["semseg"]["miou"]))
