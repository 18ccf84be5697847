import pytest
import torch
from torch.nn.functional import interpolate

from taskprism.errors import InputError, UnknownNameError
from taskprism.losses import FixedWeights
from taskprism.models import Predictions
from taskprism.tasks import create_task
from taskprism.training import Criterion

SEMSEG, DEPTH, EDGE = create_task("semseg", 3), create_task("depth"), create_task("edge")


@pytest.fixture
def labels():
    generator = torch.Generator().manual_seed(0)
    targets = {
        "semseg": torch.randint(0, 3, (2, 1, 8, 12), generator=generator),
        "depth": torch.rand(2, 1, 8, 12, generator=generator),
        "edge": (torch.rand(2, 1, 8, 12, generator=generator) > 0.8).float(),
    }
    valid = {name: torch.ones(2, 1, 8, 12, dtype=torch.bool) for name in targets}
    return targets, valid


def outputs(scale=1, requires_grad=False):
    torch.manual_seed(scale)
    channels = {"semseg": 3, "depth": 1, "edge": 1}
    shape = (8 // scale, 12 // scale)
    return {k: torch.randn(2, c, *shape, requires_grad=requires_grad) for k, c in channels.items()}


def predictions():
    final = {k: v for k, v in outputs().items() if k != "edge"}
    return Predictions(final, [outputs(2), outputs(4)])


def by_hand(task, output, labels):
    targets, valid = labels
    resized = interpolate(output, size=(8, 12), mode="bilinear", align_corners=False)
    return task.loss(resized, targets[task.name], valid[task.name])


@pytest.mark.parametrize(("initial", "divisor"), [("sum", 1), ("mean", 2)])
def test_equals_the_explicit_sum(labels, initial, divisor):
    weights = {"semseg": 2.0, "edge": 7.0}
    criterion = Criterion([SEMSEG, DEPTH], [EDGE], weights, initial, initial_weight=0.3)
    made = predictions()
    total, losses = criterion(made, *labels)

    all_weights = {"semseg": 2.0, "depth": DEPTH.loss_weight, "edge": 7.0}
    expected = torch.zeros(())
    for task in (SEMSEG, DEPTH):
        expected += all_weights[task.name] * by_hand(task, made[task.name], labels)
    for scale in made.initial:
        for task in (SEMSEG, DEPTH, EDGE):
            loss = by_hand(task, scale[task.name], labels)
            expected += all_weights[task.name] * 0.3 * loss / divisor
    torch.testing.assert_close(total, expected)
    assert set(losses.final) == {"semseg", "depth"}
    assert set(losses.initial) == {"semseg", "depth", "edge"}


def test_an_auxiliary_task_that_is_final_too_counts_once_per_prediction(labels):
    same = outputs()
    made = Predictions(same, [same] * 4)
    total, _ = Criterion([SEMSEG, DEPTH, EDGE])(made, *labels)
    once, _ = Criterion([SEMSEG, DEPTH, EDGE])(Predictions(same), *labels)
    torch.testing.assert_close(total, 5 * once)


def test_default_weights_are_the_tasks_own(labels):
    heavy = create_task("depth", loss_weight=4.0)
    made = Predictions({"depth": outputs()["depth"]})
    light, _ = Criterion([DEPTH])(made, *labels)
    torch.testing.assert_close(Criterion([heavy])(made, *labels)[0], 4 * light)


def test_a_task_without_labels_is_left_out(labels):
    targets, valid = labels
    valid = {**valid, "depth": torch.zeros_like(valid["depth"])}
    made = outputs(requires_grad=True)
    tasks = [SEMSEG, DEPTH, EDGE]
    total, losses = Criterion(tasks)(Predictions(made), targets, valid)
    assert losses.final["depth"].item() == 0
    total.backward()
    assert made["depth"].grad is None
    assert made["semseg"].grad.abs().sum() > 0
    without, _ = Criterion([SEMSEG, EDGE])(
        Predictions({k: made[k] for k in ("semseg", "edge")}), targets, valid
    )
    assert total.item() == without.item()
    assert list(losses.per_task()) == ["semseg", "edge"]


def test_a_batch_without_any_label_gives_exactly_0_with_a_graph(labels):
    targets, valid = labels
    made = outputs(requires_grad=True)
    nothing = {name: torch.zeros_like(mask) for name, mask in valid.items()}
    total, losses = Criterion([SEMSEG, DEPTH, EDGE])(Predictions(made), targets, nothing)
    assert total.item() == 0
    assert losses.per_task() == {}
    total.backward()
    assert all(output.grad.abs().sum() == 0 for output in made.values())


def test_losses_of_half_precision_outputs_are_single_precision(labels):
    made = Predictions({"depth": outputs()["depth"].bfloat16()})
    total, _ = Criterion([DEPTH])(made, *labels)
    assert total.dtype == torch.float32


def test_scaling_the_weights_scales_the_gradients(labels):
    grads = []
    for factor in (1.0, 3.0):
        made = outputs(requires_grad=True)
        weights = {"semseg": factor, "depth": factor, "edge": factor}
        Criterion([SEMSEG, DEPTH, EDGE], weights=weights)(Predictions(made), *labels)[0].backward()
        grads.append(made["semseg"].grad)
    torch.testing.assert_close(grads[1], 3 * grads[0])


def test_an_unknown_task_in_the_weights_is_named():
    with pytest.raises(UnknownNameError, match=r"'normals'.*Known: depth"):
        Criterion([DEPTH], weights={"normals": 1.0})


def test_fixed_weights():
    losses = {"a": torch.tensor(2.0), "b": torch.tensor(3.0)}
    assert FixedWeights({"a": 1.0, "b": 0.5})(losses).item() == 3.5
    with pytest.raises(UnknownNameError, match="'b'"):
        FixedWeights({"a": 1.0})(losses)
    with pytest.raises(InputError, match=r"'a' must be .* got -1"):
        FixedWeights({"a": -1})


def test_a_prediction_without_a_target_or_mask_is_named(labels):
    targets, valid = labels
    made = Predictions({"depth": outputs()["depth"]})
    for lacking in (({}, valid), (targets, {})):
        with pytest.raises(InputError, match="prediction of task 'depth' but no target"):
            Criterion([DEPTH])(made, *lacking)
    with pytest.raises(UnknownNameError, match="task in the predictions 'depth'"):
        Criterion([SEMSEG])(made, targets, valid)


def many(images):
    """Outputs and labels of images of which some lack pixels and tasks."""
    generator = torch.Generator().manual_seed(1)
    tasks = [
        create_task("semseg", 3),
        create_task("depth"),
        create_task("edge", positive_weight=None),
    ]
    shape = (images, 1, 6, 8)
    targets = {
        "semseg": torch.randint(0, 3, shape, generator=generator),
        "depth": torch.rand(shape, generator=generator),
        "edge": (torch.rand(shape, generator=generator) > 0.8).float(),
    }
    valid = {name: torch.rand(shape, generator=generator) > 0.4 for name in targets}
    valid["depth"][:2] = False
    valid["edge"][1:3] = False
    made = {t.name: torch.randn(images, t.channels, 6, 8, generator=generator) for t in tasks}
    return tasks, made, targets, valid


def part(values, images):
    return {name: value[images] for name, value in values.items()}


PARTS = [slice(0, 2), slice(2, 3), slice(3, 5)]


@pytest.mark.parametrize("average", ["pixels", "images"])
def test_counted_batches_equal_one_large_batch(average):
    """The first part has no depth, the second no edge."""
    tasks, made, targets, valid = many(5)
    criterion = Criterion(tasks, average=average)
    whole, _ = criterion(Predictions(made), targets, valid)
    counts = criterion.count_labels([(part(targets, p), part(valid, p)) for p in PARTS])
    totals = [
        criterion(Predictions(part(made, p)), part(targets, p), part(valid, p), count)[0]
        for p, count in zip(PARTS, counts, strict=True)
    ]
    torch.testing.assert_close(torch.stack(totals).mean(), whole)


def test_a_balancing_that_is_not_linear_gets_the_losses_of_each_batch():
    tasks, _, targets, valid = many(5)
    criterion = Criterion(tasks, balancing="geometric")
    counts = criterion.count_labels([(part(targets, p), part(valid, p)) for p in PARTS])
    assert [count.labeled for count in counts] == [
        {"semseg", "edge"}, {"semseg", "depth"}, {"semseg", "depth", "edge"},
    ]  # fmt: skip
    assert all(count.factor("semseg") == 1 for count in counts)


def test_the_average_over_images():
    """Each image counts alike, times tasks / labeled tasks; images without labels do not count."""
    tasks, made, targets, valid = many(5)
    tasks = tasks[:2]
    valid["semseg"][0] = False  # the first image has no label at all
    _, losses = Criterion(tasks, average="images")(
        Predictions(part({t.name: made[t.name] for t in tasks}, slice(None))), targets, valid
    )
    for task in tasks:
        name, expected = task.name, 0.0
        for b in range(1, 5):
            labeled = sum(bool(valid[t.name][b].any()) for t in tasks)
            one = slice(b, b + 1)
            loss = task.loss(made[name][one], targets[name][one], valid[name][one]).item()
            expected += loss * 2 / labeled / 4
        assert losses.final[name].item() == pytest.approx(expected)
