"""MTPSL against a slow reference, its published size, and where its gradients go."""

from pathlib import Path

import pytest
import torch
from torch import nn

from models.base import BUILT_IN, small_options
from reference.batches import every_task, random_batch
from reference.mtpsl import mapped, pair_loss, published_name
from taskprism import create_model
from taskprism.errors import InputError, UnknownNameError
from taskprism.losses import MTPSL, ConsistencyLoss, Criterion, create_consistency_loss
from taskprism.losses.consistency import EncoderFeatures, MappingNetwork, View, zoomed_view
from taskprism.tasks import Task, create_task, resolve_tasks
from taskprism.training.steps import LossNetwork

TASKS = resolve_tasks({"semseg": 4, "depth": 1, "normals": 3})
KEYS = Path(__file__).parents[2].parent / "shared/facts/state_dict_keys/mtpsl__mapfns_nyu13.tsv"


def batch(labeled, size=(32, 64)):
    """Predictions, targets and masks; ``labeled`` has the labeled tasks of each image."""
    predictions, targets, valid = {}, {}, {}
    for number, task in enumerate(TASKS):
        output, target, mask = random_batch(task, number, len(labeled), size)
        for image, names in enumerate(labeled):
            mask[image] &= task.name in names
        predictions[task.name] = output.requires_grad_()
        targets[task.name], valid[task.name] = target, mask
    return predictions, targets, valid


@pytest.fixture
def loss():
    loss = MTPSL(TASKS, feature_channels=6, width=2)
    for parameter in loss.parameters():
        nn.init.normal_(parameter, std=0.5)
    return loss


def test_a_pair_against_the_reference(loss):
    """Sum over the pairs of each image, of a depth that is missing and of one that is the label."""
    predictions, targets, valid = batch([{"normals"}, {"depth", "normals"}])
    features = torch.randn(2, 6, 2, 4)
    losses = loss(predictions, targets, valid, features, seeds=[5, 6])
    weight = loss.projection.weight[:, :, 0, 0]
    projected = torch.einsum("oc,nchw->nohw", weight, features)
    projected = projected + loss.projection.bias[:, None, None]
    projected = nn.functional.interpolate(projected, (1, 2), mode="bilinear", align_corners=False)
    state = loss.mapping.state_dict()
    expected = [0.0, 0.0]
    for image, source, target in [
        (0, "semseg", "normals"),
        (0, "depth", "normals"),
        (1, "semseg", "depth"),
        (1, "semseg", "normals"),
    ]:
        rows = [task.name for task in TASKS]
        grid = [(s, t) for s in rows for t in rows if s != t]
        pair = grid.index((source, target))
        output = predictions[source][image]
        if source == "depth":
            values = output.clamp(min=0) / output.clamp(min=0).max()
        else:
            generator = torch.Generator().manual_seed([5, 6][image] + rows.index(source))
            uniform = torch.rand(output[None].shape, generator=generator)[0]
            drawn = (output.log_softmax(0) - (-uniform.log()).log()).argmax(0)
            values = torch.stack([(drawn == c).float() for c in range(4)])
        label, mask = targets[target][image], valid[target][image]
        if target == "depth":
            label = torch.where(mask, label, 0) / label[mask].max()
        else:
            label = (torch.where(mask, label, 0) + 1) / 2
        with torch.no_grad():
            mapped_source = mapped(values, source, pair, state)
            mapped_target = mapped(label, target, pair, state)
            expected[image] += pair_loss(mapped_source, mapped_target, projected[image], 0.5)
    torch.testing.assert_close(losses, torch.tensor(expected), rtol=1e-4, atol=1e-4)


def test_gradients_reach_predictions_without_a_label_only(loss):
    predictions, targets, valid = batch([{"normals"}, set(), {"semseg", "depth", "normals"}])
    targets = {
        name: target.requires_grad_() if target.is_floating_point() else target
        for name, target in targets.items()
    }
    features = torch.randn(3, 6, 1, 2, requires_grad=True)
    losses = loss(predictions, targets, valid, features.detach(), seeds=[1, 2, 3])
    assert losses[0] > 0 and not losses[1:].any()
    losses.sum().backward()
    assert predictions["semseg"].grad[0].any() and predictions["depth"].grad[0].any()
    assert not predictions["normals"].grad.any()
    assert not predictions["semseg"].grad[1:].any()
    assert all(target.grad is None for target in targets.values() if target.requires_grad)
    assert features.grad is None
    assert all(parameter.grad is not None for parameter in loss.projection.parameters())


