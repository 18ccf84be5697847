"""Transforms on a plane whose depth, disparity and normals are known after every transform."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from reference.plane import plane_depth, plane_sample, unit
from taskprism.data import transforms as T
from taskprism.errors import InputError

HEIGHT, WIDTH = 64, 96
SLANTED = unit(0.3, 0.5, 0.8)
HOLE = (slice(10, 30), slice(20, 50))

MOVES = [
    T.RandomHorizontalFlip(1.0),
    T.RandomZoom([1.5]),
    T.RandomZoom(factor_range=(0.5, 0.6)),
    T.RandomRotation((25.0, 25.0)),
    T.ScaleRotate((-20.0, -20.0), factor_range=(0.75, 1.25)),
    T.RandomRescale((0.5, 2.0)),
    T.RandomCrop((40, 50)),
    T.RandomCrop((80, 120)),
    T.BalancedCrop((40, 50)),
    T.PadTo((70, 110)),
    T.Resize((48, 128)),
    T.ResizeAndPad((64, 64)),
    T.PadToMultiple(40),
    T.Compose([T.Resize(60), T.RandomHorizontalFlip(1.0), T.ScaleRotate(30, (1.2,))]),
]
every_transform = pytest.mark.parametrize(
    "transform", MOVES, ids=lambda transform: type(transform).__name__
)


def test_every_transform_is_covered():
    """The others are tested separately: three change only colors, one wraps any of these."""
    others = {"ColorJitter", "ColorsOnly", "PhotometricDistortion", "ZeroBorder"}
    assert {type(move).__name__ for move in MOVES} == set(T.__all__) - others


@every_transform
@pytest.mark.parametrize("seed", range(3))
def test_the_plane_stays_one_plane(transform, seed):
    """One normal everywhere, and depth and disparity of where pixels come from, times a number."""
    torch.manual_seed(seed)
    before = plane_sample(SLANTED, HEIGHT, WIDTH)
    after = transform(before)
    columns, rows = sources(after)
    seen = mask(after, "depth")[0]
    normals = plain(after, "normals")[:, seen]
    assert (normals - normals[:, :1]).abs().max() < 1e-5
    assert normals[2, 0] == pytest.approx(SLANTED[2].item(), abs=1e-5)  # turned in the image only
    for name in ("depth", "disparity"):
        ratio = plain(after, name)[0][seen] / plain(before, name)[0][rows, columns][seen]
        assert (ratio / ratio[0] - 1).abs().max() < 1e-4


def plain(sample, name):
    return sample["targets"][name].as_subclass(Tensor)


def mask(sample, name):
    return sample["valid"][name].as_subclass(Tensor)


def sources(sample):
    """Column and row each pixel comes from, by the ``where`` target."""
    return plain(sample, "where").long()


@every_transform
@pytest.mark.parametrize("seed", range(3))
def test_image_and_labels_move_together(transform, seed):
    torch.manual_seed(seed)
    before = plane_sample(SLANTED, HEIGHT, WIDTH)
    after = transform(before)
    image = after["image"].as_subclass(Tensor)
    seen = mask(after, "where")[0]
    assert image.shape[-2:] == seen.shape
    assert seen.any()
    # Stay a pixel away from the border, where bilinear interpolation blends with the fill.
    unseen = functional.pad(1 - seen[None].float(), [2] * 4, value=1.0)
    inner = functional.max_pool2d(unseen, 5, 1)[0] == 0
    columns, rows = plain(after, "where")
    for error in ((image[0] * WIDTH - columns)[inner], (image[1] * HEIGHT - rows)[inner]):
        assert error.abs().max() <= 2.5  # two nearest neighbors on a coarser grid
        assert error.mean().abs() <= 0.2  # a shift by half a pixel would show


@every_transform
def test_masks_follow_their_pixels_and_exclude_the_border(transform):
    before = plane_sample(SLANTED, HEIGHT, WIDTH, HOLE)
    after = transform(before)
    columns, rows = sources(after)
    inside = mask(after, "where")[0]
    expected = mask(before, "depth")[0][rows, columns] & inside
    assert torch.equal(mask(after, "depth")[0], expected)
    assert torch.equal(mask(after, "normals")[0], expected)
    assert not expected.all()


@every_transform
def test_normals_stay_unit_and_invalid_ones_zero(transform):
    after = transform(plane_sample(SLANTED, HEIGHT, WIDTH, HOLE))
    lengths = plain(after, "normals").norm(dim=0)
    seen = mask(after, "normals")[0]
    assert (lengths[seen] - 1).abs().max() < 1e-5
    assert lengths[~seen].abs().max() == 0


@every_transform
def test_types_dtypes_and_names_stay(transform):
    before = plane_sample(SLANTED, HEIGHT, WIDTH)
    after = transform(before)
    assert after["name"] == "plane"
    assert type(after["image"]) is type(before["image"])
    for name, target in before["targets"].items():
        assert type(after["targets"][name]) is type(target)
        assert after["targets"][name].dtype == target.dtype
        assert type(after["valid"][name]) is type(before["valid"][name])
        assert after["valid"][name].dtype == torch.bool


@every_transform
def test_input_is_not_modified(transform):
    before = plane_sample(SLANTED, HEIGHT, WIDTH)
    transform(before)
    again = plane_sample(SLANTED, HEIGHT, WIDTH)
    assert torch.equal(before["image"], again["image"])
    assert all(torch.equal(plain(before, name), plain(again, name)) for name in again["targets"])


@every_transform
def test_classes_move_exactly(transform):
    before = plane_sample(SLANTED, HEIGHT, WIDTH)
    after = transform(before)
    columns, rows = sources(after)
    seen = mask(after, "semseg")[0]
    expected = plain(before, "semseg")[0][rows, columns]
    assert torch.equal(plain(after, "semseg")[0][seen], expected[seen])


def test_flip_shows_the_mirrored_plane_exactly():
    mirrored = plane_sample(unit(-0.3, 0.5, 0.8), HEIGHT, WIDTH)
    flipped = T.RandomHorizontalFlip(1.0)(plane_sample(SLANTED, HEIGHT, WIDTH))
    for name in ("depth", "disparity", "normals"):
        torch.testing.assert_close(plain(flipped, name), plain(mirrored, name))


def test_flip_twice_is_the_identity():
    flip = T.RandomHorizontalFlip(1.0)
    before = plane_sample(SLANTED, HEIGHT, WIDTH, HOLE)
    after = flip(flip(before))
    assert torch.equal(after["image"], before["image"])
    for name in before["targets"]:
        assert torch.equal(plain(after, name), plain(before, name))
        assert torch.equal(mask(after, name), mask(before, name))


@settings(max_examples=20, deadline=None)
@given(degrees=st.floats(-170, 170), x=st.floats(-0.4, 0.4), y=st.floats(-0.4, 0.4))
def test_rotation_shows_the_turned_plane(degrees, x, y):
    """Turning the picture is turning the plane about the viewing axis."""
    normal = unit(x, y, 0.9)
    angle = math.radians(degrees)
    turn = torch.tensor(
        [[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1]],
        dtype=torch.float64,
    )
    turned = turn @ normal
    expected = plane_sample(turned, HEIGHT, WIDTH)
    after = T.RandomRotation((degrees, degrees))(plane_sample(normal, HEIGHT, WIDTH))
    seen = mask(after, "depth")[0]
    # The nearest pixel is at most half a diagonal away.
    slope = (
        plain(expected, "depth").diff(dim=-1).abs().max()
        + plain(expected, "depth").diff(dim=-2).abs().max()
    )
    error = (plain(after, "depth") - plain(expected, "depth"))[0][seen].abs().max()
    assert error <= 0.75 * slope + 1e-5
    torch.testing.assert_close(
        plain(after, "normals")[:, seen], plain(expected, "normals")[:, seen], atol=1e-5, rtol=0
    )


def test_quarter_turn_of_a_square_is_exact():
    before = plane_sample(unit(0.3, 0.2, 0.9), 64, 64)
    after = T.RandomRotation((90.0, 90.0))(before)
    expected = plane_sample(unit(-0.2, 0.3, 0.9), 64, 64)
    torch.testing.assert_close(plain(after, "depth"), plain(expected, "depth"))
    torch.testing.assert_close(plain(after, "normals"), plain(expected, "normals"))
    # Counter-clockwise: the right edge goes to the top.
    assert plain(after, "where")[0, 0].eq(63).all()


@pytest.mark.parametrize("factor", [0.6, 1.0, 1.2, 2.0])
def test_zoom_divides_depth_and_multiplies_disparity(factor):
    before = plane_sample(SLANTED, HEIGHT, WIDTH)
    after = T.RandomZoom([factor])(before)
    columns, rows = sources(after)
    seen = mask(after, "depth")[0]
    depth = plain(before, "depth")[0][rows, columns]
    torch.testing.assert_close(plain(after, "depth")[0][seen], (depth / factor)[seen])
    disparity = plain(before, "disparity")[0][rows, columns]
    torch.testing.assert_close(plain(after, "disparity")[0][seen], (disparity * factor)[seen])
    torch.testing.assert_close(
        plain(after, "normals")[:, seen], plain(before, "normals")[:, rows, columns][:, seen]
    )


def test_zoom_is_about_the_center():
    after = T.RandomZoom([2.0])(plane_sample(SLANTED, 64, 96))
    columns, rows = plain(after, "where")
    center = torch.tensor([(96 - 1) / 2, (64 - 1) / 2])
    expected = (torch.arange(96) - center[0]) / 2 + center[0]
    assert (columns[5] - expected).abs().max() <= 0.5
    assert abs(float(rows.mean()) - float(center[1])) < 0.51


@pytest.mark.parametrize("seed", range(3))
def test_rescale_resizes_the_canvas_and_divides_depth(seed):
    torch.manual_seed(seed)
    before = plane_sample(SLANTED, HEIGHT, WIDTH)
    after = T.RandomRescale((0.5, 2.0))(before)
    factor = after["image"].shape[-1] / WIDTH
    columns, rows = sources(after)
    expected = plain(before, "depth")[0][rows, columns] / factor
    torch.testing.assert_close(plain(after, "depth")[0], expected, rtol=0.02, atol=0)
    expected = plain(before, "disparity")[0][rows, columns] * factor
    torch.testing.assert_close(plain(after, "disparity")[0], expected, rtol=0.02, atol=0)


def test_resize_keeps_depth_and_scales_disparity_with_the_width():
    after = T.Resize((32, 192))(plane_sample(SLANTED, HEIGHT, WIDTH))
    rows, columns = torch.meshgrid(torch.arange(32.0), torch.arange(192.0), indexing="ij")
    centers = (columns + 0.5) / 2 - 0.5, (rows + 0.5) * 2 - 0.5
    depth = plane_depth(SLANTED, centers[0].double(), centers[1].double(), HEIGHT, WIDTH)
    torch.testing.assert_close(plain(after, "depth")[0].double(), depth, rtol=0.02, atol=0)
    torch.testing.assert_close(
        plain(after, "disparity")[0].double(), 2 * 0.2 * 60 / depth, rtol=0.02, atol=0
    )


def test_thin_edges_do_not_break_when_an_image_shrinks():
    edge = plain(T.Resize((24, 36))(plane_sample(SLANTED, 64, 96)), "edge")[0]
    assert set(edge.unique().tolist()) == {0.0, 1.0}
    complete = [column for column in range(36) if edge[:, column].all()]
    assert len(complete) >= 6  # one per line at columns 5, 21, 37, 53, 69, 85


def test_zero_border_labels_the_outside_where_zero_is_a_label():
    torch.manual_seed(1)
    transform = T.RandomZoom([0.5])
    before = plane_sample(SLANTED, HEIGHT, WIDTH, HOLE)
    ignored, zeroed = transform(before), T.ZeroBorder(transform)(before)
    outside = ~mask(ignored, "where")
    assert outside.any()
    for name in ("semseg", "edge"):
        assert mask(zeroed, name).all()
        assert plain(zeroed, name)[outside].abs().max() == 0
    for name in ("depth", "disparity", "normals"):  # nothing is there to be labeled
        assert torch.equal(mask(zeroed, name), mask(ignored, name))


def test_zero_border_keeps_unlabeled_pixels_unlabeled():
    before = plane_sample(SLANTED, HEIGHT, WIDTH)
    before["valid"]["semseg"][:, :20] = False
    after = T.ZeroBorder(T.RandomHorizontalFlip(1.0))(before)
    assert torch.equal(mask(after, "semseg"), mask(before, "semseg").flip(-1))


def test_resize_to_the_same_size_returns_the_same_tensors():
    before = plane_sample(SLANTED, HEIGHT, WIDTH)
    after = T.Resize((HEIGHT, WIDTH))(before)
    assert after["image"] is before["image"]
    assert after["targets"]["depth"] is before["targets"]["depth"]


def test_resize_and_pad_keeps_the_aspect_ratio():
    after = T.ResizeAndPad((96, 96))(plane_sample(SLANTED, HEIGHT, WIDTH))
    seen = mask(after, "where")[0]
    assert seen.sum() == 64 * 96
    assert seen[16:80].all()
    assert after["image"].shape[-2:] == (96, 96)


def test_pad_to_multiple_says_the_size():
    after = T.PadToMultiple(40)(plane_sample(SLANTED, HEIGHT, WIDTH))
    assert after["image"].shape[-2:] == (80, 120)
    assert torch.equal(plain(after, "where")[:, :HEIGHT, :WIDTH].long(), sources_of_identity())


def sources_of_identity():
    return sources(plane_sample(SLANTED, HEIGHT, WIDTH))


def test_transforms_draw_from_torchs_generator():
    transform = T.Compose([T.ScaleRotate(30, factor_range=(0.8, 1.4)), T.RandomCrop(40)])
    sample = plane_sample(SLANTED, HEIGHT, WIDTH)
    torch.manual_seed(5)
    first, other = transform(sample), transform(sample)
    torch.manual_seed(5)
    again = transform(sample)
    assert torch.equal(first["image"], again["image"])
    assert not torch.equal(first["image"], other["image"])


@pytest.mark.parametrize(
    "make",
    [
        lambda: T.RandomZoom([0.0]),
        lambda: T.RandomZoom([]),
        lambda: T.RandomRescale((-1, 1)),
        lambda: T.Resize((0, 5)),
        lambda: T.PadToMultiple(0),
    ],
)
def test_invalid_settings_raise(make):
    with pytest.raises(InputError):
        make()
