from __future__ import annotations

import torch

from models.base import BACKBONES, ModelTests
from taskprism.backbones.residual_stages import ResidualStages
from taskprism.models.nddr_cnn import NDDRLayer

TASKS = ["semseg", "depth", "edge"]


class TestNDDRCNN(ModelTests):
    name = "nddr_cnn"
    kinds = BACKBONES[ResidualStages]

    def test_a_layer_follows_the_stem_and_every_stage(self) -> None:
        model = self.make()
        encoder = model.backbones["depth"]
        channels = [unit.reduce["depth"][0].out_channels for unit in model.units.values()]
        assert channels == [encoder.stem_channels, *encoder.channels]
        assert list(model.units) == ["stem", "layer1", "layer2", "layer3", "layer4"]
        seen = []
        model.units["stem"].register_forward_hook(lambda _, __, out: seen.append(out["depth"]))
        model(self.images(2))
        assert seen[0].shape[-2:] == (16, 24), "a layer before the pooling"

    def test_units_learn_faster(self) -> None:
        ((units, factor),) = self.make().sgd_rate_factors()
        assert factor == 100
        assert len(units) == 5 * 2 * 3


def features() -> dict[str, torch.Tensor]:
    return {task: torch.randn(2, 4, 3, 5, dtype=torch.float64) for task in TASKS}


def test_a_layer_equals_explicit_loops() -> None:
    layer = NDDRLayer(TASKS, 4).double().eval()
    for value in layer.state_dict().values():
        if value.is_floating_point():
            value.uniform_(0.5, 1.5)
    given = features()
    reduced = layer(given)
    for task in TASKS:
        convolution, norm, _ = layer.reduce[task]
        for leaving in range(4):
            total = torch.zeros(2, 3, 5, dtype=torch.float64)
            for place, source in enumerate(TASKS):
                for entering in range(4):
                    weight = convolution.weight[leaving, 4 * place + entering, 0, 0]
                    total += weight * given[source][:, entering]
            total = (total - norm.running_mean[leaving]) / (norm.running_var[leaving] + 1e-5).sqrt()
            total = (total * norm.weight[leaving] + norm.bias[leaving]).relu()
            torch.testing.assert_close(reduced[task][:, leaving], total)


def test_initial_values_of_a_layer() -> None:
    layer = NDDRLayer(TASKS, 4, alpha=0.8, beta=0.05).double().eval()
    given = features()
    reduced = layer(given)
    total = sum(given.values())
    for task in TASKS:
        assert layer.reduce[task][1].momentum == 0.05
        expected = (0.75 * given[task] + 0.05 * total).relu() / (1 + 1e-5) ** 0.5
        torch.testing.assert_close(reduced[task], expected)


def test_permuting_tasks_permutes_outputs() -> None:
    order = ["edge", "semseg", "depth"]
    layer = NDDRLayer(TASKS, 4).double().eval()
    for parameter in layer.parameters():
        parameter.data.normal_()
    turned = NDDRLayer(order, 4).double().eval()
    state = layer.state_dict()
    for key, value in state.items():
        if value.ndim == 4:
            parts = dict(zip(TASKS, value.chunk(3, dim=1), strict=True))
            state[key] = torch.cat([parts[task] for task in order], dim=1)
    turned.load_state_dict(state)
    given = features()
    expected, reduced = layer(given), turned(given)
    for task in TASKS:
        torch.testing.assert_close(reduced[task], expected[task])