def test_complete_labels_can_use_every_pair():
    loss = MTPSL(TASKS, 6, width=1, pairs="all")
    _, _, valid = batch([{"semseg", "depth", "normals"}, {"depth"}])
    pairs = loss.choose_pairs(valid)
    assert [pair[1:] for pair in pairs if pair[0] == 0] == [
        (s, t) for t in range(3) for s in range(3) if s != t
    ]
    assert [pair[1:] for pair in pairs if pair[0] == 1] == [(0, 1), (2, 1)]


def test_an_image_has_the_same_loss_in_every_batch(loss):
    predictions, targets, valid = batch([{"normals"}, {"depth"}])
    features = torch.randn(2, 6, 1, 2)
    together = loss(predictions, targets, valid, features, seeds=[1, 2])
    for i in range(2):
        parts = [
            {n: v[i : i + 1] for n, v in each.items()} for each in (predictions, targets, valid)
        ]
        alone = loss(*parts, features[i : i + 1], seeds=[i + 1])
        torch.testing.assert_close(alone[0], together[i], rtol=1e-4, atol=1e-5)


def test_published_size():
    network = MappingNetwork(resolve_tasks({"semseg": 13, "depth": 1, "normals": 3}))
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(14.82, abs=0.005)


def test_published_layout():
    """Names and shapes of all parameters; running statistics have no use in training."""
    if not KEYS.is_file():
        pytest.skip(f"list of published keys not found at {KEYS}")
    rows = [line.split("\t") for line in KEYS.read_text().splitlines() if line]
    published = {name: shape for name, shape, _, kind in rows if kind.strip() == "param"}
    tasks = resolve_tasks({"semseg": 13, "depth": 1, "normals": 3})
    with torch.device("meta"):
        network = MappingNetwork(tasks)
    names = [task.name for task in tasks]
    own = {
        published_name(key, names): "x".join(map(str, values.shape))
        for key, values in network.state_dict().items()
    }
    assert own == published


@pytest.mark.parametrize("task", every_task(), ids=lambda task: task.kind)
def test_every_task_enters_the_joint_space(task: Task):
    """Numbers from 0 to 1 with a gradient to the output; missing labels are finite."""
    output, target, valid = random_batch(task, images=2)
    output.requires_grad_()
    generator = torch.Generator().manual_seed(1)
    entered = task.normalized_output(output, generator)
    labels = task.normalized_target(target, valid)
    assert entered.shape == labels.shape == (2, task.normalized_channels, 7, 9)
    for values in (entered, labels, task.normalized_target(target, torch.zeros_like(valid))):
        assert values.is_floating_point() and values.min() >= -1e-5 and values.max() <= 1 + 1e-5
    (entered * torch.randn_like(entered)).sum().backward()
    assert output.grad.isfinite().all() and output.grad.any()
    again = task.normalized_output(output, torch.Generator().manual_seed(1))
    assert torch.equal(again, entered)


def test_classes_are_drawn_by_their_probabilities():
    task = create_task("semseg", 3)
    shares = torch.tensor([0.6, 0.3, 0.1])
    output = shares.log().view(1, 3, 1, 1).expand(1, 3, 200, 200)
    drawn = task.normalized_output(output, torch.Generator().manual_seed(0))
    assert set(drawn.unique().tolist()) <= {0.0, 1.0}
    torch.testing.assert_close(drawn.mean(dim=(0, 2, 3)), shares, atol=0.01, rtol=0)


def test_integer_labels_of_an_own_task_need_an_own_form():
    class Counts(type(create_task("depth"))):
        target_dtype = torch.int64

    with pytest.raises(InputError, match="Override normalized_channels"):
        Counts().normalized_output(torch.rand(1, 1, 4, 4))


