import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import jaccard_score
from sklearn.utils.class_weight import compute_class_weight

from reference import dense_losses
from reference.batches import every_task, random_batch
from taskprism.errors import InputError, TaskprismError
from taskprism.tasks import create_task, losses, task_from_config
from taskprism.tasks.losses import sobel

WEIGHTS = (0.5, 2.0, 0.0, 1.0, 3.0)
VARIANTS = [
    (create_task("semseg", 5), dense_losses.cross_entropy),
    (create_task("human_parts", skip_empty_images=False), dense_losses.cross_entropy),
    (create_task("depth"), dense_losses.l1),
    (create_task("depth", losses="l1_gradient"), dense_losses.l1_gradient),
    (create_task("disparity"), dense_losses.l1),
    (create_task("normals"), dense_losses.normals_l1),
    (create_task("normals", losses="cosine"), dense_losses.normals_cosine),
    (create_task("albedo"), dense_losses.l1),
    (create_task("edge"), lambda o, t, v: dense_losses.balanced_bce(o, t, v, 0.95)),
    (
        create_task("edge", positive_weight=0.8),
        lambda o, t, v: dense_losses.balanced_bce(o, t, v, 0.8),
    ),
    (create_task("saliency"), lambda o, t, v: dense_losses.balanced_bce(o, t, v, None)),
    (
        create_task(
            "semseg",
            5,
            class_weights=WEIGHTS,
            losses={"cross_entropy": {"label_smoothing": 0.2}},
        ),
        lambda o, t, v: dense_losses.cross_entropy(o, t, v, WEIGHTS, 0.2),
    ),
    (
        create_task("semseg", 5, class_weights=WEIGHTS, losses={"focal": {"gamma": 1.5}}),
        lambda o, t, v: dense_losses.focal(o, t, v, 1.5, WEIGHTS),
    ),
    (create_task("semseg", 5, losses="dice"), dense_losses.dice),
    (create_task("semseg", 5, losses="lovasz_softmax"), dense_losses.lovasz_softmax),
    (
        create_task("edge", losses="focal"),
        lambda o, t, v: dense_losses.binary_focal(o, t, v, 2.0, 0.95),
    ),
    (create_task("saliency", losses="dice"), dense_losses.mask_dice),
    (create_task("depth", losses="berhu"), dense_losses.berhu),
    (create_task("depth", losses="silog"), lambda o, t, v: dense_losses.silog(o, t, v, 0.5, 0.2)),
    (
        create_task("depth", losses={"silog": {"variance_focus": 0.85, "root": True}}),
        lambda o, t, v: dense_losses.silog(o, t, v, 0.85, 0.2, root=True),
    ),
    (
        create_task("semseg", 5, losses={"cross_entropy": 1, "dice": {"weight": 0.5, "smooth": 2}}),
        lambda o, t, v: (
            dense_losses.cross_entropy(o, t, v) + 0.5 * dense_losses.dice(o, t, v, smooth=2)
        ),
    ),
]
TASKS = [
    *every_task(),
    create_task("depth", losses="l1_gradient"),
    create_task("normals", losses="cosine"),
    create_task("edge", positive_weight=None, channels=2),
    create_task("semseg", 5, losses={"cross_entropy": {"label_smoothing": 0.1}, "focal": 1}),
    create_task("semseg", 5, losses={"dice": 1, "lovasz_softmax": 1}, class_weights=WEIGHTS),
    create_task("saliency", losses={"focal": 1, "dice": 0.5}),
    create_task("depth", losses={"silog": {"root": True}, "l1_gradient": 0.5}),
    create_task("depth", losses="berhu"),
]


def _name(value):
    if not hasattr(value, "kind"):
        return None
    return "-".join([value.kind, *(loss.name for loss in value.losses)])


def _numpy(*tensors):
    return [t.numpy() for t in tensors]


