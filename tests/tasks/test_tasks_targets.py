import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reference.batches import every_task, random_batch
from taskprism.tasks import DenseTarget, DepthMap, DisparityMap, NormalMap, create_task

TASKS = every_task()
angle = st.floats(-180, 180)
factor = st.floats(0.25, 4)


def _values(task, seed=0):
    return random_batch(task, seed)[1]


@pytest.mark.parametrize("task", TASKS, ids=lambda t: t.kind)
def test_two_flips_change_nothing(task):
    values, hook = _values(task), task.target_type.after_horizontal_flip
    assert torch.equal(hook(hook(values)), values)


@settings(max_examples=40, deadline=None)
@given(index=st.integers(0, len(TASKS) - 1), degrees=angle, zoom=factor, ratio=factor)
def test_geometric_changes_can_be_undone(index, degrees, zoom, ratio):
    task = TASKS[index]
    values, kind = _values(task), task.target_type
    turned = kind.after_rotation(kind.after_rotation(values, degrees), -degrees)
    zoomed = kind.after_zoom(kind.after_zoom(values, zoom), 1 / zoom)
    resized = kind.after_resize(kind.after_resize(values, ratio, zoom), 1 / ratio, 1 / zoom)
    for back in (turned, zoomed, resized):
        assert back.dtype == values.dtype
        assert torch.allclose(back, values, rtol=1e-4, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(degrees=angle)
def test_flip_reverses_rotation(degrees):
    values = _values(create_task("normals"))
    one = NormalMap.after_horizontal_flip(NormalMap.after_rotation(values, degrees))
    other = NormalMap.after_rotation(NormalMap.after_horizontal_flip(values), -degrees)
    assert torch.allclose(one, other, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(degrees=angle)
def test_normals_keep_unit_length_and_zeros(degrees):
    values = _values(create_task("normals"))
    values[:, :, 0, 0] = 0
    turned = NormalMap.after_rotation(values, degrees)
    assert torch.allclose(turned.norm(dim=1), values.norm(dim=1), atol=1e-6)
    assert (turned[:, :, 0, 0] == 0).all()


def test_rotation_by_90_degrees_turns_right_to_up():
    right, up = torch.tensor([1.0, 0, 0]), torch.tensor([0.0, 1, 0])
    turned = NormalMap.after_rotation(right[:, None, None], 90)
    assert torch.allclose(turned[:, 0, 0], up, atol=1e-6)
    flipped = NormalMap.after_horizontal_flip(right[:, None, None])
    assert torch.equal(flipped[:, 0, 0], -right)


def test_zoom_divides_depth_and_multiplies_disparity():
    values = torch.full((1, 2, 2), 6.0)
    assert torch.equal(DepthMap.after_zoom(values, 1.5), values / 1.5)
    assert torch.equal(DisparityMap.after_zoom(values, 1.5), values * 1.5)
    assert torch.equal(DepthMap.after_resize(values, 0.5, 0.25), values)
    assert torch.equal(DisparityMap.after_resize(values, 0.5, 0.25), values * 0.25)
    # Disparity = baseline * focal length / depth holds before and after: the product is kept.
    product = DepthMap.after_zoom(values, 1.5) * DisparityMap.after_zoom(values, 1.5)
    assert torch.allclose(product, values * values)


@pytest.mark.parametrize("task", TASKS, ids=lambda t: t.kind)
def test_missing_label_has_type_and_shape(task):
    empty = task.empty_target(4, 6)
    assert type(empty) is task.target_type
    assert empty.shape == (task.target_channels, 4, 6)
    assert empty.dtype == task.target_dtype
    wrapped = task.target_type(empty.double().numpy())
    assert wrapped.dtype == task.target_dtype


def test_zero_is_a_missing_value_of_measured_quantities():
    zero = {task.kind: task.target_type.zero_is_label for task in TASKS}
    measured = sorted(kind for kind, label in zero.items() if not label)
    assert measured == ["albedo", "depth", "disparity", "inverse_depth", "normals"]


def test_a_target_type_sets_its_dtype_with_a_class_attribute():
    class Count(DenseTarget):
        dtype_of_values = torch.int32

    class Plain(DenseTarget):
        pass

    assert Count([[[1.0, 2.0]]]).dtype == torch.int32
    assert Plain([[[1, 2]]]).dtype == torch.float32
    assert Count([[[1]]], dtype=torch.int64).dtype == torch.int64
