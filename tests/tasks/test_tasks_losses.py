import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reference import dense_losses
from reference.batches import every_task, random_batch
from taskprism.tasks import create_task, losses
from taskprism.tasks.losses import sobel

VARIANTS = [
    (create_task("semseg", 5), dense_losses.cross_entropy),
    (create_task("human_parts", skip_empty_images=False), dense_losses.cross_entropy),
    (create_task("depth"), dense_losses.l1),
    (create_task("depth", loss_name="l1_gradient"), dense_losses.l1_gradient),
    (create_task("disparity"), dense_losses.l1),
    (create_task("normals"), dense_losses.normals_l1),
    (create_task("normals", loss_name="cosine"), dense_losses.normals_cosine),
    (create_task("albedo"), dense_losses.l1),
    (create_task("edge"), lambda o, t, v: dense_losses.balanced_bce(o, t, v, 0.95)),
    (
        create_task("edge", positive_weight=0.8),
        lambda o, t, v: dense_losses.balanced_bce(o, t, v, 0.8),
    ),
    (create_task("saliency"), lambda o, t, v: dense_losses.balanced_bce(o, t, v, None)),
]
TASKS = [
    *every_task(),
    create_task("depth", loss_name="l1_gradient"),
    create_task("normals", loss_name="cosine"),
    create_task("edge", positive_weight=None, channels=2),
]


def _name(value):
    return f"{value.kind}-{getattr(value, 'loss_name', '')}" if hasattr(value, "kind") else None


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


@pytest.mark.parametrize("loss_name", ["l1", "cosine"])
def test_normals_of_zero_length_have_a_small_gradient(loss_name):
    task = create_task("normals", loss_name=loss_name)
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


@pytest.mark.parametrize("task", TASKS, ids=_name)
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