@pytest.mark.parametrize(("task", "reference"), VARIANTS, ids=_name)
def test_loss_equals_the_pixel_by_pixel_formula(task, reference):
    for seed in range(3):
        output, target, valid = random_batch(task, seed)
        output, target = output.double(), target if target.dtype == torch.int64 else target.double()
        loss = task.loss(output, target, valid)
        assert loss.shape == () and loss.dtype == torch.float64
        assert loss.item() == pytest.approx(reference(*_numpy(output, target, valid)), abs=1e-9)
        single = task.loss(output.float(), target, valid)
        assert single.item() == pytest.approx(loss.item(), abs=1e-6, rel=1e-6)


@pytest.mark.parametrize("task", TASKS, ids=_name)
def test_loss_is_zero_with_a_graph_without_valid_pixels(task):
    output, target, valid = random_batch(task)
    output[0] = torch.inf
    output[1, :, 0] = torch.nan
    output.requires_grad_()
    loss = task.loss(output, target, torch.zeros_like(valid))
    assert loss.item() == 0.0
    loss.backward()
    assert torch.equal(output.grad, torch.zeros_like(output))


@pytest.mark.parametrize("task", TASKS, ids=_name)
def test_values_at_invalid_pixels_change_nothing(task):
    output, target, valid = random_batch(task)
    clean = output.clone().requires_grad_()
    task.loss(clean, target, valid).backward()
    rubbish = torch.where(valid, output, torch.tensor(torch.nan)).requires_grad_()
    wrong = torch.tensor(255) if target.dtype == torch.int64 else torch.tensor(torch.inf)
    loss = task.loss(rubbish, torch.where(valid, target, wrong), valid)
    loss.backward()
    assert loss.item() == task.loss(output, target, valid).item()
    assert torch.equal(rubbish.grad, clean.grad)
    assert (clean.grad[~valid.expand_as(clean)] == 0).all()


@pytest.mark.parametrize("task", TASKS, ids=_name)
def test_loss_has_full_precision_under_autocast(task):
    output, target, valid = random_batch(task)
    half = output.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = task.loss(half, target, valid)
    assert mixed.dtype == torch.float32
    assert mixed.item() == pytest.approx(task.loss(half.float(), target, valid).item(), abs=1e-7)


@pytest.mark.parametrize("loss", ["l1", "cosine"])
def test_normals_of_zero_length_have_a_small_gradient(loss):
    task = create_task("normals", losses=loss)
    _, target, valid = random_batch(task)
    output = torch.zeros_like(target, requires_grad=True)
    task.loss(output, target, valid).backward()
    assert output.grad.isfinite().all()
    assert output.grad.abs().max() <= 1
    assert output.grad.abs().sum() > 0  # and a way out of zero


@pytest.mark.parametrize("task", TASKS, ids=_name)
def test_loss_and_gradient_are_finite_for_huge_outputs(task):
    output, target, valid = random_batch(task)
    output = (1e4 * output).requires_grad_()
    loss = task.loss(output, target, valid)
    loss.backward()
    assert loss.isfinite() and output.grad.isfinite().all()


@pytest.mark.parametrize("task", TASKS[:-1], ids=_name)  # berhu holds its limit constant
def test_gradient_equals_finite_differences(task):
    output, target, valid = random_batch(task, images=1, size=(3, 4))
    target = target if target.dtype == torch.int64 else target.double()
    output = output.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda o: task.loss(o, target, valid), output)


def test_binary_labels_are_thresholded_at_one_half_unless_soft():
    output, valid = torch.zeros(1, 1, 1, 2), torch.ones(1, 1, 1, 2, dtype=torch.bool)
    target = torch.tensor([[[[0.5, 0.2]]]])
    hard = create_task("edge", positive_weight=0.9).loss(output, target, valid).item()
    soft = create_task("edge", positive_weight=0.9, soft=True).loss(output, target, valid).item()
    log2 = np.log(2)
    assert hard == pytest.approx((0.9 + 0.1) / 2 * log2, abs=1e-6)
    assert soft == pytest.approx((0.9 * 0.7 + 0.1 * 1.3) / 2 * log2, abs=1e-6)