def test_second_view_moves_labels_with_the_image():
    """Depth is encoded in the image; a zoom by 1.5 makes it nearer."""
    ramp = torch.arange(48.0).view(1, 1, 1, 48).expand(2, 1, 36, 48) / 48
    images = ramp.expand(2, 3, 36, 48)
    tasks = resolve_tasks({"depth": 1, "semseg": 48})
    targets = {"depth": 1 + ramp, "semseg": (ramp * 48).round().long()}
    valid = {"depth": ramp > 0.5, "semseg": torch.ones_like(ramp, dtype=torch.bool)}
    view = zoomed_view(images, targets, valid, tasks, [1.5], seeds=[3, 4])
    assert isinstance(view, View) and view.images.shape == images.shape
    near = view.targets["depth"] * 1.5 - 1
    torch.testing.assert_close(near, view.images[:, :1], atol=0.02, rtol=0)
    torch.testing.assert_close(view.targets["semseg"] / 48, near, atol=1e-5, rtol=0)
    assert torch.equal(view.valid["depth"], near > 0.5)
    assert not torch.equal(view.images[0], view.images[1])
    again = zoomed_view(images[1:], {}, {}, [], [1.5], seeds=[4])
    assert torch.equal(again.images[0], view.images[1])
    same = zoomed_view(images, targets, valid, tasks, [1.0], seeds=[3, 4])
    assert torch.equal(same.images, images) and torch.equal(same.targets["depth"], targets["depth"])


@pytest.mark.parametrize("name", BUILT_IN)
def test_features_of_every_model(name):
    """One map at the coarsest stride, with as many channels as promised, without a graph."""
    model = create_model(name, {"depth": 1, "edge": 1}, **small_options(name)).eval()
    with EncoderFeatures(model) as encoder, torch.no_grad():
        model(torch.rand(1, 3, 64, 96))
    maps = encoder.maps()
    assert maps.shape[:2] == (1, encoder.channels) and not maps.requires_grad
    assert maps.shape[-1] in (3, 6, 12)
    with torch.no_grad():
        model(torch.rand(1, 3, 64, 96))
    assert torch.equal(encoder.maps(), maps)  # nothing is kept outside of the context


def test_in_a_network_with_own_views():
    """Supervised losses see the first view only; a loss of your own sees the second."""
    model = create_model("multi_task", TASKS, backbone="test_convnext", neck_channels=8)
    seen = {}

    class Probe(ConsistencyLoss):
        def __init__(self, tasks, feature_channels):
            super().__init__(tasks)

        def view(self, images, targets, valid, seeds):
            return View(images + 1, dict(targets), dict(valid))

        def forward(self, predictions, targets, valid, features, seeds):
            seen.update(outputs=predictions, features=features, seeds=seeds)
            return predictions["depth"].mean(dim=(1, 2, 3))

    _, targets, valid = batch([{"normals"}, {"depth"}])
    images = torch.rand(2, 3, 32, 64)
    criterion = Criterion(model.tasks)
    plain = LossNetwork(model, criterion)(images, targets, valid)
    probe = create_consistency_loss(Probe, model)
    linked = LossNetwork(model, criterion, None, probe, 3.0)(images, targets, valid, seeds=[7, 8])
    for name, value in plain["final"].items():
        torch.testing.assert_close(linked["final"][name], value)
    expected = model(model.normalize(images + 1))
    torch.testing.assert_close(seen["outputs"]["depth"], expected["depth"])
    assert seen["seeds"] == [7, 8] and seen["features"].shape[0] == 2
    total = plain["total"] + 3.0 * expected["depth"].mean()
    torch.testing.assert_close(linked["total"], total)
    torch.testing.assert_close(linked["consistency"], expected["depth"].mean())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "width must be an integer"),
        ({"pairs": "some"}, "'some'"),
        ({"zoom_factors": [0.5]}, "zoom_factors"),
        ({"zoom_factors": []}, "at least one"),
        ({"wide": 3}, "wide"),
    ],
)
def test_options_are_checked(options, message):
    model = create_model("multi_task", TASKS, backbone="test_resnet")
    with pytest.raises((InputError, UnknownNameError), match=message):
        create_consistency_loss("mtpsl", model, **options)


def test_what_cannot_be_linked():
    with pytest.raises(InputError, match="at least two tasks, got depth"):
        MTPSL([create_task("depth")], 8)
    with pytest.raises(InputError, match="Set feature_weight to 0"):
        MTPSL(TASKS, 0)
    loss = MTPSL(TASKS, 0, width=1, feature_weight=0)
    predictions, targets, valid = batch([{"depth"}], size=(31, 64))
    with pytest.raises(InputError, match="32 x 32 pixels or more, got 31 x 64"):
        loss(predictions, targets, valid, None, [0])
    predictions, targets, valid = batch([{"depth"}])
    with pytest.raises(InputError, match="did not run its backbone"):
        MTPSL(TASKS, 8, width=1)(predictions, targets, valid, None, [0])
