"""Window attention against loops over windows, and its identity path."""

from __future__ import annotations

import torch

from taskprism.distillation import WindowAttention

SOURCES = ["depth", "edge", "normals"]


def test_equals_loops_over_windows() -> None:
    """Maps of 5 x 7 pixels end inside the last windows of 4 x 4."""
    torch.manual_seed(0)
    module = WindowAttention(["depth", "edge"], 6, SOURCES, window=4, heads=3).double()
    features = {source: torch.randn(2, 6, 5, 7, dtype=torch.float64) for source in SOURCES}
    with torch.no_grad():
        refined = module(features)
        normed = {s: module.norms[s](x.movedim(1, -1)) for s, x in features.items()}
        for task in module.tasks:
            expected = features[task].movedim(1, -1).clone()
            for top in (0, 4):
                for left in (0, 4):
                    cut = (slice(None), slice(top, top + 4), slice(left, left + 4))
                    read = torch.cat([normed[s][cut].flatten(1, 2) for s in SOURCES], dim=1)
                    own = normed[task][cut]
                    query = module.query(own.flatten(1, 2))
                    key, value = module.key_value(read).chunk(2, dim=-1)
                    heads = [
                        (query[..., h : h + 2] @ key[..., h : h + 2].mT / 2**0.5).softmax(-1)
                        @ value[..., h : h + 2]
                        for h in (0, 2, 4)
                    ]
                    expected[cut] += module.project(torch.cat(heads, dim=-1)).view_as(own)
            expected = expected + module.mlp(module.mlp_norms[task](expected))
            torch.testing.assert_close(refined[task], expected.movedim(-1, 1))


def test_features_pass_unchanged_where_it_adds_nothing() -> None:
    module = WindowAttention(SOURCES, 4)
    for layer in (module.project, module.mlp[2]):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    features = {source: torch.randn(1, 4, 9, 8) for source in SOURCES}
    for task, refined in module(features).items():
        assert torch.equal(refined, features[task])