def test_two_channels_have_the_loss_of_their_difference():
    one, two = create_task("saliency"), create_task("saliency", channels=2)
    output, target, valid = random_batch(two)
    difference = output[:, 1:] - output[:, :1]
    assert torch.equal(two.loss(output, target, valid), one.loss(difference, target, valid))
    assert torch.allclose(two.decode(output), output.softmax(dim=1)[:, 1:])


def test_images_without_people_are_left_out():
    task = create_task("human_parts")
    output, target, valid = random_batch(task)
    target[1] = 0
    kept = task.loss(output[[0, 2]], target[[0, 2]], valid[[0, 2]])
    assert task.loss(output, target, valid).item() == pytest.approx(kept.item(), abs=1e-6)
    counting = create_task("human_parts", skip_empty_images=False)
    assert counting.loss(output, target, valid).item() != pytest.approx(kept.item(), abs=1e-3)


def test_gradient_loss_equals_astmt_without_invalid_pixels():
    output, target = torch.rand(2, 1, 6, 5), torch.rand(2, 1, 6, 5)
    kernel = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])
    weight = torch.stack([kernel, kernel.T])[:, None]

    def gradients(x):
        return torch.nn.functional.conv2d(x, weight, padding=1)

    expected = (output - target).abs().mean()
    expected = expected + (gradients(output) - gradients(target)).abs().sum() / target.numel()
    valid = torch.ones_like(target, dtype=torch.bool)
    assert torch.allclose(losses.l1_gradient(output, target, valid), expected)
    assert torch.allclose(sobel(output), gradients(output), atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(
    index=st.integers(0, len(TASKS) - 1),
    seed=st.integers(0, 10_000),
    order=st.permutations(range(3)),
)
def test_loss_does_not_depend_on_the_order_of_images(index, seed, order):
    task = TASKS[index]
    output, target, valid = random_batch(task, seed)
    one = task.loss(output, target, valid)
    other = task.loss(output[order], target[order], valid[order])
    assert torch.allclose(one, other, rtol=1e-5, atol=1e-6)


def test_cross_entropy_and_its_gradient_equal_torch_with_weights_and_smoothing():
    task = create_task(
        "semseg", 5, class_weights=WEIGHTS, losses={"cross_entropy": {"label_smoothing": 0.1}}
    )
    output, target, valid = random_batch(task)
    output = output.double().requires_grad_()
    labels = torch.where(valid, target, -100).squeeze(1)
    expected = torch.nn.functional.cross_entropy(
        output, labels, torch.tensor(WEIGHTS).double(), reduction="sum", label_smoothing=0.1
    )
    (theirs,) = torch.autograd.grad(expected / valid.sum(), output)
    loss = task.loss(output, target, valid)
    (ours,) = torch.autograd.grad(loss, output)
    assert loss.item() == pytest.approx((expected / valid.sum()).item(), abs=1e-12)
    assert torch.allclose(ours, theirs, atol=1e-12)


def test_lovasz_softmax_of_certain_predictions_is_one_minus_the_mean_iou():
    task = create_task("semseg", 4, losses="lovasz_softmax")
    generator = torch.Generator().manual_seed(5)
    target = torch.randint(4, (1, 1, 6, 7), generator=generator)
    found = torch.randint(4, (1, 1, 6, 7), generator=generator)
    output = 1e4 * torch.nn.functional.one_hot(found[:, 0], 4).movedim(-1, 1).float()
    ious = jaccard_score(target.flatten(), found.flatten(), average=None)
    loss = task.loss(output, target, torch.ones_like(target, dtype=torch.bool))
    assert loss.item() == pytest.approx(1 - ious.mean(), abs=1e-6)


def test_silog_ignores_the_scale_with_full_variance_focus():
    task = create_task("depth", losses={"silog": {"variance_focus": 1.0}})
    generator = torch.Generator().manual_seed(1)
    target = 1 + torch.rand(2, 1, 5, 5, generator=generator)
    output = 1 + torch.rand(2, 1, 5, 5, generator=generator)
    valid = target > 1.2
    assert task.loss(3 * output, target, valid).item() == pytest.approx(
        task.loss(output, target, valid).item(), abs=1e-6
    )
    assert task.loss(output, target, valid) > 1e-3


def test_silog_has_a_gradient_at_outputs_that_have_no_logarithm():
    task = create_task("depth", losses="silog")
    target = torch.full((1, 1, 2, 2), 3.0)
    output = torch.tensor([-1.0, 0.0, 0.1, 5.0]).view(1, 1, 2, 2).requires_grad_()
    task.loss(output, target, target > 0).backward()
    assert (output.grad.flatten()[:3] < 0).all() and output.grad.flatten()[3] > 0


def test_berhu_has_the_slopes_of_l1_and_l2():
    task = create_task("depth", losses={"berhu": {"share": 0.5}})
    output = torch.tensor([1.0, -1.0, 4.0, 3.0]).view(1, 1, 1, 4).requires_grad_()
    target = torch.zeros_like(output)
    task.loss(output, target, torch.ones_like(output, dtype=torch.bool)).backward()
    assert output.grad.flatten().tolist() == [0.25, -0.25, 0.5, 0.375]  # sign, or r / 2; of 4


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("depth", {"losses": "dice"}, "for classes and mask labels.*distance.*berhu, l1"),
        ("depth", {"losses": "huber"}, "Unknown loss 'huber'"),
        ("depth", {"losses": {"l1": 0}}, "weight must be .* greater than 0"),
        ("depth", {"losses": {"l1": {"size": 3}}}, "option of loss 'l1'"),
        ("depth", {"losses": 3}, "losses must be a name"),
        ("depth", {"losses": None}, "losses must be a name"),
        ("depth", {"losses": ["l1", "l1"]}, "each loss once"),
        ("edge", {"losses": {"focal": {"gamma": "2"}}}, "gamma must be a finite number"),
        ("semseg", {"class_weights": [1, 2]}, "5 classes but 2 class_weights"),
        ("semseg", {"class_weights": [0] * 5}, "all class_weights are 0"),
        ("semseg", {"class_weights": "even"}, "class_weights of task"),
        ("semseg", {"class_weights": {"wall": 2}}, "class in class_weights"),
    ],
)
def test_losses_that_do_not_fit_are_refused(kind, options, message):
    with pytest.raises(TaskprismError, match=message):
        create_task(kind, 5 if kind == "semseg" else None, **options)


@pytest.mark.parametrize("task", TASKS, ids=_name)
def test_losses_survive_a_config(task):
    assert task_from_config(json.loads(json.dumps(task.to_config()))) == task


def test_configs_of_earlier_versions_name_their_loss():
    assert task_from_config({"kind": "normals", "loss_name": "cosine"}).losses[0].name == "cosine"


def test_class_weights_by_name_leave_the_others_at_one():
    task = create_task("semseg", class_names=["floor", "wall"], class_weights={"wall": 3})
    assert task.class_weights == (1.0, 3.0)


def test_balanced_class_weights_are_those_of_scikit_learn():
    task = create_task("semseg", 4, class_weights="balanced")
    target = torch.tensor([0, 0, 0, 1, 2, 2, 0, 255]).view(1, 2, 4)
    labels = target[target < 255]
    found = task.for_training(task.target_statistics(target, target < 255))
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels.numpy())
    assert found.class_weights == pytest.approx([*expected, 1.0])
    with pytest.raises(InputError, match="computed from the training labels"):
        task.loss(torch.zeros(1, 4, 2, 4), target[None].clamp(max=3), target[None] < 255)
