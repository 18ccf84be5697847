"""Decoding, colors, legends, wrong labels and constant guesses."""

import re

import numpy as np
import pytest
import torch

from reference.batches import every_task, random_batch
from taskprism.tasks import BinaryTask, create_task
from taskprism.tasks.colors import ColorScale, DirectionBall, Swatches, class_palette

TASKS = every_task()


def _ids(task):
    return task.kind


@pytest.mark.parametrize("task", TASKS, ids=_ids)
def test_decoded_outputs_are_valid_labels(task):
    output, _, _ = random_batch(task)
    prediction = task.decode(output)
    assert prediction.shape == (3, task.target_channels, 7, 9)
    assert prediction.dtype == task.target_dtype
    everywhere = torch.ones(1, 7, 9, dtype=torch.bool)
    soft = create_task(task.kind, soft=True) if isinstance(task, BinaryTask) else task
    assert soft.validate_target(prediction[0], everywhere) is None


def test_decoding_by_hand():
    semseg = create_task("semseg", 3)
    assert semseg.decode(torch.tensor([0.1, 0.7, 0.2])[None, :, None, None]).item() == 1
    assert create_task("depth").decode(torch.tensor([[[[-1.0, 2.0]]]])).tolist() == [[[[0.0, 2.0]]]]
    assert create_task("edge").decode(torch.zeros(1, 1, 1, 1)).item() == 0.5
    normals = create_task("normals")
    decoded = normals.decode(torch.tensor([0.0, 3.0, 4.0])[None, :, None, None])
    assert torch.allclose(decoded.flatten(), torch.tensor([0.0, 0.6, 0.8]))
    assert (normals.decode(torch.zeros(1, 3, 2, 2)) == 0).all()
    assert create_task("albedo").decode(torch.full((1, 3, 1, 1), 1.5)).max() == 1


@pytest.mark.parametrize("task", TASKS, ids=_ids)
def test_pictures_have_the_right_shape_and_are_black_without_label(task):
    output, target, valid = random_batch(task)
    picture = task.color(target[0], valid[0])
    assert picture.shape == (7, 9, 3) and picture.dtype == np.uint8
    assert (picture[~valid[0, 0].numpy()] == 0).all()
    prediction = task.color(task.decode(output)[0], None, target[0])
    assert prediction.shape == (7, 9, 3) and prediction.dtype == np.uint8
    nothing = task.color(target[0], torch.zeros_like(valid[0]))
    assert (nothing == 0).all()
    task.color(target[0])[:] = 0  # a writable copy


def test_palette_is_that_of_pascal_voc():
    published = {
        0: (0, 0, 0),
        1: (128, 0, 0),
        2: (0, 128, 0),
        3: (128, 128, 0),
        4: (0, 0, 128),
        8: (64, 0, 0),
        15: (192, 128, 128),
        20: (0, 64, 128),
        255: (224, 224, 192),
    }
    palette = class_palette(256)
    assert {k: tuple(palette[k].tolist()) for k in published} == published
    assert len(np.unique(palette, axis=0)) == 256


def test_only_background_is_black():
    picture = create_task("semseg", 2).color(torch.zeros(1, 1, 1))
    assert picture.any()
    named = create_task("semseg", class_names=("background", "cat"))
    for task in (named, create_task("human_parts"), create_task("human_parts", 3)):
        assert not task.color(torch.zeros(1, 1, 1)).any()
        assert task.color(torch.ones(1, 1, 1)).tolist() == [[[128, 0, 0]]]


def test_near_is_bright_on_the_scale_of_the_reference():
    depth, disparity = create_task("depth"), create_task("disparity")
    values = torch.linspace(1, 5, 50)[None, None]
    by_depth = depth.color(values).astype(int).sum(axis=2)[0]
    assert (np.diff(by_depth) <= 0).all() and by_depth[0] > by_depth[-1] + 300
    by_disparity = disparity.color(values).astype(int).sum(axis=2)[0]
    assert (np.diff(by_disparity) >= 0).all()
    part = depth.color(values[..., 20:30], None, values)
    assert np.array_equal(part, depth.color(values)[:, 20:30])


def test_zeros_and_outliers_do_not_set_the_color_scale():
    depth = create_task("depth")
    values = torch.linspace(1, 5, 1000).reshape(1, 25, 40)
    spoilt = values.clone()
    spoilt[0, 0, 0], spoilt[0, 0, 1] = 0.0, torch.inf
    difference = depth.color(values)[1:].astype(int) - depth.color(spoilt)[1:]
    assert np.abs(difference).max() <= 6
    assert (depth.color(spoilt)[0, 1] == 0).all()
    legend = depth.legend(spoilt)
    assert isinstance(legend, ColorScale)
    assert 1 < legend.low < 1.1 and 4.9 < legend.high < 5 and legend.unit == "m"
    assert legend.colors.shape == (256, 3) and legend.colors.dtype == np.uint8


def test_normals_edges_and_albedo_by_hand():
    toward = torch.tensor([0.0, 0.0, 1.0])[:, None, None]
    assert create_task("normals").color(toward).tolist() == [[[128, 128, 255]]]
    edge = create_task("edge")
    assert edge.color(torch.tensor([[[1.0, 0.0]]])).tolist() == [[[0, 0, 0], [255, 255, 255]]]
    saliency = create_task("saliency")
    assert saliency.color(torch.tensor([[[1.0, 0.0]]])).tolist() == [[[255] * 3, [0] * 3]]
    albedo = torch.tensor([1.2, 0.5, -1.0])[:, None, None]
    assert create_task("albedo").color(albedo).tolist() == [[[255, 128, 0]]]


