"""The discriminator of gradients, against plain loops and finite differences."""

import math

import pytest
import torch
from torch import nn

from taskprism.models import create_model
from taskprism.training import Criterion
from taskprism.training.adversarial import (
    Adversary,
    normalized,
    reversal_strength,
    reverse_gradient,
)
from taskprism.training.steps import LossNetwork

TASKS = ["edge", "semseg", "depth"]


class Toy(nn.Module):
    """Shared layers with one number in them, and a head, in float64."""

    def __init__(self):
        super().__init__()
        self.shared = nn.Conv2d(2, 4, 3, padding=1).double()
        self.head = nn.Conv2d(4, 3, 1).double()  # of one channel, only the sign would matter

    def features(self, images):
        return torch.tanh(self.shared(images))

    def loss(self, features):
        output = self.head(features)
        return (output**2).mean() + torch.sin(output).sum() / 50


@pytest.fixture
def toy():
    torch.manual_seed(5)
    network, adversary = Toy(), Adversary(TASKS, 4, kernel_size=3, weight=0.25).double()
    for p in adversary.parameters():
        nn.init.normal_(p, std=0.5)
    images = torch.randn(2, 2, 6, 5, dtype=torch.float64)
    valid = torch.rand(2, 1, 6, 5) < 0.7

    def run(reversal=0.6):
        features = network.features(images)
        return adversary(network.loss(features), features, "semseg", valid, reversal)

    return network, adversary, run, lambda: network.loss(network.features(images))


def slope(function, parameter, place, step=1e-5):
    with torch.no_grad():
        parameter.view(-1)[place] += step
    above = function().item()
    with torch.no_grad():
        parameter.view(-1)[place] -= 2 * step
    below = function().item()
    with torch.no_grad():
        parameter.view(-1)[place] += step
    return (above - below) / (2 * step)


@pytest.mark.parametrize("reversal", [0.0, 0.6, 1.0])
def test_the_network_climbs_what_the_discriminator_descends(toy, reversal):
    """min over D, max over the network (eq. 3), with signs and sizes by finite differences."""
    network, adversary, run, task_loss = toy
    weight = adversary.weight
    total, _ = run(reversal)
    total.backward()

    def judgment():
        return run()[1]

    for parameter in (network.shared.weight, network.head.weight):
        for place in (0, 3):
            fooling = slope(judgment, parameter, place)
            expected = (1 - weight) * slope(task_loss, parameter, place)
            expected -= reversal * weight * fooling
            assert parameter.grad.view(-1)[place].item() == pytest.approx(expected, rel=1e-5)
            assert abs(fooling) > 1e-4
    for parameter in adversary.parameters():
        expected = weight * slope(judgment, parameter, 1)
        assert parameter.grad.view(-1)[1].item() == pytest.approx(expected, rel=1e-5)


def test_reversal_is_the_identity_forwards():
    values = torch.randn(3, requires_grad=True)
    reversed_values = reverse_gradient(values, 0.3)
    assert torch.equal(reversed_values, values)
    (reversed_values * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    torch.testing.assert_close(values.grad, torch.tensor([-0.3, -0.6, -0.9]))


def test_gradients_have_length_one_however_short_they_are():
    gradient = torch.randn(2, 8, 3, 4, dtype=torch.float64) * 1e-6
    gradient[0, :, 1, 1] = 0
    unit = normalized(gradient)
    lengths = unit.pow(2).sum(1).sqrt()
    assert lengths[0, 1, 1] == 0
    lengths[0, 1, 1] = 1
    torch.testing.assert_close(lengths, torch.ones_like(lengths), rtol=1e-3, atol=0)


def test_the_loss_pixel_by_pixel():
    torch.manual_seed(1)
    adversary = Adversary(TASKS, 2)
    for p in adversary.parameters():
        nn.init.normal_(p)
    features = torch.randn(1, 2, 2, 3, requires_grad=True)
    valid = torch.tensor([[True, True, False, False, True, True]] * 4).view(1, 1, 4, 6)
    total, judged = adversary(features.pow(3).sum(), features, "depth", valid, 1.0)
    losses = []
    for y in range(2):
        for x in (0, 2):  # the middle pixel has no label
            g = 3 * features[0, :, y, x].detach() ** 2
            hidden = (adversary.discriminator[0].weight[:, :, 0, 0] @ (g / g.norm())).relu()
            last = adversary.discriminator[2]
            logits = last.weight[:, :, 0, 0] @ hidden + last.bias
            losses.append(-logits.log_softmax(0)[TASKS.index("depth")])
    assert judged.item() == pytest.approx(sum(losses).item() / 4, rel=1e-5)
    expected = 0.99 * features.pow(3).sum() + 0.01 * judged
    torch.testing.assert_close(total, expected)


def test_without_any_label_nothing_is_judged():
    adversary = Adversary(TASKS, 2)
    features = torch.randn(1, 2, 2, 2, requires_grad=True)
    valid = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    total, judged = adversary(features.sum() * 0, features, "edge", valid, 1.0)
    total.backward()
    assert judged == 0
    assert not features.grad.any()
    assert all(not p.grad.any() for p in adversary.parameters())


def test_the_reversal_grows_to_one():
    assert reversal_strength(0, 60) == pytest.approx(2 / (1 + math.exp(-1 / 6)) - 1)
    strengths = [reversal_strength(epoch, 60) for epoch in range(60)]
    assert strengths == sorted(strengths)
    assert strengths[-1] == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(("tasks", "kernel", "parameters"), [(5, 1, 4_421), (4, 3, 39_172)])
def test_its_published_size(tasks, kernel, parameters):
    adversary = Adversary([str(i) for i in range(tasks)], 64, kernel)
    assert sum(p.numel() for p in adversary.parameters()) == parameters


@pytest.mark.parametrize("options", [{}, {"decoder": "uber_net"}])
@pytest.mark.parametrize("half", [False, True])
def test_in_a_network_of_any_input_size_and_precision(options, half):
    tasks = {"semseg": 3, "depth": 1}
    model = create_model("astmt", tasks, backbone="mobilenet_v2", **options)
    adversary = Adversary(list(tasks), model.interface_channels)
    network = LossNetwork(model, Criterion(model.tasks), adversary)
    seen = []
    adversary.discriminator.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    targets = {"depth": torch.rand(2, 1, 40, 56), "semseg": torch.zeros(2, 1, 40, 56).long()}
    valid = dict.fromkeys(tasks, torch.ones(2, 1, 40, 56, dtype=torch.bool))
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        losses = network(torch.rand(2, 3, 40, 56), targets, valid, ["depth"], 0.5)
    losses["total"].backward()
    assert list(losses["final"]) == list(losses["adversarial"]) == ["depth"]
    assert losses["adversarial"]["depth"].item() == pytest.approx(math.log(2), rel=0.05)
    (gradients,) = seen
    assert gradients.dtype == torch.float32
    assert gradients.detach().norm(dim=1).median().item() == pytest.approx(1, abs=0.01)
    encoder = [p for n, p in model.named_parameters() if n.startswith("encoder.stem")]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in encoder)
    assert all(p.grad is not None for p in adversary.parameters())
    untouched = [p for n, p in model.named_parameters() if "semseg" in n.split(".")]
    assert untouched
    assert all(p.grad is None for p in untouched)