def test_legends_match_the_colors():
    parts = create_task("human_parts")
    legend = parts.legend(torch.zeros(1, 2, 2, dtype=torch.int64))
    assert isinstance(legend, Swatches)
    assert legend.entries[:2] == (((0, 0, 0), "background"), ((128, 0, 0), "head"))
    for index, (color, _) in enumerate(legend.entries):
        assert tuple(parts.color(torch.full((1, 1, 1), index))[0, 0].tolist()) == color
    ball = create_task("normals").legend(torch.zeros(3, 2, 2))
    assert isinstance(ball, DirectionBall)
    top, right = ball.picture[4, 48], ball.picture[48, -5]
    assert top[1] > 240 and right[0] > 240 and (ball.picture[48, 48] > [120, 120, 250]).all()
    assert not ball.inside[0, 0] and ball.inside[48, 48]


@pytest.mark.parametrize(
    ("task", "target", "message"),
    [
        (create_task("semseg", 3), [[[0, 3, 255, -1]]], r"labels -1, 3, 255 are outside 0..2"),
        (create_task("depth"), [[[1.0, torch.nan]]], "1 valid values are not finite"),
        (create_task("disparity"), [[[1.0, -2.0]]], "down to -2"),
        (create_task("normals"), [[[0.0]], [[0.0]], [[0.5]]], r"1 valid normals.*lengths 0.5"),
        (create_task("normals"), [[[torch.nan]], [[0.0]], [[1.0]]], "not unit vectors"),
        (create_task("edge"), [[[1.0, 0.5, 255.0]]], "labels 0.5, 255 are not 0 or 1"),
        (create_task("saliency", soft=True), [[[0.5, 1.5]]], r"1.5 are not in \[0, 1\]"),
        (create_task("edge"), [[[torch.nan]]], "nan are not 0 or 1"),
        (create_task("albedo"), [[[0.0]], [[0.0]], [[255.0]]], "0 to 255; they must lie in"),
    ],
)
def test_wrong_labels_are_reported_at_valid_pixels(task, target, message):
    target = torch.tensor(target)
    everywhere = torch.ones(1, *target.shape[1:], dtype=torch.bool)
    found = task.validate_target(target, everywhere)
    assert found is not None
    assert re.search(message, found)
    assert task.validate_target(target, ~everywhere) is None


def test_nearly_unit_normals_are_accepted():
    target = torch.tensor([0.0, 0.0, 1.04])[:, None, None]
    assert create_task("normals").validate_target(target, torch.ones(1, 1, 1) > 0) is None


@pytest.mark.parametrize("task", TASKS, ids=_ids)
def test_no_constant_has_a_lower_loss_than_constant_output(task):
    _, target, valid = random_batch(task, images=2, size=(16, 16))
    statistics = sum(task.target_statistics(t, v) for t, v in zip(target, valid, strict=True))
    guess = task.constant_output(statistics)
    assert guess.shape == (task.channels,) and guess.dtype == torch.float32

    def squared_or_loss(constant):
        output = constant[None, :, None, None].expand(2, -1, 16, 16)
        if task.target_dtype == torch.float32 and not isinstance(task, BinaryTask):
            return ((output - target).square() * valid).sum()  # the mean is best in this sense
        return task.loss(output, target, valid)

    best = squared_or_loss(guess)
    for _ in range(20):
        assert squared_or_loss(guess + 0.3 * torch.randn(task.channels)) >= best - 1e-6


def test_constant_output_of_classes_is_the_majority():
    task = create_task("semseg", 3)
    guess = task.constant_output(torch.tensor([1.0, 0.0, 5.0], dtype=torch.float64))
    assert guess.argmax() == 2 and guess.isfinite().all()
    assert torch.allclose(guess.softmax(0), torch.tensor([1 / 6, 0, 5 / 6]), atol=1e-6)
    empty = create_task("human_parts").target_statistics(
        torch.zeros(1, 2, 2, dtype=torch.int64), torch.ones(1, 2, 2, dtype=torch.bool)
    )
    assert empty.sum() == 0


@pytest.mark.parametrize("task", TASKS, ids=_ids)
def test_outputs_with_the_size_of_labels_are_not_resized(task):
    output, _, _ = random_batch(task)
    assert task.resize_output(output, (7, 9)) is output
    assert task.resize_output(output, (11, 18)).shape == (3, task.channels, 11, 18)


def test_resized_outputs_have_the_units_of_the_new_size():
    classes = create_task("semseg", 4)
    output = torch.randn(1, 4, 3, 5)
    larger = classes.decode(classes.resize_output(output, (6, 10)))
    nearest = classes.decode(output).repeat_interleave(2, -1).repeat_interleave(2, -2)
    assert torch.equal(larger, nearest)
    ramp = torch.arange(5.0).expand(1, 1, 3, 5)
    meters = create_task("depth").resize_output(ramp, (6, 10))
    assert meters[0, 0, 2, 1:9].tolist() == [0.25 + 0.5 * i for i in range(8)]
    pixels = create_task("disparity").resize_output(ramp, (6, 10))
    assert torch.equal(pixels, meters * 2)
    assert torch.equal(create_task("inverse_depth").resize_output(ramp, (6, 10)), meters)
